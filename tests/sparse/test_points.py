"""Nearest points, radius graphs and farthest points against all distances."""

from __future__ import annotations

import math
import os
import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import fps, knn, knn_graph, radius, radius_graph, use_backend
from gnnlib.sparse.native import launch

BATCH_X = torch.arange(6).repeat_interleave(torch.tensor([7, 1, 0, 20, 3, 12]))
BATCH_Y = torch.arange(6).repeat_interleave(torch.tensor([4, 2, 3, 9, 0, 5]))


def cloud(batch: Tensor, dims: int, seed: int = 0) -> Tensor:
    return torch.randn(batch.numel(), dims, generator=torch.Generator().manual_seed(seed)).double()


def all_distances(
    x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None, cosine: bool
) -> Tensor:
    if cosine:
        x, y = (t / t.norm(dim=1, keepdim=True) for t in (x, y))
    distance = (y[:, None] - x[None]).norm(dim=2)
    if batch_x is not None and batch_y is not None:
        distance[batch_y[:, None] != batch_x] = math.inf
    return distance


def nearest(distance: Tensor, k: int) -> Tensor:
    """Pairs of the k smallest of each row, by row and then by distance."""
    pairs = []
    for i, row in enumerate(distance.tolist()):
        order = sorted(range(len(row)), key=lambda j: row[j])
        pairs += [(i, j) for j in order[:k] if row[j] < math.inf]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t()


@pytest.mark.parametrize("method", ["auto", "tree", "brute"])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("dims", [1, 3, 20])
@pytest.mark.parametrize("cosine", [False, True])
def test_knn(dims: int, batched: bool, method: Any, cosine: bool) -> None:
    if cosine and dims == 1:
        pytest.skip("on a line all angles are equal")
    x, y = cloud(BATCH_X, dims), cloud(BATCH_Y, dims, 1)
    sets = (BATCH_X, BATCH_Y) if batched else (None, None)
    for k in (1, 4, 100):
        wanted = nearest(all_distances(x, y, *sets, cosine), k)
        assert torch.equal(knn(x, y, k, *sets, cosine, method=method), wanted)


@pytest.mark.parametrize("method", ["tree", "brute"])
def test_far_from_the_origin(method: Any) -> None:
    """Distances a millionth of the coordinates keep their order."""
    x, y = (cloud(b, 12, s) + 1e6 for s, b in enumerate((BATCH_X, BATCH_Y)))
    assert torch.equal(knn(x, y, 5, method=method), nearest(all_distances(x, y, None, None, False), 5))


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from gnnlib.sparse import points

    x, y = cloud(BATCH_X, 12), cloud(BATCH_Y, 12, 1)
    whole = [knn(x, y, 3, *s, method="brute") for s in ((), (BATCH_X, BATCH_Y))]
    monkeypatch.setattr(points, "_BLOCK", 100)
    for s, wanted in zip(((), (BATCH_X, BATCH_Y)), whole, strict=True):
        assert torch.equal(knn(x, y, 3, *s, method="brute"), wanted)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_knn_graph(loop: bool, flow: Any) -> None:
    x = cloud(BATCH_X, 3)
    distance = all_distances(x, x, BATCH_X, BATCH_X, False)
    if not loop:
        distance.fill_diagonal_(math.inf)
    point, other = nearest(distance, 4)
    wanted = torch.stack([other, point] if flow == "source_to_target" else [point, other])
    assert torch.equal(knn_graph(x, 4, BATCH_X, loop, flow), wanted)


def test_equal_points_keep_their_number_of_neighbours() -> None:
    x = torch.zeros(9, 2)
    for method in ("tree", "brute"):
        edge_index = knn_graph(x, 3, method=method)
        assert edge_index[1].bincount().tolist() == [3] * 9
        assert bool((edge_index[0] != edge_index[1]).all())


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("most", [2, 32, None])
def test_radius(batched: bool, most: int | None) -> None:
    x, y = cloud(BATCH_X, 3), cloud(BATCH_Y, 3, 1)
    sets = (BATCH_X, BATCH_Y) if batched else (None, None)
    for r in (0.0, 0.8, 2.0, 100.0):
        distance = all_distances(x, y, *sets, False)
        distance[distance > r] = math.inf
        wanted = nearest(distance, most or 1000)
        assert torch.equal(radius(x, y, r, *sets, max_num_neighbors=most), wanted)


