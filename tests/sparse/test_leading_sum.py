"""leading_sum against the dense block, in each form of its arguments."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import CSR, as_csr, use_backend
from gnnlib.sparse.ops.leading_sum import leading_sum
from tests.tolerances import assert_close

N, E = 23, 90


def matrix() -> tuple[CSR, Tensor]:
    """Rows sorted by column, some twice and some empty, and a number for each slot."""
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(N - 3, (2, E), generator=draw)
    edge_index = edge_index[:, (edge_index[1] * N + edge_index[0]).argsort()]
    return as_csr(edge_index, N), torch.randn(E, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 4, 8, 13, 64, 79, 140])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_dense_block(backend: str, dtype: torch.dtype, width: int, channels: int) -> None:
    adj, weight = matrix()
    draw = torch.Generator().manual_seed(1)
    scale = torch.randn(2 * N, width, generator=draw, dtype=torch.float64)
    node = torch.randint(2 * N, (N,), generator=draw)
    for columns, rows in ((N, N), (7, 15), (1, 1), (0, 4)):
        x = torch.randn(columns, channels, width, generator=draw, dtype=torch.float64)
        for w in (None, weight):
            dense = adj.to_dense(torch.ones(E, dtype=torch.float64) if w is None else w)[:rows, :columns]
            plain = torch.einsum("rc,cgf->rgf", dense, x)
            for s in (None, scale):
                wanted = plain if s is None else plain * s[node[:rows], None]
                given = (None if w is None else w.to(dtype), None if s is None else s.to(dtype))
                with use_backend(backend):
                    got = leading_sum(adj, x.to(dtype), rows, *given, node)
                assert got.dtype == dtype
                assert_close(got, wanted.to(dtype))


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    adj, weight = matrix()
    x, scale = torch.randn(N, 4, 24), torch.randn(N, 24)
    once = leading_sum(adj, x, N, weight.float(), scale, torch.arange(N))
    monkeypatch.setattr("gnnlib.sparse.native.launch.SMALL", 0)
    assert torch.equal(leading_sum(adj, x, N, weight.float(), scale, torch.arange(N)), once)


def test_nothing_to_sum() -> None:
    adj, _ = matrix()
    assert leading_sum(adj, torch.ones(5, 2, 0), 9).shape == (9, 2, 0)
    assert leading_sum(adj, torch.ones(5, 2, 3), 0).shape == (0, 2, 3)
