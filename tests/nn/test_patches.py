"""Patches of graphs, against sets of nodes and edges put together one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.nn.patch import GraphPatches, graph_patches, make_patches
from gnnlib.sparse.graphs import Graphs
from gnnlib.sparse.partition import partition_graphs
from tests.nn.cases import awkward_graph, plain_graph
from tests.tolerances import assert_close

N, P = 20, 4


def two_graphs() -> tuple[Tensor, Tensor]:
    """Directed, with loops, parallel edges and lone nodes; and a second one."""
    return torch.cat([awkward_graph(), plain_graph() + N], 1), torch.arange(2 * N) // N


def made(num_hops: int = 1, p: int = P) -> tuple[GraphPatches, Graphs, Tensor]:
    edge_index, batch = two_graphs()
    graphs = Graphs.of(edge_index, 2 * N, batch)
    slots = partition_graphs(graphs, p, torch.tensor([7, 7]))
    return graph_patches(graphs, p, slots, num_hops=num_hops), graphs, slots


@pytest.mark.parametrize("num_hops", [0, 1, 2])
def test_patches_are_parts_and_their_neighbours(num_hops: int) -> None:
    patches, _, slots = made(num_hops)
    edge_index, batch = two_graphs()
    pairs = list(zip(*edge_index.tolist(), strict=True))
    expected_copies, expected_edges = [], []
    for k in range(2 * P):
        inside = {i for i in range(2 * N) if int(batch[i]) * P + int(slots[i]) == k}
        for _ in range(num_hops):
            inside |= {u for u, v in pairs if v in inside} | {v for u, v in pairs if u in inside}
        expected_copies += [(k, i) for i in sorted(inside)]
        expected_edges += [(k, e) for e, (u, v) in enumerate(pairs) if u in inside and v in inside]
    assert list(zip(patches.patch.tolist(), patches.node.tolist(), strict=True)) == expected_copies
    source, target = patches.edge_index
    assert torch.equal(patches.patch[source], patches.patch[target])
    assert torch.equal(patches.node[patches.edge_index], edge_index[:, patches.edge])
    found = sorted(zip(patches.patch[target].tolist(), patches.edge.tolist(), strict=True))
    assert found == sorted(expected_edges)
    if num_hops:  # each edge and each node lie in a patch
        assert set(patches.edge.tolist()) == set(range(edge_index.shape[1]))
    assert set(patches.node.tolist()) == set(range(2 * N))


def test_shared_nodes_and_walks_are_dense_products() -> None:
    patches, _, _ = made()
    m = patches.members.to_dense().double().view(2, P, 2 * N)
    a = m @ m.transpose(1, 2)
    assert_close(patches.adjacency, a.float())
    assert torch.equal(patches.adjacency.diagonal(dim1=1, dim2=2), patches.size.float())
    walk = a / a.sum(-1, keepdim=True).clamp(min=1)
    assert_close(patches.walk(3), torch.linalg.matrix_power(walk, 3).float())
    powers = [torch.linalg.matrix_power(walk, t).diagonal(dim1=1, dim2=2) for t in (1, 2, 3)]
    assert_close(patches.returns(3), torch.stack(powers, -1).float().view(2 * P, 3)[patches.filled])


def test_copies_and_means() -> None:
    patches, _, _ = made()
    k = patches.node.numel()
    assert torch.equal(patches.of_node.to_dense(), torch.eye(2 * N)[patches.node])
    assert torch.equal(patches.of_patch.to_dense(), torch.eye(2 * P)[patches.patch][:, patches.filled])
    rows = torch.rand(patches.filled.numel(), 3)
    assert torch.equal(patches.slotted(rows)[patches.mask], rows)
    assert not patches.slotted(rows)[~patches.mask].any()
    assert patches.adj.shape == (k, k)
    assert torch.equal(patches.mask, patches.size > 0)


def test_a_batch_has_the_patches_of_its_graphs() -> None:
    patches, _, _ = made(p=6)
    edge_index, _ = two_graphs()
    edges = int((edge_index[0] < N).sum())
    for g, own in enumerate((edge_index[:, :edges], edge_index[:, edges:] - N)):
        alone = make_patches(Graphs.of(own, N), 6, torch.tensor([7]))
        mine = (patches.patch >= 6 * g) & (patches.patch < 6 * (g + 1))
        assert torch.equal(patches.node[mine] - N * g, alone.node)
        assert torch.equal(patches.adjacency[g], alone.adjacency[0])
        within = mine[patches.edge_index[1]]
        assert torch.equal(patches.edge[within] - edges * g, alone.edge)


def test_nodes_in_any_order_and_empty_slots() -> None:
    edge_index, batch = two_graphs()
    order = torch.randperm(2 * N)
    graphs = Graphs.of(order.argsort()[edge_index], 2 * N, batch[order], 3)
    patches = make_patches(graphs, 30, torch.zeros(3, dtype=torch.int64))
    assert patches.num_graphs == 3
    assert patches.mask.sum(1).tolist() == [N, N, 0]
    assert torch.equal(patches.node[patches.edge_index], order.argsort()[edge_index][:, patches.edge])
    own = patches.patch // 30
    assert torch.equal(own, batch[order][patches.node])
    nothing = make_patches(Graphs.of(torch.empty(2, 0).long(), 0), 3, torch.empty(0).long())
    assert nothing.node.numel() == nothing.num_graphs == 0


def test_metis_sees_fewer_edges_than_patches_have() -> None:
    edge_index = plain_graph()
    graphs = Graphs.of(edge_index, N)
    kept = {make_patches(graphs, P, torch.tensor([s]), drop=0.5).size.sum().item() for s in range(6)}
    assert len(kept) > 1  # other parts for other seeds
    patches = make_patches(graphs, P, torch.tensor([1]), drop=0.5)
    assert set(patches.edge.tolist()) == set(range(edge_index.shape[1]))


def test_errors() -> None:
    graphs = Graphs.of(plain_graph(), N)
    with pytest.raises(ValueError, match="num_hops=-1 is negative"):
        graph_patches(graphs, 2, torch.zeros(N, dtype=torch.int64), num_hops=-1)
    with pytest.raises(ValueError, match="pass a number from 0 to 1 for each node"):
        graph_patches(graphs, 2, torch.full((N,), 2))
