"""Encodings of a node's place: against dense powers and eigenvectors, kept by the content of the graph."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

from gnnlib.nn.encode import LaplacianPE, RandomWalkPE, laplacian_encoding, random_walk_encoding
from gnnlib.sparse.graphs import GraphCache, Graphs
from tests.nn.cases import awkward_graph
from tests.tolerances import assert_close


def undirected(n: int, p: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    i, j = torch.triu_indices(n, n, 1)
    kept = torch.rand(i.numel(), generator=generator) < p
    one = torch.stack([i[kept], j[kept]])
    return torch.cat([one, one.flip(0)], dim=1)


def dense(edge_index: Tensor, n: int) -> Tensor:
    """Row = target; parallel edges add up."""
    return torch.zeros(n, n, dtype=torch.float64).index_put(
        (edge_index[1], edge_index[0]), torch.ones(edge_index.shape[1], dtype=torch.float64), accumulate=True
    )


@pytest.mark.parametrize(
    ("n", "edge_index"), [(20, awkward_graph()), (90, undirected(90, 0.05)), (3, torch.empty(2, 0).long())]
)
def test_walks_are_the_diagonals_of_dense_powers(n: int, edge_index: Tensor) -> None:
    a = dense(edge_index, n)
    p = a / a.sum(1, keepdim=True).clamp(min=1)
    expected = torch.stack([torch.linalg.matrix_power(p, t).diagonal() for t in range(1, 7)], dim=1)
    assert_close(random_walk_encoding(edge_index, n, 6), expected)


def test_a_ring_returns_as_worked_by_hand() -> None:
    """On four nodes in a ring: never after an odd number of steps, then 1/2."""
    ring = torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]])
    assert_close(random_walk_encoding(ring, 4, 4), torch.tensor([[0, 0.5, 0, 0.5]] * 4).double())


def test_eigenvectors_solve_the_equation() -> None:
    n, k = 15, 5
    edge_index = undirected(n, 0.3)
    v = laplacian_encoding(torch.cat([edge_index, edge_index[:, :4], torch.tensor([[2], [2]])], 1), n, k)
    a = dense(edge_index, n)
    scale = torch.where(a.sum(1) > 0, a.sum(1).rsqrt(), 0.0)
    laplacian = torch.eye(n, dtype=torch.float64) - scale[:, None] * a * scale
    values = torch.linalg.eigvalsh(laplacian)[1 : k + 1]
    assert_close(laplacian @ v, v * values)
    assert_close(v.t() @ v, torch.eye(k, dtype=torch.float64))
    assert bool((v.gather(0, v.abs().argmax(0, keepdim=True)) > 0).all())
    short = laplacian_encoding(torch.tensor([[0, 1], [1, 0]]), 2, 4)
    assert_close(short[:, 1:], torch.zeros(2, 3, dtype=torch.float64))
    assert_close(short[:, 0].abs(), torch.full((2,), 0.5**0.5, dtype=torch.float64))


@pytest.mark.parametrize("encode", [random_walk_encoding, laplacian_encoding])
def test_relabelling_and_batches(encode: object) -> None:
    first, second = undirected(11, 0.4, 1), undirected(70, 0.06, 2)
    alone = [encode(first, 11, 4), encode(second, 70, 4)]  # type: ignore[operator]
    both, batch = torch.cat([first, second + 11], 1), torch.tensor([0] * 11 + [1] * 70)
    assert_close(encode(both, 81, 4, batch), torch.cat(alone))  # type: ignore[operator]
    order = torch.randperm(81)
    moved = encode(order.argsort()[both], 81, 4, batch[order])  # type: ignore[operator]
    expected = torch.cat(alone)[order]
    if encode is laplacian_encoding:  # within the sign, where the largest entry is not alone in being so
        moved, expected = moved.abs(), expected.abs()
    assert_close(moved, expected)


@pytest.mark.parametrize("build", [lambda: RandomWalkPE(4, 5), lambda: LaplacianPE(4, 5)])
def test_modules_know_a_graph_again(build: object, monkeypatch: pytest.MonkeyPatch) -> None:
    module = build().eval()  # type: ignore[operator]
    seen: list[int] = []
    numbers = module.numbers
    monkeypatch.setattr(module, "numbers", lambda g: (seen.append(g.num_graphs), numbers(g))[1])
    first, second = undirected(9, 0.4, 1), undirected(12, 0.3, 2)
    x = torch.randn(21, 4)
    one = module(x[12:], first)
    both = module(x, torch.cat([second, first + 12], 1), torch.tensor([0] * 12 + [1] * 9))
    assert seen == [1, 1]
    assert_close(both[12:], one)
    assert_close(module(x[:12], second), both[:12])
    assert seen == [1, 1]
    (known,) = module._known.values()
    assert (len(known), len(pickle.loads(pickle.dumps(known))), len(copy.deepcopy(known))) == (2, 0, 0)
    assert module.double()(x.double(), second).dtype == torch.float64
    assert seen == [1, 1, 1]
    module.float().train()(x[:9], first).sum().backward()
    assert module.lin.weight.grad.isfinite().all()
    assert repr(module) in ("RandomWalkPE(4, steps=5)", "LaplacianPE(4, k=5)")


def test_signs_are_drawn_in_training_only() -> None:
    module = LaplacianPE(3, 6)
    rows = torch.randn(10, 6)
    signs = torch.stack([module._varied(rows)[0] / rows[0] for _ in range(20)])
    assert_close(signs.abs(), torch.ones_like(signs))
    assert set(signs.flatten().sign().tolist()) == {-1.0, 1.0}
    assert module.eval()._varied(rows) is rows


def test_the_oldest_graphs_are_forgotten() -> None:
    cache = GraphCache(limit=2 * 5 * 8)
    for seed in range(3):
        graphs = Graphs.of(undirected(5, 0.6, seed), 5)
        cache.rows(graphs, lambda g: torch.zeros(g.num_nodes, dtype=torch.float64))
    assert len(cache) == 2
    made = cache.rows(Graphs.of(undirected(5, 0.6, 2), 5), lambda g: torch.ones(5, dtype=torch.float64))
    assert_close(made, torch.zeros(5, dtype=torch.float64))


def test_graphs_of_a_batch_in_any_order() -> None:
    first, second = undirected(4, 0.9, 1), undirected(6, 0.5, 2)
    both, batch = torch.cat([first, second + 4], 1), torch.tensor([0] * 4 + [1] * 6)
    order, edges = torch.randperm(10), torch.randperm(both.shape[1])
    graphs = Graphs.of(order.argsort()[both][:, edges], 10, batch[order], 3)
    assert graphs.size.tolist() == [4, 6, 0]
    assert torch.equal(graphs.node[graphs.edge_index], order.argsort()[both][:, edges][:, graphs.edge])
    assert torch.equal(graphs.batch, batch[order][graphs.node])
    last = graphs.take([1])
    assert torch.equal(last.edge_index + 4, graphs.edge_index[:, last.edge])
    assert graphs.keys[1] == last.keys[0]
    with pytest.raises(ValueError, match="an edge joins two graphs"):
        Graphs.of(torch.tensor([[0], [5]]), 10, batch)
    with pytest.raises(ValueError, match=r"batch has shape \[10\] but there are 9 nodes"):
        Graphs.of(first, 9, batch)
    with pytest.raises(ValueError, match="batch names graph 1 but there are 1 graphs"):
        Graphs.of(both, 10, batch, 1)
    with pytest.raises(ValueError, match="steps=0; pass 1 or more"):
        RandomWalkPE(3, 0)
    with pytest.raises(ValueError, match="edge_index is list"):
        laplacian_encoding([[0], [1]], 2, 1)  # type: ignore[arg-type]
