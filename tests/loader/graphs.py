"""Small graphs whose features name their nodes and edges."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

NODES, EDGES = 60, 300
SIZES = {"paper": 40, "author": 30, "venue": 4}
KINDS = {
    ("author", "writes", "paper"): 120,
    ("paper", "rev_writes", "author"): 120,
    ("paper", "cites", "paper"): 100,
    ("venue", "has", "paper"): 40,
}


def edges(num_src: int, num_dst: int, count: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.stack(
        [torch.randint(num_src, (count,), generator=draw), torch.randint(num_dst, (count,), generator=draw)]
    )


def plain() -> Data:
    draw = torch.Generator().manual_seed(1)
    return Data(
        x=torch.arange(NODES, dtype=torch.float32)[:, None],
        y=torch.arange(NODES) % 3,
        edge_index=edges(NODES, NODES, EDGES),
        edge_attr=torch.arange(EDGES),
        weight=torch.rand(EDGES, generator=draw),
        time=torch.randint(20, (NODES,), generator=draw),
        edge_time=torch.randint(20, (EDGES,), generator=draw),
        train_mask=torch.arange(NODES) % 2 == 0,
        name="a graph",
    )


def typed() -> HeteroData:
    data, draw = HeteroData(), torch.Generator().manual_seed(2)
    for name, count in SIZES.items():
        data[name].x = torch.arange(count, dtype=torch.float32)[:, None]
        data[name].time = torch.randint(20, (count,), generator=draw)
    for k, (kind, count) in enumerate(KINDS.items()):
        data[kind].edge_index = edges(SIZES[kind[0]], SIZES[kind[-1]], count, k)
        data[kind].edge_attr = torch.arange(count)
        data[kind].weight = torch.rand(count, generator=draw)
        data[kind].edge_time = torch.randint(20, (count,), generator=draw)
    return data


def check_plain(batch: Any, data: Data) -> None:
    """Features, labels and edges of the batch are those of the graph."""
    assert torch.equal(batch.x[:, 0].long(), batch.n_id)
    assert torch.equal(batch.y, data.y[batch.n_id])
    assert torch.equal(batch.edge_attr, batch.e_id)
    assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])


def check_typed(batch: Any, data: HeteroData) -> None:
    for name in SIZES:
        assert torch.equal(batch[name].x[:, 0].long(), batch[name].n_id)
    for kind in KINDS:
        row, col = batch[kind].edge_index
        ends = torch.stack([batch[kind[0]].n_id[row], batch[kind[-1]].n_id[col]])
        assert torch.equal(ends, data[kind].edge_index[:, batch[kind].e_id])
        assert torch.equal(batch[kind].edge_attr, batch[kind].e_id)


def same_batches(a: list[Any], b: list[Any]) -> None:
    """Two runs of a loader gave equal batches."""
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        one, other = x.to_dict(), y.to_dict()
        assert repr(one.keys()) == repr(other.keys())
        _same(one, other)


def _same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _same(a[key], b[key])
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b
