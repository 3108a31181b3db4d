"""The graphs of the cases: as described, and the same in every run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gnnlib.bench.graphs import GRAPHS, QUICK, UnavailableError, arxiv_like, hub, hyper, in_cache, molecules

GENERATED = ["arxiv-like", "hub", "hyper", "in-cache", "molecules"]


@pytest.mark.parametrize("name", GENERATED)
def test_a_graph_is_the_same_every_time(name: str) -> None:
    first, again = GRAPHS[name](QUICK), GRAPHS[name](QUICK)
    assert torch.equal(first.edge_index, again.edge_index)
    assert first.edge_index.dtype == torch.int64
    assert first.num_edges > 0
    assert int(first.edge_index.min()) >= 0
    assert int(first.edge_index.max()) < first.num_nodes


def test_arxiv_like_has_the_size_and_the_hubs_it_is_named_for() -> None:
    graph = arxiv_like()
    assert (graph.num_nodes, graph.num_edges) == (169_343, 2 * 1_166_243)
    half = graph.num_edges // 2
    assert torch.equal(graph.edge_index[:, :half].flip(0), graph.edge_index[:, half:])
    degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes)
    assert degree.max() > 5_000  # 16,592: the clip holds the drawn weights, not what they draw
    assert (degree == 0).any()


def test_in_cache_is_uniform() -> None:
    graph = in_cache()
    assert (graph.num_nodes, graph.num_edges) == (20_000, 400_000)
    assert torch.bincount(graph.edge_index[1]).max() < 60


def test_the_hub_is_joined_to_every_node() -> None:
    graph = hub()
    degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes)
    assert int(degree[0]) == 100_000 + 2  # the star and both directions of the ring
    assert degree[1:].max() == 3


def test_hyperedges_have_the_sizes_they_are_named_for() -> None:
    graph = hyper()
    assert (graph.num_nodes, graph.num_hyperedges) == (50_000, 20_000)
    node, hyperedge = graph.edge_index
    size = torch.bincount(hyperedge, minlength=graph.num_hyperedges)
    assert 490 < size.max() <= 500
    assert size.min() == 1
    assert torch.unique(hyperedge * graph.num_nodes + node).numel() == graph.num_edges
    assert 600_000 < graph.num_edges < 700_000


def test_molecules_are_many_small_graphs() -> None:
    graph = molecules()
    assert graph.batch is not None
    sizes = torch.bincount(graph.batch)
    assert graph.num_graphs == sizes.numel() == 128
    assert 24 < sizes.float().mean() < 26
    src, dst = graph.edge_index
    assert torch.equal(graph.batch[src], graph.batch[dst])
    assert torch.bincount(dst).max() <= 8


def test_a_real_graph_without_a_data_root_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GNNLIB_DATA", raising=False)
    with pytest.raises(UnavailableError, match="set GNNLIB_DATA"):
        GRAPHS["cora"](1.0)


def test_cora_comes_from_the_data_root(data_root: Path) -> None:
    graph = GRAPHS["cora"](1.0)
    assert (graph.num_nodes, graph.num_edges) == (2708, 10556)
