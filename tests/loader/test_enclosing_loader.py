"""Batches of enclosing subgraphs."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Data

from gnnlib.loader import EnclosingSubgraphs
from gnnlib.sparse import as_csr
from gnnlib.sparse.enclosing import enclosing_subgraphs, label_nodes

N = 30


def graph() -> Data:
    edges = torch.randint(N, (2, 60), generator=torch.Generator().manual_seed(3))
    edges = edges[:, edges[0] != edges[1]]
    both = torch.cat([edges, edges.flip(0)], dim=1).unique(dim=1)
    return Data(
        x=torch.randn(N, 4), edge_index=both, edge_attr=torch.arange(both.size(1)), name="g", y=torch.zeros(N)
    )


def test_a_batch_has_the_subgraphs_of_its_pairs() -> None:
    data = graph()
    pairs = torch.randint(N, (2, 13))
    y = torch.arange(13)
    loader = EnclosingSubgraphs(data, pairs, y, hops=2, batch_size=5)
    batches = list(loader)
    assert [b.num_graphs for b in batches] == [5, 5, 3]
    assert torch.cat([b.y for b in batches]).equal(y)
    for number, batch in enumerate(batches):
        chosen = pairs[:, 5 * number : 5 * number + 5]
        found = enclosing_subgraphs(as_csr(data.edge_index, N), chosen, 2)
        assert torch.equal(batch.n_id, found.node)
        assert torch.equal(batch.z, label_nodes(found, "drnl"))
        assert torch.equal(batch.x, data.x[batch.n_id])
        assert torch.equal(data.edge_index[:, batch.edge_attr], batch.n_id[batch.edge_index])
        assert torch.equal(batch.n_id[batch.ends], chosen)
        assert torch.equal(batch.batch.bincount(minlength=chosen.size(1)), batch.ptr.diff())
        assert batch.name == "g"


@pytest.mark.parametrize(("label", "columns"), [("zero-one", 1), ("hop", 1), ("distance", 2)])
def test_other_labels(label: str, columns: int) -> None:
    (batch,) = EnclosingSubgraphs(graph(), torch.tensor([[0, 1], [2, 3]]), label=label, batch_size=2)  # type: ignore[arg-type]
    assert batch.z.shape == (batch.num_nodes, columns)
    assert "y" not in batch


def test_a_seed_fixes_the_order_for_any_number_of_workers() -> None:
    data, pairs = graph(), torch.randint(N, (2, 20))

    def order(workers: int) -> list[int]:
        loader = EnclosingSubgraphs(
            data, pairs, torch.arange(20), batch_size=6, shuffle=True, seed=4, num_workers=workers
        )
        return torch.cat([batch.y for batch in loader]).tolist()

    first = order(0)
    assert first == order(1)
    assert sorted(first) == list(range(20)) != first


def test_subgraphs_of_a_limited_size() -> None:
    data, pairs = graph(), torch.randint(N, (2, 20))
    loader = EnclosingSubgraphs(data, pairs, hops=2, most=2, batch_size=20, seed=1)
    (first,), (second,) = loader, loader  # an epoch draws anew
    assert int(first.ptr.diff().max()) <= 6
    assert first.n_id.shape != second.n_id.shape or not torch.equal(first.n_id, second.n_id)


def test_the_quantile_of_the_sizes() -> None:
    data, pairs = graph(), torch.randint(N, (2, 50))
    loader = EnclosingSubgraphs(data, pairs, hops=1)
    sizes = enclosing_subgraphs(as_csr(data.edge_index, N), pairs, 1).ptr.diff()
    k = loader.size_quantile(0.6)
    assert float((sizes <= k).float().mean()) >= 0.6
    assert float((sizes < k).float().mean()) < 0.6


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="y has 2 labels but pairs has 3 columns"):
        EnclosingSubgraphs(graph(), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2))
    with pytest.raises(ValueError, match="hops=0"):
        EnclosingSubgraphs(graph(), torch.zeros(2, 3, dtype=torch.int64), hops=0)
    with pytest.raises(ValueError, match="label 'dist' is unknown"):
        EnclosingSubgraphs(graph(), torch.zeros(2, 3, dtype=torch.int64), label="dist")  # type: ignore[arg-type]
