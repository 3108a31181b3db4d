"""lstm_step: torch's own LSTM, gates over the whole range, second derivatives, wrong inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gnnlib.sparse import lstm_step, registry, use_backend
from tests.sparse.test_kernels import normal
from tests.tolerances import assert_close


@pytest.mark.parametrize("width", [1, 5, 8, 20])
def test_equals_torch(backend: str, width: int) -> None:
    """A sequence of two, the second begun by two sequences at once: values and gradients."""
    rnn = nn.LSTM(3, width, batch_first=True).double()
    x = normal(4, 3, dtype=torch.float64).requires_grad_()
    first, second, parent = torch.tensor([0, 3]), torch.tensor([1, 2, 1]), torch.tensor([1, 0, 0])
    path = torch.stack([first[parent], second], 1)
    wanted = rnn(x[path])[1][0][0]
    table = x @ rnn.weight_ih_l0.t() + rnn.bias_ih_l0 + rnn.bias_hh_l0
    h, c = lstm_step([table], [first])
    h, c = lstm_step([table], [second], h @ rnn.weight_hh_l0.t(), c, parent)
    assert_close(h, wanted)
    held = [x, *rnn.parameters()]
    grad = normal(3, width, dtype=torch.float64)
    assert_close(
        list(torch.autograd.grad((h * grad).sum(), held)),
        list(torch.autograd.grad((wanted * grad).sum(), held)),
    )


def test_three_tables_add_up(backend: str) -> None:
    tables = [normal(n, 24) for n in (5, 3, 7)]
    rows = [torch.randint(t.shape[0], (11,)) for t in tables]
    whole = sum(t[r] for t, r in zip(tables, rows, strict=True))
    assert_close(lstm_step(tables, rows), lstm_step([whole], [torch.arange(11)]))


@pytest.mark.parametrize("kernel", registry.load("lstm_step"), ids=lambda k: k.backend)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gates_over_the_whole_range(kernel: registry.Kernel, dtype: torch.dtype) -> None:
    """Infinite and huge gates are 0 or 1, never NaN; NaN stays NaN."""
    ends = [-torch.inf, -1e4, -100.0, -1.0, -1e-20, 0.0, 1e-20, 1.0, 100.0, 1e4, torch.inf, torch.nan]
    z = torch.cartesian_prod(*[torch.tensor(ends, dtype=dtype)] * 3)  # in, cell, out
    table = torch.stack([z[:, 0], torch.zeros_like(z[:, 0]), z[:, 1], z[:, 2]], 1)
    rows = torch.arange(z.shape[0])
    h, c = kernel.fn(table, rows, None, None, None, None, None, None, None)
    exact = z.double()
    cell = exact[:, :1].sigmoid() * exact[:, 1:2].tanh()
    assert_close(c, cell.to(dtype))
    assert_close(h, (exact[:, 2:].sigmoid() * cell.tanh()).to(dtype))


def test_second_derivative(backend: str) -> None:
    row, parent = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    held = [
        normal(2, 8, dtype=torch.float64),
        normal(2, 8, dtype=torch.float64),
        normal(2, 2, dtype=torch.float64),
    ]

    def call(table: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        return lstm_step([table], [row], hidden, cell, parent)

    leaves = [t.requires_grad_() for t in held]
    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, leaves)


def test_gradients_by_need(backend: str) -> None:
    """Any one input may be the only one that learns."""
    row = torch.tensor([0, 1, 1])
    held = [normal(2, 12, dtype=torch.float64) for _ in range(2)] + [normal(2, 3, dtype=torch.float64)]

    def loss(t: list[Tensor]) -> Tensor:
        return sum(o.square().sum() for o in lstm_step(t[:1], [row], t[1], t[2], row.flip(0)))  # type: ignore

    wanted = [t.clone().requires_grad_() for t in held]
    expected = torch.autograd.grad(loss(wanted), wanted)
    for place in range(3):
        given = [t.clone().requires_grad_(n == place) for n, t in enumerate(held)]
        assert_close(torch.autograd.grad(loss(given), given[place])[0], expected[place])


def test_no_sequences(backend: str) -> None:
    table = normal(3, 8).requires_grad_()
    none = torch.empty(0, dtype=torch.int64)
    h, c = lstm_step([table], [none])
    assert h.shape == c.shape == (0, 2)
    (found,) = torch.autograd.grad(h.sum() + c.sum(), table)
    assert torch.equal(found, torch.zeros(3, 8))


def test_wrong_inputs_fail_clearly() -> None:
    table, row = torch.zeros(3, 8), torch.tensor([0, 2])
    hidden, cell, parent = torch.zeros(2, 8), torch.zeros(2, 2), torch.tensor([0, 1])
    for call, kind, message in (
        (lambda: lstm_step([], []), ValueError, "0 tables and 0 rows"),
        (lambda: lstm_step([table] * 4, [row] * 4), ValueError, "pass one to 3 of each"),
        (lambda: lstm_step([table.long()], [row]), TypeError, r"tables\[0\] is torch.int64"),
        (lambda: lstm_step([table[:, :6]], [row]), ValueError, "the four gates"),
        (lambda: lstm_step([table, table[:, :4]], [row, row]), ValueError, "with one H"),
        (lambda: lstm_step([table], [row[:, None]]), ValueError, r"expected \[T\] each"),
        (lambda: lstm_step([table], [row], hidden, cell, parent[:1]), ValueError, "rows and parent"),
        (lambda: lstm_step([table], [row], hidden), ValueError, "belong together"),
        (lambda: lstm_step([table], [row], hidden, cell[:1], parent), ValueError, "and cell"),
        (lambda: lstm_step([table], [row + 1]), IndexError, r"rows\[0\] reaches from 1 to 3 .* 3 rows"),
        (lambda: lstm_step([table], [row], hidden, cell, parent - 1), IndexError, "parent reaches from -1"),
    ):
        with pytest.raises(kind, match=message), use_backend("cpu"):
            call()
