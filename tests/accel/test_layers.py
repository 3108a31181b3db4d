"""Every accelerated layer against PyG's own code: outputs, gradients, errors, and which path ran."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn

import gnnlib
from gnnlib.accel import layers
from tests.accel.cases import CASES, DOUBLE, KINDS, Call, Case, F, N, call
from tests.tolerances import assert_close


def path(layer: nn.Module) -> str:
    return next(iter(layers(layer))).path


def why(layer: nn.Module) -> str:
    return next(iter(layers(layer))).why


def outcome(layer: nn.Module, given: Call) -> Any:
    """Output and gradients of a random projection of it, or the type of the error."""
    wanted = [*given.leaves, *layer.parameters()]
    try:
        out = layer(*given.args, **given.options)
        torch.manual_seed(7)
        loss = (out * torch.randn_like(out)).sum()
        grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    except Exception as error:  # whatever PyG raises, both paths must
        return type(error)
    return [out, *(torch.zeros_like(p) if g is None else g for p, g in zip(wanted, grads, strict=True))]


def both(case: Case, channels: Any = F, dtype: torch.dtype = DOUBLE) -> tuple[nn.Module, nn.Module]:
    """PyG's layer, and the same accelerated."""
    stock = case.build(channels).to(dtype)
    with torch.no_grad():
        for p in stock.parameters():
            p.normal_()
    return stock, gnnlib.accelerate(copy.deepcopy(stock))


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Some of PyG's layers count degrees in the default precision, whatever that of x."""
    torch.set_default_dtype(DOUBLE)
    yield
    torch.set_default_dtype(torch.float32)


RUNS = [
    (c, k, training)
    for c in CASES
    for k in KINDS
    for training in ((True, False) if k == "plain" else (True,))
    if call(c, k) is not None
]


@pytest.mark.parametrize(
    ("case", "kind", "training"), RUNS, ids=[f"{c}-{k}-{'train' if t else 'eval'}" for c, k, t in RUNS]
)
def test_both_paths_agree(case: Case, kind: str, training: bool) -> None:
    given = call(case, kind)
    assert given is not None
    if kind in case.stock:
        given = given.long()
    stock, fast = both(case, given.channels)
    stock.train(training)
    fast.train(training)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):  # the second call meets what the first has cached
            expected, found = outcome(stock, given.long()), outcome(fast, given)
            if expected is RuntimeError:
                return  # torch has no kernel for what PyG's path asks; ours has
            if isinstance(expected, type):
                assert found is expected
                return
            assert_close(found, expected)
            if getattr(stock, "cached", False):
                break  # what both keep has lost its graph
    assert path(fast) == ("PyG" if kind in case.stock else "core"), why(fast)


@pytest.mark.parametrize("case", [c for c in CASES if "lstm" not in c.name], ids=str)  # wants sorted edges
def test_outputs_may_be_written_in_place(case: Case) -> None:
    given = call(case, "plain")
    assert given is not None
    layer = gnnlib.accelerate(case.build(given.channels)).eval()
    expected = layer(*given.args).relu()
    assert_close(layer(*given.args).relu_(), expected)


@pytest.mark.parametrize("kind", ["Sum", "Mean", "Max", "Min", "Var", "Std", "Softmax"])
def test_readouts(kind: str) -> None:
    stock = getattr(pyg, f"{kind}Aggregation")()
    fast = gnnlib.accelerate(copy.deepcopy(stock))
    index = torch.randint(0, 5, (N,))
    ptr = torch.tensor([0, 3, 3, 12, N])
    for shape, of in (((N, F), {}), ((3, N, F), {"dim_size": 7}), ((N, 2, F), {"dim": 0})):
        for sets in ({"index": index}, {"ptr": ptr} if "dim_size" not in of else {"index": index}):
            x = torch.randn(shape, requires_grad=True)
            results = []
            for layer in (stock, fast):
                out = layer(x, **sets, **of)
                results.append([out, torch.autograd.grad(out.square().sum(), x)[0]])
            assert_close(results[1], results[0])
            assert path(fast) == "core", why(fast)
    fast(torch.randn(N, F, requires_grad=True), index).relu_()
