"""ShaDow subgraphs and METIS parts."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import k_hop_subgraph, to_undirected

from gnnlib.loader import ClusterData, ClusterLoader, ShaDowKHopSampler, metis
from tests.loader.graphs import NODES, edges, plain, same_batches


def test_a_batch_of_subgraphs_is_as_pyg_documents_it() -> None:
    data = plain()
    loader = ShaDowKHopSampler(data, 2, 3, node_idx=data.train_mask, batch_size=8)
    roots = data.train_mask.nonzero()[:, 0]
    for k, batch in enumerate(loader):
        mine = roots[8 * k : 8 * k + 8]
        assert batch.x[batch.root_n_id, 0].tolist() == mine.tolist()
        assert torch.equal(batch.y, data.y[mine])
        assert torch.equal(batch.batch, torch.arange(mine.numel()).repeat_interleave(batch.ptr.diff()))
        row, col = batch.edge_index
        assert torch.equal(batch.batch[row], batch.batch[col])
        n_id = batch.x[:, 0].long()
        assert torch.equal(n_id[batch.edge_index], data.edge_index[:, batch.edge_attr])
        for g in range(mine.numel()):  # every edge between the nodes, each once
            nodes = n_id[batch.ptr[g] : batch.ptr[g + 1]]
            assert nodes.unique().numel() == nodes.numel()
            inside = torch.isin(data.edge_index[0], nodes) & torch.isin(data.edge_index[1], nodes)
            assert (
                batch.edge_attr[batch.batch[col] == g].sort().values.tolist()
                == inside.nonzero()[:, 0].tolist()
            )


def test_all_neighbours_are_the_ball() -> None:
    data = plain()
    for root, batch in enumerate(ShaDowKHopSampler(data, 2, -1, batch_size=1)):
        ball = k_hop_subgraph(root, 2, data.edge_index, num_nodes=NODES)[0]
        assert batch.x[:, 0].long().sort().values.tolist() == ball.tolist()


def test_shadow_workers() -> None:
    def run(**options: Any) -> list[Any]:
        return list(ShaDowKHopSampler(plain(), 2, 2, batch_size=8, shuffle=True, seed=1, **options))

    same_batches(run(), run(num_workers=2))
    assert not torch.equal(run()[0].x, next(iter(ShaDowKHopSampler(plain(), 2, 2, batch_size=8, seed=2))).x)


def test_shadow_needs_an_edge_index() -> None:
    data = Data(x=torch.ones(3, 1), adj_t=torch.eye(3).to_sparse_csr())
    with pytest.raises(NotImplementedError, match="holds adj_t only; give it an edge_index"):
        ShaDowKHopSampler(data, 1, 1)


def two_rings(size: int) -> torch.Tensor:
    """Two cycles of some chords each, joined by one edge: the cut is plain to see."""
    node = torch.arange(size)
    ring = torch.cat([torch.stack([node, (node + k) % size]) for k in (1, 2, 3)], dim=1)
    return to_undirected(torch.cat([ring, ring + size, torch.tensor([[0], [size]])], dim=1))


@pytest.mark.parametrize("recursive", [False, True])
def test_metis_finds_the_cut(recursive: bool) -> None:
    part = metis(two_rings(20), 40, 2, recursive=recursive)
    assert part[:20].unique().numel() == part[20:].unique().numel() == 1
    assert part[0] != part[20]


def test_metis_takes_any_graph() -> None:
    """Directions, loops and parallel edges; the same seed, the same parts; isolated nodes."""
    edge_index = torch.cat([edges(50, 50, 200), torch.arange(50).repeat(2, 1)], dim=1)
    part = metis(edge_index, 53, 4)
    assert torch.equal(part, metis(torch.cat([edge_index, edge_index.flip(0)], dim=1), 53, 4))
    assert part.numel() == 53
    assert int(part.min()) >= 0
    assert int(part.max()) < 4
    assert metis(edge_index, 53, 1).unique().tolist() == [0]
    with pytest.raises(ValueError, match="num_parts=0; at least 1"):
        metis(edge_index, 53, 0)


def test_parts_hold_the_graph(tmp_path: Path) -> None:
    data = plain()
    parts = ClusterData(data, 4, save_dir=str(tmp_path))
    assert len(parts) == 4
    nodes = torch.cat([part.x[:, 0] for part in parts])
    assert nodes.sort().values.tolist() == list(range(NODES))
    for part in parts:
        n_id = part.x[:, 0].long()
        assert torch.equal(n_id[part.edge_index], data.edge_index[:, part.edge_attr])
    again = ClusterData(data, 4, save_dir=str(tmp_path), seed=9)  # read, not made
    assert torch.equal(again.partition.node_perm, parts.partition.node_perm)


def test_a_file_of_other_objects_is_not_unpickled(tmp_path: Path) -> None:
    (tmp_path / "part_4").mkdir()
    torch.save(Path("anything"), tmp_path / "part_4" / "metis.pt")
    with pytest.raises(ValueError, match="holds other objects than a partition; remove it"):
        ClusterData(plain(), 4, save_dir=str(tmp_path))


def test_batches_of_parts_have_the_edges_between_them() -> None:
    data = plain()
    parts = ClusterData(data, 6)
    seen = []
    for batch in ClusterLoader(parts, batch_size=2, shuffle=True, seed=0):
        n_id = batch.x[:, 0].long()
        seen.append(n_id)
        inside = torch.isin(data.edge_index, n_id).all(0)
        assert batch.edge_attr.sort().values.tolist() == inside.nonzero()[:, 0].tolist()
        assert torch.equal(n_id[batch.edge_index], data.edge_index[:, batch.edge_attr])
    assert torch.cat(seen).sort().values.tolist() == list(range(NODES))
    every = next(iter(ClusterLoader(parts, batch_size=6)))
    assert every.num_edges == data.num_edges

    def run(**options: Any) -> list[Any]:
        return list(ClusterLoader(parts, batch_size=2, shuffle=True, seed=0, **options))

    same_batches(run(), run(num_workers=2))


def test_without_pymetis(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pymetis":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="'pymetis' is not installed; run: pip install pymetis"):
        metis(edges(5, 5, 9), 5, 2)
