"""Hyperbolic embeddings: known figures of a binary tree, exact recovery, and metrics."""

from __future__ import annotations

import networkx
import numpy as np
import pytest

from gnnlib.embed import HyperbolicMDS, SarkarEmbedding, distortion, poincare_distance
from gnnlib.embed.hyperbolic import _swap, hop_distances


@pytest.mark.parametrize(
    ("tau", "worst", "average", "precision"),
    [
        (0.5, 7.97, 0.249, 0.935),
        (1.0, 1.894, 0.169, 1.0),
        (2.0, 1.182, 0.0917, 1.0),
        (3.0, 1.096, 0.0617, 1.0),
        (4.0, 1.066, 0.0463, 1.0),
    ],
)
def test_a_binary_tree(tau: float, worst: float, average: float, precision: float) -> None:
    tree = networkx.balanced_tree(2, 4)
    method = SarkarEmbedding(tau=tau, root=0).fit(tree)
    found = distortion(method.distances_, hop_distances(tree), tau)
    assert found["worst"] == pytest.approx(worst, rel=2e-3)
    assert found["average"] == pytest.approx(average, rel=2e-3)
    assert found["map"] == pytest.approx(precision, abs=1e-3)
    assert found["skipped"] == 0
    for a, b in tree.edges:
        assert method.distances_[a, b] == pytest.approx(tau, rel=1e-12)


def test_epsilon_bounds_the_distortion() -> None:
    tree = networkx.random_labeled_tree(60, seed=1)
    for epsilon in (1.0, 0.1):
        method = SarkarEmbedding(epsilon).fit(tree)
        found = distortion(method.distances_, hop_distances(tree), method.tau_)
        assert found["worst"] <= 1 + epsilon
        assert found["map"] == 1
    assert method.bits_ > 53  # a float64 could not hold it
    with pytest.raises(ValueError, match="53 bits do not keep a deep node apart"):
        SarkarEmbedding(0.1, precision_bits=53).fit(tree)


def test_the_swap_is_an_isometry_and_its_own_inverse() -> None:
    rng = np.random.default_rng(0)
    z = 0.9 * rng.uniform(-0.7, 0.7, 20) + 0.9j * rng.uniform(-0.7, 0.7, 20)
    moved = _swap(z[0], z)
    assert np.allclose(_swap(z[0], moved), z)
    pairs = [np.stack([p.real, p.imag], 1) for p in (z, moved)]
    assert np.allclose(poincare_distance(pairs[0]), poincare_distance(pairs[1]))
    assert abs(moved[0]) < 1e-15


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_points_are_recovered_from_their_distances(dim: int) -> None:
    x = np.random.default_rng(0).normal(size=(40, dim))
    time = np.sqrt(1 + (x**2).sum(1))
    wanted = np.arccosh(np.maximum(time[:, None] * time - x @ x.T, 1))
    np.fill_diagonal(wanted, 0)
    method = HyperbolicMDS(dim).fit_distances(wanted)
    assert np.allclose(method.distances_, wanted, atol=1e-6)
    assert np.allclose(poincare_distance(method.embedding_.astype(float)), wanted, atol=2e-3)  # in float32
    fewer = HyperbolicMDS(dim - 1).fit_distances(wanted)
    assert not np.allclose(fewer.distances_, wanted, atol=1e-2)


def test_metrics_of_a_perfect_embedding() -> None:
    hops = hop_distances(networkx.cycle_graph(7))
    assert distortion(3 * hops, hops, 3.0) == {"average": 0.0, "worst": 1.0, "map": 1.0, "skipped": 0.0}
    two = hop_distances(networkx.Graph([(0, 1), (2, 3)]))
    assert distortion(np.where(np.isfinite(two), two, 9), two)["skipped"] == 8


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match="the graph is not connected"):
        SarkarEmbedding().fit(networkx.Graph([(0, 1), (2, 3)]))
    with pytest.raises(ValueError, match="the largest scaled distance is 40; beyond 18"):
        HyperbolicMDS(2).fit(networkx.path_graph(41))
