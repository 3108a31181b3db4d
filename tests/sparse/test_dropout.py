"""Dropout by a counter: against its definition, and as layers use it, against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gnnlib
from gnnlib.sparse import counter
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.native.launch import SMALL
from gnnlib.sparse.ops.dropout import STEPS, counted_dropout
from tests.tolerances import assert_close

BACKENDS = ("cpu", "reference")
LARGE = 60, 100


def mask(shape: tuple[int, ...], p: float, seed: int) -> Tensor:
    """Which elements stay, one by one in Python's integers."""
    size = int(np.prod(shape))
    half = (size + 1) // 2
    start = counter.child(seed, 0, 0)
    kept = []
    for k in range(size):
        word = counter.draw(start, k if k < half else k - half)
        number = word & (STEPS - 1) if k < half else word >> 40
        kept.append(number >= round(p * STEPS))
    return torch.tensor(kept, dtype=torch.float64).view(shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2,), (7,), (5, 3, 4), (97, 101)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_is_its_definition(backend: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_()
    factor = mask(shape, 0.3, 11) / 0.7
    with gnnlib.use_backend(backend):
        out = counted_dropout(x, 0.3, 11)
        (grad,) = torch.autograd.grad(out.sum(), x)
    assert out.dtype == dtype
    assert_close(out, x.double() * factor)
    assert_close(grad, factor)


def test_gradients() -> None:
    x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: counted_dropout(t, 0.4, 3), x)
    assert torch.autograd.gradgradcheck(lambda t: counted_dropout(t, 0.4, 3).pow(3), x)


def test_row_major_whatever_the_strides() -> None:
    x = torch.rand(31, 20)
    assert torch.equal(counted_dropout(x.t().contiguous().t(), 0.5, 1), counted_dropout(x, 0.5, 1))
    wide = torch.rand(31, 40)
    assert torch.equal(counted_dropout(wide[:, ::2], 0.5, 1), counted_dropout(wide[:, ::2].clone(), 0.5, 1))


def test_the_same_bits_for_any_threads() -> None:
    x, found = torch.rand(SMALL), []
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(counted_dropout(x, 0.5, 9))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_nan_stays_where_it_is() -> None:
    x = torch.ones(50)
    x[20] = float("nan")
    for seed in range(8):
        assert counted_dropout(x, 0.5, seed).isnan().nonzero().tolist() == [[20]]


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_as_often_as_asked_and_independent(p: float) -> None:
    """Share, and agreement of neighbours, of both halves and of two seeds: four deviations."""
    n = 1 << 20
    a, b = ((counted_dropout(torch.ones(n), p, seed) != 0).double() for seed in (1, 2))
    sigma = (p * (1 - p)) ** 0.5
    assert abs(float(a.mean()) - (1 - p)) < 4 * sigma / n**0.5
    for other in (b, a.roll(1), a.roll(2), a.roll(n // 2)):
        agreement = float(((a - 1 + p) * (other - 1 + p)).mean()) / sigma**2
        assert abs(agreement) < 4 * 2**0.5 / n**0.5


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_refuses(p: float) -> None:
    with pytest.raises(ValueError, match=r"pass a probability in \[0, 1\)"):
        counted_dropout(torch.ones(3), p, 0)


# -- as layers use it ---------------------------------------------------------------------------------


def test_the_seed_of_torch_decides() -> None:
    x = torch.rand(LARGE)
    torch.manual_seed(4)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(4)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)
    kept = first != 0
    assert_close(first[kept], 2 * x[kept])
    assert float(kept.double().mean()) == pytest.approx(0.5, abs=0.03)  # four deviations of 6,000 draws


def test_checkpointing_draws_the_same_again() -> None:
    x = torch.rand(LARGE, requires_grad=True)
    torch.manual_seed(4)
    (plain,) = torch.autograd.grad(dropout(x, 0.5).square().sum(), x)
    torch.manual_seed(4)
    again = torch.utils.checkpoint.checkpoint(lambda t: dropout(t, 0.5).square(), x, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(again.sum(), x)[0], plain)


def test_returns_the_input_where_nothing_is_dropped() -> None:
    x = torch.rand(LARGE)
    assert dropout(x, 0.5, False) is x
    assert torch.equal(dropout(x, 0.0), x)
    assert not dropout(x, 1.0).any()
    with pytest.raises(ValueError, match="dropout probability"):
        dropout(x, 1.5)


def test_of_few_elements_it_is_the_function_of_torch() -> None:
    x = torch.rand(3, 4)
    torch.manual_seed(1)
    expected = F.dropout(x, 0.3)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.3), expected)


def test_compiled_and_mapped() -> None:
    x = torch.rand(LARGE)
    compiled = torch.compile(lambda t: dropout(t, 0.5).sum(), fullgraph=True, backend="aot_eager")
    assert 0 < float(compiled(x)) < float(2 * x.sum())
    rows = torch.vmap(lambda t: dropout(t, 0.5), randomness="different")(torch.ones(2, *LARGE))
    assert not torch.equal(rows[0], rows[1])
