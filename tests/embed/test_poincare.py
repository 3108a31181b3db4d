"""Poincaré embeddings: the gradient in closed form, the steps, and trees that are put in order."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch

from gnnlib.embed import PoincareEmbedding, distortion, poincare_distance
from gnnlib.embed.hyperbolic import hop_distances
from gnnlib.embed.poincare import EDGE, distance, distance_gradient, loss_gradient, project


def points(count: int, dim: int, radius: float = 0.95) -> torch.Tensor:
    x = torch.randn(count, dim, dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True) * (radius * torch.rand(count, 1, dtype=torch.float64))


def test_distances_are_those_of_the_ball() -> None:
    x = points(12, 3)
    assert np.allclose(distance(x, x.expand(12, 12, 3)).numpy(), poincare_distance(x.numpy()), atol=1e-7)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_gradient_of_a_distance_is_that_of_finite_differences(dim: int) -> None:
    u, v = points(30, dim), points(30, dim)
    found = distance_gradient(u[:, None], v[:, None])[:, 0]
    for k in range(dim):
        step = torch.zeros(dim, dtype=torch.float64)
        step[k] = 1e-6
        wanted = (distance(u + step, v[:, None]) - distance(u - step, v[:, None]))[:, 0] / 2e-6
        assert torch.allclose(found[:, k], wanted, rtol=1e-5, atol=1e-6)
    same = distance_gradient(u[:, None], u[:, None])
    assert torch.equal(same, torch.zeros_like(same))


def test_the_gradient_of_the_loss_is_that_of_autograd() -> None:
    x = points(9, 4).requires_grad_()
    u, others = torch.tensor([0, 3, 3]), torch.tensor([[1, 2, 4], [5, 0, 8], [6, 7, 5]])
    left_out = torch.zeros(3, 3, dtype=torch.bool)
    left_out[1, 2] = left_out[2, 1] = True
    score = (-distance(x[u], x[others])).masked_fill(left_out, -torch.inf)
    (wanted,) = torch.autograd.grad(-score.log_softmax(1)[:, 0].sum(), x)
    assert torch.allclose(loss_gradient(x.detach(), u, others, left_out), wanted, atol=1e-10)


def test_points_stay_in_the_ball() -> None:
    x = project(torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64))
    assert float(x[0].norm()) == pytest.approx(EDGE)
    assert x[1].tolist() == [0.3, 0.4]
    far = PoincareEmbedding(2, lr=50.0, epochs=3, burn_in=0).fit(networkx.star_graph(8))
    assert np.isfinite(far.embedding_).all()
    assert np.linalg.norm(far.embedding_.astype(float), axis=1).max() < 1


def test_a_tree_is_put_in_order() -> None:
    tree = networkx.balanced_tree(2, 4)
    method = PoincareEmbedding(5, epochs=60, burn_in=5).fit(tree)
    found = distortion(method.distances_, hop_distances(tree), method.scale_)
    start = PoincareEmbedding(5, epochs=1, burn_in=0, lr=1e-9).fit(tree)
    before = distortion(start.distances_, hop_distances(tree), start.scale_)
    assert found["map"] > 0.9
    assert before["map"] < 0.5
    radius = np.linalg.norm(method.embedding_, axis=1)
    assert radius[0] < radius[15:].min()  # the root is inside, the leaves outside
    again = PoincareEmbedding(5, epochs=60, burn_in=5).fit(tree)
    assert np.array_equal(again.embedding_, method.embedding_)


def test_bad_parameters_and_graphs_without_edges() -> None:
    with pytest.raises(ValueError, match=r"PoincareEmbedding: lr=0.0; expected a finite number above 0"):
        PoincareEmbedding(lr=0.0).fit(networkx.path_graph(3))
    with pytest.raises(ValueError, match="negative=0; expected 1 or more"):
        PoincareEmbedding(negative=0).fit(networkx.path_graph(3))
    lonely = PoincareEmbedding(3).fit(networkx.empty_graph(4))
    assert lonely.isolated_.all()
    assert np.abs(lonely.embedding_).max() <= 1e-3
