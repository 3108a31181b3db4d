"""Sums over long rows against the plain product."""

from __future__ import annotations

import pytest
import torch

from gnnlib.sparse import as_csr, long_rows, spmm
from gnnlib.sparse.long_rows import summed
from tests.tolerances import assert_close


def test_many_long_rows_are_summed_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    edge_index = torch.stack([torch.randint(6, (900,)), torch.randint(40, (900,))])
    adj = as_csr(edge_index, num_rows=40, num_cols=6)
    x, weight = (
        torch.randn(6, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(40, 3, dtype=torch.float64),
    )
    wanted = spmm(adj, x)
    monkeypatch.setattr(long_rows, "RUN_BYTES", 24 * 7)  # seven rows
    calls: list[int] = []
    monkeypatch.setattr(long_rows, "spmm", lambda a, x: calls.append(a.num_rows) or spmm(a, x))
    found = summed(adj, x)
    assert calls == [7, 7, 7, 7, 7, 5]
    assert_close(found, wanted)
    assert_close(
        torch.autograd.grad((found * weight).sum(), x)[0], torch.autograd.grad((wanted * weight).sum(), x)[0]
    )
    with torch.no_grad():
        summed(adj, x)
    assert calls[6:] == [40]  # nothing to gain without a gradient
