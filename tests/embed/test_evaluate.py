"""Evaluation: the known-k rule, logistic regression against scikit-learn, and links without leaks."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import LogisticRegression

from gnnlib.embed import FastRP, classify_nodes, edge_features, known_k, predict_links, split_links
from gnnlib.embed.evaluate import OPERATORS, f1, one_vs_rest


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


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_do_not_see_the_order_of_a_pair(operator: str) -> None:
    z, pairs = np.random.default_rng(0).normal(size=(9, 4)), np.array([[0, 1, 2], [3, 3, 8]])
    made = edge_features(z, pairs, operator)
    assert np.array_equal(made, edge_features(z, pairs[::-1], operator))
    assert made.shape == (3, 4)


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
