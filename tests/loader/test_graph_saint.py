"""GraphSAINT: probabilities against every possible draw, weights by simulation, PyG's output."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from gnnlib.loader import (
    GraphSAINTEdgeSampler,
    GraphSAINTNodeSampler,
    GraphSAINTRandomWalkSampler,
)
from gnnlib.loader.saint import GraphSAINTSampler
from tests.loader.graphs import NODES, edges, plain, same_batches
from tests.tolerances import assert_close

# A loop, parallel edges, an edge in both directions, and a node without edges.
SMALL = Data(edge_index=torch.tensor([[0, 1, 2, 2, 3, 0, 0, 1], [1, 0, 2, 1, 2, 3, 3, 2]]), num_nodes=5)

Make = Callable[..., GraphSAINTSampler]
MAKERS: dict[str, Make] = {
    "node": lambda data, m, **kw: GraphSAINTNodeSampler(data, m, **kw),
    "degree": lambda data, m, **kw: GraphSAINTNodeSampler(data, m, by_degree=True, **kw),
    "edge": lambda data, m, **kw: GraphSAINTEdgeSampler(data, m, **kw),
    "walk": lambda data, m, **kw: GraphSAINTRandomWalkSampler(data, m, 2, **kw),
}


def rates(kind: str) -> list[float]:
    """The probability of each single draw, from the paper."""
    u, v = SMALL.edge_index.tolist()
    into, out = [v.count(i) for i in range(5)], [u.count(i) for i in range(5)]
    if kind == "node":
        found = [sum(1 / into[b] ** 2 for a, b in zip(u, v, strict=True) if a == i) for i in range(5)]
    elif kind == "degree":
        found = [float(k) for k in out]
    else:
        found = [1 / out[a] + 1 / into[b] for a, b in zip(u, v, strict=True)]
    return [x / sum(found) for x in found]


@pytest.mark.parametrize("kind", ["node", "degree", "edge"])
@pytest.mark.parametrize("draws", [1, 2, 3])
def test_probabilities_over_every_draw(kind: str, draws: int) -> None:
    rate = rates(kind)
    u, v = SMALL.edge_index.tolist()
    node, edge = torch.zeros(5, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    for drawn in itertools.product(range(len(rate)), repeat=draws):
        chance = torch.tensor([rate[d] for d in drawn], dtype=torch.float64).prod()
        met = set(drawn) if kind != "edge" else {end for d in drawn for end in (u[d], v[d])}
        for i in met:
            node[i] += chance
        for e in range(8):
            edge[e] += chance * (u[e] in met and v[e] in met)
    found = MAKERS[kind](SMALL, draws).probabilities()
    assert found is not None
    assert_close(found[0], node)
    assert_close(found[1], edge)


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_weights_make_losses_and_sums_unbiased(kind: str) -> None:
    """Averages over many subgraphs against the whole graph, within five standard errors."""
    num_nodes, trials = 14, 1500
    draw = torch.Generator().manual_seed(3)
    edge_index = edges(num_nodes, num_nodes, 40, seed=7)
    data = Data(
        edge_index=edge_index,
        num_nodes=num_nodes,
        node=torch.arange(num_nodes),
        x=torch.randn(num_nodes, generator=draw),
        loss=torch.rand(num_nodes, generator=draw),
        a=torch.rand(40, generator=draw),
    )
    coverage = 1500 if kind == "walk" else 1
    sampler = MAKERS[kind](data, 4, sample_coverage=coverage, seed=1, num_steps=trials)
    losses, sums = torch.zeros(trials), torch.full((trials, num_nodes), float("nan"))
    for k, batch in enumerate(sampler):
        losses[k] = (batch.node_norm * batch.loss).sum()
        row, col = batch.edge_index
        message = batch.edge_norm * batch.a * batch.x[row]
        sums[k, batch.node] = torch.zeros(batch.num_nodes).index_add(0, col, message)
    met = ~sums.isnan()
    possible = met.any(0)
    assert int(possible.sum()) >= 12
    wanted = data.loss[possible].sum() / num_nodes
    # Counted weights have an error of their own, of about one part in a hundred.
    slack = 0.03 if kind == "walk" else 0.0
    assert abs(losses.mean() - wanted) < 5 * losses.std() / trials**0.5 + slack
    whole = torch.zeros(num_nodes).index_add(0, edge_index[1], data.a * data.x[edge_index[0]])
    for v in possible.nonzero()[:, 0].tolist():
        part = sums[met[:, v], v]
        if part.numel() > 100:
            error = 5 * part.std() / part.numel() ** 0.5 + slack * part.abs().max()
            assert abs(part.mean() - whole[v]) <= error + 1e-5


def test_the_norm_of_edges_counts_their_target() -> None:
    """p_v / p_uv with v the target: a subgraph that has u has the edge as often as it has v."""
    sampler = GraphSAINTNodeSampler(SMALL, 2, sample_coverage=1)
    node, edge = sampler.probabilities()
    assert sampler.edge_norm is not None
    assert_close(sampler.edge_norm, (node[SMALL.edge_index[1]] / edge).float())


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_batches(kind: str) -> None:
    data = plain()
    sampler = MAKERS[kind](data, 10, num_steps=5, sample_coverage=3, seed=0)
    assert len(sampler) == 5
    batches = list(sampler)
    for batch in batches:
        n_id, e_id = batch.x[:, 0].long(), batch.edge_attr
        assert torch.equal(n_id[batch.edge_index], data.edge_index[:, e_id])
        inside = torch.isin(data.edge_index, n_id).all(0)
        assert e_id.sort().values.tolist() == inside.nonzero()[:, 0].tolist()
        assert batch.node_norm.shape == (batch.num_nodes,)
        assert batch.edge_norm.shape == (batch.num_edges,)
        assert bool(torch.isfinite(batch.edge_norm).all())
        assert batch.name == "a graph"
    assert not torch.equal(batches[0].x, batches[1].x)
    again = MAKERS[kind](data, 10, num_steps=5, sample_coverage=3, seed=0, num_workers=2)
    same_batches(batches, list(again))
    assert not torch.equal(next(iter(sampler)).x, batches[0].x), "the next epoch draws anew"
    assert "node_norm" not in next(iter(MAKERS[kind](data, 10)))


def test_walks_follow_edges() -> None:
    chain = Data(edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), num_nodes=9)
    for batch in GraphSAINTRandomWalkSampler(chain, 1, walk_length=3, num_steps=20, seed=0):
        assert batch.num_nodes in (1, 2, 3, 4)
        assert batch.num_edges == batch.num_nodes - 1


def test_counted_weights_are_kept(tmp_path: Path) -> None:
    options: dict[str, Any] = {"walk_length": 2, "sample_coverage": 5, "save_dir": str(tmp_path)}
    one = GraphSAINTRandomWalkSampler(plain(), 5, seed=0, **options)
    two = GraphSAINTRandomWalkSampler(plain(), 5, seed=9, **options)
    assert torch.equal(one.node_norm, two.node_norm)
    smaller = Data(edge_index=edges(5, 5, 9), num_nodes=5)
    with pytest.raises(ValueError, match="is of another graph; give another save_dir"):
        GraphSAINTRandomWalkSampler(smaller, 5, **options)


def test_errors() -> None:
    data = plain()
    with pytest.raises(ValueError, match="batch_size=0; at least 1 draw"):
        GraphSAINTNodeSampler(data, 0)
    with pytest.raises(ValueError, match="walk_length=0; at least 1 step"):
        GraphSAINTRandomWalkSampler(data, 3, 0)
    with pytest.raises(ValueError, match="the graph has no edges"):
        GraphSAINTEdgeSampler(Data(x=torch.ones(3, 1)), 3)
    data.node_norm = torch.ones(NODES)
    with pytest.raises(ValueError, match="the graph has node_norm already; rename"):
        GraphSAINTEdgeSampler(data, 3)
