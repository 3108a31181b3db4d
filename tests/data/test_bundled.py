"""The datasets that come with the installed packages."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch_geometric.data.hypergraph_data import HyperGraphData
from torch_geometric.utils import contains_self_loops, is_undirected

from gnnlib.data import LinkSplit, Split, load
from gnnlib.data.readers.digits import nearest

pytestmark = pytest.mark.usefixtures("cache")


def test_digits() -> None:
    loaded = load("digits")
    data, (train, val, test) = loaded.dataset[0], (loaded.split.train, loaded.split.val, loaded.split.test)
    assert (loaded.task, loaded.num_features, loaded.num_outputs, loaded.metric.name) == (
        "node",
        64,
        10,
        "accuracy",
    )
    assert (train.numel(), val.numel(), test.numel()) == (200, 500, 1097)
    assert data.y[train].bincount().tolist() == [20] * 10
    assert float(data.x.min()) == 0.0
    assert float(data.x.max()) == 1.0
    assert is_undirected(data.edge_index)
    assert not contains_self_loops(data.edge_index)
    same = (data.y[data.edge_index[0]] == data.y[data.edge_index[1]]).float().mean()
    assert float(same) > 0.95  # near images show the same digit


def test_unpacking_and_choice_of_split() -> None:
    dataset, split, metric = load("digits", split=3)
    assert isinstance(split, Split)
    assert metric.name == "accuracy"
    loaded = load("digits", split=3)
    assert loaded.split_name == "seed-3"
    assert loaded.splits[3].train.equal(split.train)
    assert not loaded.splits[0].train.equal(split.train)
    assert len(dataset) == 1
    for wrong in (-1, 10):
        with pytest.raises(ValueError, match=f"split {wrong} is asked for"):
            load("digits", split=wrong)


def test_nearest_breaks_ties_by_number() -> None:
    points = np.array([[0], [1], [2], [3], [10]])
    edges = nearest(points, 2)  # 2 has two neighbours at distance 1; 1 chooses 0 and 2
    found = {target: sorted(edges[0, edges[1] == target].tolist()) for target in range(5)}
    assert found == {0: [1, 2], 1: [0, 2], 2: [1, 3], 3: [1, 2], 4: [2, 3]}
    tied = nearest(np.array([[0], [1], [-1], [5]]), 1)
    assert tied[0, 0] == 1


def test_karate() -> None:
    loaded = load("karate")
    data = loaded.dataset[0]
    assert loaded.split.train.tolist() == [0, 33]
    assert data.y[loaded.split.val].bincount().tolist() == [4, 4]
    assert data.y.bincount().tolist() == [17, 17]
    assert is_undirected(data.edge_index, data.edge_weight)
    assert data.x.equal(torch.eye(34))


@pytest.mark.parametrize("split", [0, 7])
def test_les_miserables(split: int) -> None:
    loaded = load("les-miserables", split=split)
    data, links = loaded.dataset[0], loaded.split
    assert isinstance(links, LinkSplit)
    assert (loaded.task, loaded.metric.kind, loaded.num_outputs) == ("link", "ranking", 0)
    assert links.train_edges.equal(loaded.splits[split].train_edges)
    # the graph passes messages along the training edges of this split only
    key = set((data.edge_index[0] * 77 + data.edge_index[1]).tolist())
    held_out = torch.cat([links.val_pos, links.test_pos], dim=1)
    assert not key & set((held_out[0] * 77 + held_out[1]).tolist())
    assert not key & set((held_out[1] * 77 + held_out[0]).tolist())
    assert data.num_edges == 2 * links.train_edges.size(1)
    assert is_undirected(data.edge_index, data.edge_weight)
    assert float(data.edge_weight.max()) > 1


def test_davis() -> None:
    loaded = load("davis")
    data, links = loaded.dataset[0], loaded.split
    assert isinstance(data, HyperGraphData)
    assert loaded.task == "incidence"
    assert (data.num_nodes, data.num_hyperedges) == (18, 14)
    assert data.edge_index.equal(links.train_edges)
    assert int(data.edge_index[0].max()) < 18
    assert int(data.edge_index[1].max()) < 14


def test_the_same_every_time() -> None:
    for name in ("digits", "karate", "les-miserables", "davis"):
        one, two = load(name), load(name)
        assert one.dataset[0].edge_index.equal(two.dataset[0].edge_index)


def test_the_graph_of_digits_is_this_one() -> None:
    """Exact distances and a tie rule make the graph the same on every machine."""
    edges = load("digits").dataset[0].edge_index
    assert hashlib.sha256(edges.numpy().tobytes()).hexdigest()[:16] == "8c0021322541360c"


@pytest.mark.parametrize(("name", "nodes", "leaves"), [("balanced-tree", 40, 27), ("balanced-tree-1", 4, 3)])
def test_a_balanced_tree(name: str, nodes: int, leaves: int) -> None:
    data = load(name).dataset[0]
    degree = data.edge_index[0].bincount()
    assert (data.num_nodes, data.num_edges) == (nodes, 2 * (nodes - 1))
    assert is_undirected(data.edge_index)
    assert (degree == 1).sum() == leaves
    assert degree[0] == 3  # the root
