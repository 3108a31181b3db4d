"""Hyperbolic embeddings: known figures of a binary tree, exact recovery, and metrics."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnnlib.embed import HyperbolicMDS, SarkarEmbedding, distortion, poincare_distance
from gnnlib.embed.hyperbolic import hop_distances
from gnnlib.embed.sarkar import _swap, directions, smallest_angle


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
        found = distortion(method.distances_, hop_distances(tree), method.scale_)
        assert found["worst"] <= 1 + epsilon
        assert found["map"] == 1
    assert method.bits_ > 53  # a float64 could not hold it
    with pytest.raises(ValueError, match="53 bits do not keep a deep node apart"):
        SarkarEmbedding(0.1, precision_bits=53).fit(tree)


@pytest.mark.parametrize("dim", [2, 5])
def test_weights_are_lengths(dim: int) -> None:
    tree = networkx.random_labeled_tree(25, seed=3)
    rng = np.random.default_rng(0)
    for a, b in tree.edges:
        tree.edges[a, b]["weight"] = rng.integers(4, 24) / 8
    fixed = SarkarEmbedding(tau=1.5, dim=dim).fit(tree)
    for a, b, w in tree.edges(data="weight"):
        assert fixed.distances_[a, b] == pytest.approx(1.5 * w, rel=1e-12)
    wanted = np.array(networkx.floyd_warshall_numpy(tree, nodelist=range(25)))
    method = SarkarEmbedding(0.2, dim=dim).fit(tree)
    assert distortion(method.distances_, wanted, method.scale_)["worst"] <= 1.2
    one = networkx.random_labeled_tree(25, seed=3)
    doubled = one.copy()
    networkx.set_edge_attributes(doubled, 2.0, "weight")
    assert np.allclose(
        SarkarEmbedding(tau=2.0, dim=dim).fit(one).distances_,
        SarkarEmbedding(tau=1.0, dim=dim).fit(doubled).distances_,
        rtol=1e-12,
    )


@pytest.mark.parametrize("dim", [2, 3, 7])
def test_the_swap_is_an_isometry_and_its_own_inverse(dim: int) -> None:
    z = 0.9 * np.random.default_rng(0).uniform(-1, 1, (20, dim)) / dim**0.5
    moved = np.array([np.zeros(dim), *(_swap(z[0], x) for x in z[1:])])
    assert np.allclose(_swap(z[0], z[0] * (1 - 1e-12)), 0, atol=1e-10)
    assert np.allclose([_swap(z[0], x) for x in moved], z)
    assert np.allclose(poincare_distance(z), poincare_distance(moved))


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
    weighted = networkx.Graph()
    weighted.add_weighted_edges_from([(0, 1, 2.0), (1, 2, 0.0)])
    for method, message in (
        (SarkarEmbedding(0.0), "epsilon=0.0; expected a finite number above 0"),
        (SarkarEmbedding(tau=-1.0), "tau=-1.0; expected a finite number above 0"),
        (SarkarEmbedding(root=99), "root=99; expected 'center' or a node, 0 to 2"),
        (SarkarEmbedding(root=-1), "root=-1; expected 'center' or a node"),
        (SarkarEmbedding(root="middle"), "root 'middle' is unknown"),  # type: ignore[arg-type]
        (SarkarEmbedding(precision_bits=0), "precision_bits=0; expected 1 or more"),
        (SarkarEmbedding(), "an edge's weight is its length"),
        (HyperbolicMDS(0), "dim=0; expected 1 or more"),
        (HyperbolicMDS(scale=float("nan")), "scale=nan; expected a finite number above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            method.fit(weighted)
    uneven = Data(
        edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.tensor([1.0, 2.0]), num_nodes=2
    )
    with pytest.raises(ValueError, match="the same in both directions"):
        SarkarEmbedding().fit(uneven)
    for empty in (SarkarEmbedding(), HyperbolicMDS()):
        with pytest.raises(ValueError, match=r"no nodes"):
            empty.fit(networkx.Graph())
    for wrong in ([[0, 1], [3, 0]], [[1, 1], [1, 0]], [[0, -1], [-1, 0]], [[0, np.nan], [np.nan, 0]]):
        with pytest.raises(ValueError, match="these are no distances"):
            HyperbolicMDS(1).fit_distances(np.array(wrong))
    with pytest.raises(ValueError, match=r"shape \[2, 3\]; expected \[N, N\]"):
        HyperbolicMDS(1).fit_distances(np.zeros((2, 3)))
    apart = hop_distances(networkx.empty_graph(3))
    with pytest.raises(ValueError, match="no pair of nodes has finite distances"):
        distortion(apart, apart)
    with pytest.raises(ValueError, match="scale=0; expected a finite number above 0"):
        distortion(np.ones((2, 2)), np.ones((2, 2)), 0)
    with pytest.raises(ValueError, match=r"distances have shape \[2, 2\], wanted \[3, 3\]"):
        distortion(np.ones((2, 2)), apart)
    with pytest.raises(ValueError, match="the largest scaled distance is 40; beyond 18"):
        HyperbolicMDS(2).fit(networkx.path_graph(41))


@pytest.mark.parametrize("dim", [3, 5, 10])
def test_trees_in_more_dimensions(dim: int) -> None:
    tree = networkx.balanced_tree(3, 3)
    method = SarkarEmbedding(0.5, dim=dim).fit(tree)
    assert method.embedding_.shape == (40, dim)
    found = distortion(method.distances_, hop_distances(tree), method.scale_)
    assert found["worst"] <= 1.5
    assert found["map"] == 1
    for a, b in tree.edges:
        assert method.distances_[a, b] == pytest.approx(method.scale_, rel=1e-12)
    plane = SarkarEmbedding(0.5).fit(tree)
    assert method.scale_ < plane.scale_  # neighbours are wider apart
    assert method.bits_ < plane.bits_
    shallow = SarkarEmbedding(dim=dim, tau=1.0).fit(tree)
    exact = shallow.direction_ * np.tanh(shallow.radius_ / 2)[:, None]
    assert np.allclose(poincare_distance(exact), shallow.distances_, atol=1e-9)


@pytest.mark.parametrize(("count", "dim"), [(2, 3), (3, 3), (4, 7), (8, 8), (5, 6), (60, 3), (200, 10)])
def test_directions_are_well_apart(count: int, dim: int) -> None:
    found = directions(count, dim)
    assert found.shape == (count, dim)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.allclose((found @ found.T).max(1), 1)  # none is nearer to another than to itself
    apart = found @ found.T - 2 * np.eye(count)
    angle = np.arccos(np.clip(apart.max(), -1, 1))
    assert smallest_angle(count, dim) == pytest.approx(angle)
    if count > dim:  # caps of half the angle would fill the sphere; random points come far closer
        drawn = np.random.default_rng(0).normal(size=(count, dim))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        assert angle > 1.5 * np.arccos((drawn @ drawn.T - 2 * np.eye(count)).max())
    elif (dim + 1) & dim == 0:  # the whole length of a simplex code: words differ in 2^(z - 1) places
        length = 2 ** (count - 1).bit_length() - 1
        if dim % length == 0:
            assert (
                angle >= np.arccos(1 - 2 * (length + 1) / 2 / length) - 1e-6
            )  # of an arc cosine near a half turn


def test_neighbours_of_a_star_keep_the_angles_of_the_code() -> None:
    star = networkx.star_graph(7)
    method = SarkarEmbedding(dim=7, tau=3.0, root=0).fit(star)
    leaves = method.direction_[1:]
    assert np.allclose(leaves @ leaves.T - np.eye(7), -1 / 7 * (1 - np.eye(7)), atol=1e-9)
    inner = SarkarEmbedding(dim=7, tau=3.0, root=1).fit(star)  # the same, seen from a leaf
    assert np.allclose(inner.distances_[1:, 1:], method.distances_[1:, 1:], atol=1e-9)
    assert method.radius_[0] == 0
    assert np.allclose(method.radius_[1:], 3.0)