def test_radius_takes_what_is_at_the_distance() -> None:
    grid = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    for most in (32, None):
        edge_index = radius_graph(grid, 1.0, max_num_neighbors=most)
        assert edge_index.shape[1] == 2 * 2 * 4 * 3  # both directions of the edges of a 4 x 4 grid
        assert radius_graph(grid, 1.0, loop=True, max_num_neighbors=most).shape[1] == 48 + 16


def test_radius_graph_limits() -> None:
    x = cloud(BATCH_X, 2)
    distance = all_distances(x, x, BATCH_X, BATCH_X, False).fill_diagonal_(math.inf)
    distance[distance > 1.5] = math.inf
    for most in (2, 32, None):
        point, other = nearest(distance, most or 1000)
        found = radius_graph(x, 1.5, BATCH_X, max_num_neighbors=most)
        assert torch.equal(found, torch.stack([other, point]))


class Descent:
    """Stands for pynndescent's index, whose kernels compile for a minute: exact, the point itself first."""

    def __init__(self, data: Any, n_neighbors: int, random_state: int) -> None:
        self.data, self.asked = torch.from_numpy(data), n_neighbors
        self.neighbor_graph = self.query(data, n_neighbors)

    def query(self, data: Any, k: int) -> tuple[Any, None]:
        return torch.cdist(torch.from_numpy(data), self.data).topk(
            k, largest=False
        ).indices.int().numpy(), None


def test_approximate_neighbours_come_from_pynndescent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynndescent", types.SimpleNamespace(NNDescent=Descent))
    x, y = cloud(BATCH_X, 12), cloud(BATCH_Y, 12, 1)
    for k in (3, 20):
        assert torch.equal(knn_graph(x, k, method="approximate"), knn_graph(x, k, method="brute"))
        assert torch.equal(knn(x, y, k, method="approximate"), knn(x, y, k, method="brute"))


def test_many_points_of_many_dimensions_are_approximate(monkeypatch: pytest.MonkeyPatch) -> None:
    from gnnlib.sparse import points

    monkeypatch.setattr(points, "MANY", 20)
    x = cloud(BATCH_X, 12)
    assert points._suits(x, None) == "approximate"
    assert points._suits(x, BATCH_X) == "brute"
    assert points._suits(x[:, :3], None) == "tree"


@pytest.mark.skipif("GNNLIB_LONG_TESTS" not in os.environ, reason="pynndescent compiles for a minute")
def test_approximate_neighbours_are_mostly_right() -> None:
    x = torch.randn(600, 12)
    exact, found = (knn_graph(x, 10, method=m) for m in ("brute", "approximate"))
    recall = len(set(map(tuple, exact.t().tolist())) & set(map(tuple, found.t().tolist()))) / exact.shape[1]
    assert recall > 0.95
    assert torch.equal(found, knn_graph(x, 10, method="approximate", seed=0))


