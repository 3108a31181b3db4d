"""Evaluation: the known-k rule, logistic regression against scikit-learn, and links without leaks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import LogisticRegression
from torch_geometric.data import Data

from gnnlib.embed import (
    FastRP,
    NodeEmbedding,
    classify_nodes,
    classify_split,
    edge_features,
    known_k,
    predict_links,
    split_links,
)
from gnnlib.embed.evaluate import OPERATORS, f1, one_vs_rest
from gnnlib.sparse import CSR


def test_known_k() -> None:
    score = [[0.1, 0.9, 0.5], [0.2, 0.1, 0.3], [1.0, 2.0, 3.0]]
    y = [[1, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert known_k(score, y).tolist() == [[False, True, True], [False] * 3, [False, False, True]]
    micro, macro = f1(known_k(score, y), np.asarray(y) > 0)
    assert micro == pytest.approx(2 * 1 / (3 + 3))
    assert macro == pytest.approx((0 + 0 + 2 * 1 / 3) / 3)


def test_all_labels_at_once_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 7)) * [1, 2, 0.1, 1, 1, 3, 1]
    y = (x @ rng.normal(size=(7, 4)) + rng.normal(size=(120, 4)) > 0.5).astype(int)
    weight, bias = one_vs_rest(x, y, 0.7)
    for k in range(4):
        one = LogisticRegression(C=0.7, tol=1e-8, max_iter=5000).fit(x, y[:, k])
        assert np.allclose(weight[:, k], one.coef_[0], atol=5e-3)
        assert bias[k] == pytest.approx(one.intercept_[0], abs=5e-3)


def test_nodes_that_their_rows_give_away_are_classified() -> None:
    y = np.arange(90) % 3
    rows = np.eye(3)[y] * 5 + np.random.default_rng(0).normal(size=(90, 3)) * 0.1
    found = classify_nodes(rows, y, fractions=(0.5,), shuffles=2, C=10.0)
    assert found[0.5]["micro_f1"] == 1
    with pytest.raises(ValueError, match="the embedding has 89 rows but y has 90"):
        classify_nodes(rows[:89], y)
    rare = y.copy()
    rare[7] = 3  # a class with one node: absent from the training part of some shuffles
    assert 0.9 < classify_nodes(rows, rare, fractions=(0.2,), shuffles=4)[0.2]["micro_f1"] < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"C": 0.0}, "C=0.0; expected a finite number above 0"),
        ({"C": float("nan")}, "C=nan; expected"),
        ({"C": float("inf")}, "C=inf; expected"),
        ({"shuffles": 0}, "shuffles=0; expected 1 or more"),
        ({"fractions": (0.05,)}, "fraction=0.05 of 12 nodes leaves none to train on"),
        ({"embedding": np.full((12, 2), np.nan)}, "12 of 12 rows of the embedding hold NaN or infinity"),
        ({"embedding": np.ones(12)}, r"the embedding has shape \[12\]; expected \[N, D\]"),
        ({"y": np.zeros((12, 3))}, "without a label"),
    ],
)
def test_what_cannot_be_classified_is_told(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "embedding": np.random.default_rng(0).normal(size=(12, 2)),
        "y": np.arange(12) % 2,
    }
    with pytest.raises(ValueError, match=f"classify_nodes: .*{message}"):
        classify_nodes(**given | change)
    assert classify_nodes(**given, seed=2**40)[0.5]["micro_f1"] >= 0


@pytest.mark.parametrize("C", [0.0, -1.0, float("nan")])
def test_the_penalty_of_links_and_splits_is_a_number_above_0(C: float) -> None:
    with pytest.raises(ValueError, match=r"predict_links: C=.* expected a finite number above 0"):
        predict_links(FastRP(4), networkx.karate_club_graph(), C=C)
    part = SimpleNamespace(train=[0, 1], val=[2], test=[3])
    with pytest.raises(ValueError, match=r"classify_split: C=.* expected a finite number above 0"):
        classify_split(np.eye(4), [0, 1, 0, 1], part, Cs=(1.0, C))


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_do_not_see_the_order_of_a_pair(operator: str) -> None:
    z, pairs = np.random.default_rng(0).normal(size=(9, 4)), np.array([[0, 1, 2], [3, 3, 8]])
    made = edge_features(z, pairs, operator)
    assert np.array_equal(made, edge_features(z, pairs[::-1], operator))
    assert made.shape == (3, 4)
    with pytest.raises(ValueError, match=r"pairs have shape \[3, 2\]; expected \[2, P\]; transpose them"):
        edge_features(z, pairs.T, operator)
    for wrong in (-1, 9):
        with pytest.raises(ValueError, match="edge_features: pairs run from"):
            edge_features(z, [[0, wrong], [1, 2]], operator)
    with pytest.raises(TypeError, match="pairs are float64; pass node numbers as integers"):
        edge_features(z, [[0.0], [1.0]], operator)


def test_links_are_removed_without_breaking_the_graph() -> None:
    graph = networkx.barabasi_albert_graph(80, 4, seed=0)
    kept, removed, absent = split_links(graph, 0.5, seed=1)
    whole = {tuple(sorted(e)) for e in graph.edges}
    left = {tuple(sorted(e)) for e in kept.t().tolist()}
    gone = {tuple(sorted(e)) for e in removed.t().tolist()}
    none = {tuple(sorted(e)) for e in absent.t().tolist()}
    assert left | gone == whole
    assert not left & gone
    assert len(gone) == len(whole) // 2 == len(none)
    assert not none & whole
    matrix = scipy.sparse.coo_matrix((np.ones(kept.shape[1]), kept.numpy()), shape=(80, 80))
    assert connected_components(matrix)[0] == 1
    with pytest.raises(ValueError, match="the graph is directed"):
        split_links(torch.tensor([[0, 1], [1, 2]]))
    with pytest.raises(ValueError, match="lie outside a spanning forest"):
        split_links(networkx.path_graph(9))


def test_links_are_predicted() -> None:
    graph = networkx.planted_partition_graph(4, 25, 0.6, 0.02, seed=0)
    found = predict_links(FastRP(64), graph)
    assert set(found) == {*OPERATORS, "dot"}
    assert found["dot"] > 0.8


class Kept(NodeEmbedding):
    """Keeps the graph that it is to embed."""

    def _embed(self, graph: CSR) -> torch.Tensor:
        self.graph = graph
        return torch.rand(graph.num_rows, 2)


def test_links_are_predicted_from_weighted_edges() -> None:
    whole = networkx.barabasi_albert_graph(30, 4, seed=0)
    index = torch.tensor(list(whole.edges)).t()
    index = torch.cat([index, index.flip(0)], 1)
    weight = torch.arange(
        1.0, index.shape[1] + 1
    )  # differs by direction: the graph is undirected all the same
    method = Kept()
    predict_links(method, Data(edge_index=index, edge_weight=weight, num_nodes=30))
    seen, (source, target) = method.graph, method.graph.edge_index
    given = {(int(a), int(b)): float(w) for (a, b), w in zip(index.t(), weight, strict=True)}
    assert seen.num_edges < len(given)
    assert seen.value is not None
    for a, b, w in zip(source.tolist(), target.tolist(), seen.value.tolist(), strict=True):
        assert given[a, b] == w
    twice = torch.cat([index, index], 1)  # parallel edges are one, of the sum of their weights
    predict_links(method, Data(edge_index=twice, edge_weight=torch.cat([weight, weight]), num_nodes=30))
    assert torch.equal(method.graph.to_dense(method.graph.value), 2 * seen.to_dense(seen.value))
    predict_links(method, Data(edge_index=index, num_nodes=30))
    assert method.graph.value is None


def test_what_cannot_be_split_is_told() -> None:
    graph = networkx.karate_club_graph()
    for share, message in (
        (0.0, "share=0.0; expected"),
        (float("nan"), "share=nan"),
        (0.001, "78 edges is none"),
    ):
        with pytest.raises(ValueError, match=message):
            split_links(graph, share)
    with pytest.raises(ValueError, match="22 pairs without an edge are wanted but the graph has 0"):
        split_links(networkx.complete_graph(10), 0.5)
