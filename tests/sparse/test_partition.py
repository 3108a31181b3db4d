"""Partitions of many graphs at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import metis
from gnnlib.sparse.graphs import Graphs
from gnnlib.sparse.partition import partition_graphs


def ring(n: int) -> Tensor:
    node = torch.arange(n)
    one = torch.stack([node, (node + 1) % n])
    return torch.cat([one, one.flip(0)], dim=1)


def side_by_side(sizes: list[int]) -> Graphs:
    start = [sum(sizes[:g]) for g in range(len(sizes))]
    edge_index = torch.cat([ring(n) + s for n, s in zip(sizes, start, strict=True)], dim=1)
    return Graphs.of(edge_index, sum(sizes), torch.repeat_interleave(torch.tensor(sizes)))


def test_a_graph_is_cut_as_when_it_is_alone() -> None:
    sizes = [40, 3, 9, 64, 8]
    seeds = torch.tensor([3, 1, 4, 1, 5])
    for drop in (0.0, 0.4):
        together = partition_graphs(side_by_side(sizes), 8, seeds, drop=drop).split(sizes)
        for n, seed, slots in zip(sizes, seeds, together, strict=True):
            alone = partition_graphs(side_by_side([n]), 8, seed[None], drop=drop)
            assert torch.equal(slots, alone)
            assert 0 <= int(slots.min()) <= int(slots.max()) < 8
            if n < 8:
                assert slots.unique().numel() == n  # a node a slot
            else:
                assert int(slots.max()) == 7  # unused slots come first
                assert slots.bincount().max() <= 2 * -(-n // 8)
    assert not torch.equal(together[0], partition_graphs(side_by_side([40]), 8, seeds[1:2], drop=0.4))


def test_slots_of_small_graphs_follow_the_seed() -> None:
    graphs = side_by_side([5] * 40)
    slots = partition_graphs(graphs, 12, torch.arange(40)).view(40, 5)
    assert all(row.unique().numel() == 5 for row in slots)
    assert slots.unique().numel() == 12
    assert slots.unique(dim=0).shape[0] > 30


def test_parts_are_those_of_metis() -> None:
    graphs = side_by_side([50])
    part = metis(ring(50), 50, 6, recursive=True, seed=9)
    assert torch.equal(partition_graphs(graphs, 6, torch.tensor([9])), part + 5 - part.max())


@pytest.mark.parametrize("n", [8, 20])
def test_a_graph_without_edges_is_cut(n: int) -> None:
    graphs = Graphs.of(torch.empty(2, 0, dtype=torch.int64), n)
    slots = partition_graphs(graphs, 8, torch.tensor([0]))
    assert slots.numel() == n
    assert 0 <= int(slots.min()) <= int(slots.max()) < 8


def test_errors_say_what_to_pass() -> None:
    graphs = side_by_side([5, 6])
    with pytest.raises(ValueError, match="metis: num_parts=9 but there are 3 nodes"):
        metis(torch.tensor([[0, 1], [1, 2]]), 3, 9)
    with pytest.raises(ValueError, match="num_parts=0; at least 1"):
        partition_graphs(graphs, 0, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"drop=1\.0; pass a probability"):
        partition_graphs(graphs, 2, torch.zeros(2, dtype=torch.int64), drop=1.0)
    with pytest.raises(ValueError, match=r"seeds has shape \[1\] but there are 2 graphs"):
        partition_graphs(graphs, 2, torch.zeros(1, dtype=torch.int64))