def test_empty() -> None:
    none, some = torch.empty(0, 2), torch.ones(3, 2)
    for method in ("tree", "brute"):
        assert knn(none, some, 2, method=method).shape == (2, 0)
        assert knn(some, none, 2, method=method).shape == (2, 0)
        assert knn_graph(none, 2, method=method).shape == (2, 0)
    for most in (3, None):
        assert radius(none, some, 1.0, max_num_neighbors=most).shape == (2, 0)
        assert radius_graph(none, 1.0, max_num_neighbors=most).shape == (2, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: knn(torch.ones(3, 2), torch.ones(3, 1), 1), ValueError, "x has 2 columns and y 1"),
        (lambda: knn_graph(torch.ones(3, 2), 0, loop=True), ValueError, "k=0; at least 1 neighbour"),
        (lambda: knn_graph(torch.ones(3, 2, 2), 1), ValueError, r"x has shape \[3, 2, 2\]"),
        (lambda: knn_graph(torch.tensor([[math.nan]]), 1), ValueError, "x has values that are not finite"),
        (
            lambda: knn_graph(torch.ones(2, 1), 1, torch.tensor([1, 0])),
            ValueError,
            "batch_x is not ascending",
        ),
        (
            lambda: knn_graph(torch.ones(2, 1), 1, torch.tensor([1])),
            ValueError,
            r"batch_x has shape \[1\] for 2",
        ),
        (lambda: knn_graph(torch.ones(2, 1), 1, flow="up"), ValueError, "flow is 'up'; choose"),
        (lambda: knn_graph(torch.ones(2, 1), 1, method="fast"), ValueError, "method is 'fast'; choose"),
        (
            lambda: knn_graph(torch.ones(2, 1), 1, torch.zeros(2).long(), method="approximate"),
            NotImplementedError,
            "approximate neighbours of several sets",
        ),
        (lambda: radius_graph(torch.ones(2, 1), -1.0), ValueError, "r=-1.0; it is a distance"),
        (
            lambda: radius(*[torch.ones(2, 1)] * 2, 1.0, max_num_neighbors=0),
            ValueError,
            "at least 1, or None",
        ),
        (lambda: knn_graph(torch.ones(3, 2), 0), ValueError, "knn_graph: k=0; at least 1 neighbour"),
        (lambda: fps(torch.ones(2, 1), ratio=torch.nan), ValueError, "ratio is nan; it is a share"),
        (lambda: fps(torch.ones(2, 1), ratio=0.0), ValueError, r"ratio is 0.0; it is a share in \(0, 1\]"),
        (lambda: fps(torch.ones(2, 1), ratio=torch.ones(2)), ValueError, "or one for each of 1 sets"),
        (lambda: fps(torch.ones(2, 1), torch.tensor([1, 0])), ValueError, "batch is not ascending"),
        (lambda: fps(torch.tensor([[math.inf]])), ValueError, "not finite"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# -- farthest points ----------------------------------------------------------------------------------


def check_farthest(x: Tensor, picked: list[int], members: list[int]) -> None:
    """Each is the farthest from those before it."""
    for t in range(1, len(picked)):
        distance = (x[members][:, None] - x[picked[:t]][None]).norm(dim=2).min(1).values
        assert float(distance[members.index(picked[t])]) == pytest.approx(float(distance.max()))


@pytest.mark.parametrize("dims", [1, 3])
def test_farthest_points(dims: int, backend: str) -> None:
    x = cloud(BATCH_X, dims)
    draw = torch.Generator().manual_seed(2)
    for ratio in (0.3, 1.0, torch.tensor([0.5, 1.0, 0.1, 0.25, 0.9, 0.4])):
        found = fps(x, BATCH_X, ratio, batch_size=6, generator=draw)
        shares = torch.as_tensor(ratio).expand(6).tolist()
        start = 0
        for b, share in enumerate(shares):
            members = (b == BATCH_X).nonzero()[:, 0].tolist()
            count = math.ceil(len(members) * share - 1e-6)
            picked = found[start : start + count].tolist()
            assert len(set(picked)) == count
            assert set(picked) <= set(members)
            check_farthest(x, picked, members)
            start += count
        assert start == found.numel()


def test_farthest_points_on_every_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cloud(BATCH_X, 3)
    found = fps(x, BATCH_X, 0.6, random_start=False)
    with use_backend("reference"):
        assert torch.equal(fps(x, BATCH_X, 0.6, random_start=False), found)
    monkeypatch.setattr(launch, "SMALL", 0)
    torch.set_num_threads(2)
    assert torch.equal(fps(x, BATCH_X, 0.6, random_start=False), found)


def test_first_and_random_starts() -> None:
    square = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    assert fps(square, ratio=0.5, random_start=False).tolist() == [0, 3]
    draw = torch.Generator().manual_seed(0)
    starts = torch.stack([fps(square, ratio=0.25, generator=draw) for _ in range(400)]).flatten()
    assert bool((starts.bincount(minlength=4) > 60).all())
    assert fps(torch.rand(30, 2), ratio=0.1).numel() == 3
    assert fps(torch.empty(0, 2)).numel() == 0
