"""The embedding cases: contenders agree with the checks, and the checks notice wrong results."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from gnnlib.bench import embedding, graphs
from gnnlib.bench.graphs import UnavailableError, arxiv_like
from gnnlib.embed import FastRP

GRAPH = arxiv_like(0.005)


def _groups() -> tuple[graphs.Graph, torch.Tensor]:
    """Four groups of 60 nodes with many edges inside and few between."""
    draw = torch.Generator().manual_seed(0)
    group = torch.arange(240) % 4
    chance = torch.where(group[:, None] == group, 0.2, 0.005)
    upper = torch.triu(torch.rand(240, 240, generator=draw) < chance, 1).nonzero().t()
    return graphs.Graph("groups", torch.cat([upper, upper.flip(0)], 1), 240), group


@pytest.mark.parametrize(("p", "q"), [(0.25, 0.25), (4.0, 0.5)])
def test_walks_pass_the_check_and_walks_of_another_bias_do_not(p: float, q: float) -> None:
    problem = embedding.node2vec_walks(GRAPH, count=400, length=40, p=p, q=q)
    assert problem.verify("ours") is None
    other = embedding._walks_ours(GRAPH, torch.arange(400), 40, 1.0, 1.0)()
    assert "of the steps return" in str(embedding.walk_fault(GRAPH, other, p, q))
    assert embedding.walk_fault(GRAPH, other.flip(0).roll(1, 0)[:, [0, 2, 1]], p, q) == (
        "a step of a walk is no edge"
    )


def test_skip_gram_is_held_to_its_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, group = _groups()
    monkeypatch.setattr(embedding, "labels_of", lambda graph: group)
    problem = embedding.skip_gram(graph, num_walks=1, length=10, checked=(10, 40), dim=32)
    assert problem.verify("ours") is None
    assert problem.contenders["ours"]()().shape == (240, 32)
    made = torch.randn(240, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(embedding, "_train_ours", lambda *given: lambda: made)
    problem = embedding.skip_gram(graph, num_walks=1, length=10, checked=(10, 40), dim=32)
    assert "with the rows moved to other nodes" in str(problem.verify("ours"))


def test_skip_gram_worse_than_the_peers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, group = _groups()
    good = torch.nn.functional.one_hot(group, 4).float()
    poor = good + 0.7 * torch.randn(240, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(embedding, "labels_of", lambda graph: group)
    monkeypatch.setattr(embedding, "_train_ours", lambda *given: lambda: poor)
    monkeypatch.setattr(embedding, "_train_gensim", lambda *given: lambda: good)
    problem = embedding.skip_gram(graph, num_walks=1, length=10, checked=(1, 10), dim=4)
    assert problem.verify("gensim") is None
    assert "gensim's 1.0000" in str(problem.verify("ours"))


class _Slipped(FastRP):
    """The last two powers change places."""

    def _embed(self, graph: Any) -> torch.Tensor:
        self.weights = (*self.weights[:-2], *reversed(self.weights[-2:]))
        return super()._embed(graph)


def test_fastrp_agrees_with_the_formula_and_a_slip_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = embedding.fast_rp(GRAPH, dim=32)
    assert problem.verify("ours") is None
    assert problem.verify("scipy") is None
    assert problem.contenders["ours"]()().shape == (GRAPH.num_nodes, 32)
    monkeypatch.setattr("gnnlib.embed.FastRP", _Slipped)
    assert "an entry is off by" in str(problem.verify("ours"))


@pytest.mark.parametrize("name", ["gensim", "pecanpy"])
def test_a_peer_that_is_not_there_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    problem = (
        embedding.skip_gram(GRAPH, num_walks=1, length=5, checked=(1, 5))
        if name == "gensim"
        else embedding.node2vec_walks(GRAPH, count=10, length=5, p=1.0, q=1.0)
    )
    with pytest.raises(UnavailableError, match=rf"'{name}' is not installed; run: pip install 'gnnlib\["):
        problem.contenders[name]()


@pytest.mark.parametrize("name", ["gensim", "pecanpy"])
def test_peers_that_are_there_pass_the_checks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        embedding.required({"pecanpy": "pecanpy.pecanpy"}.get(name, name))
    except UnavailableError as why:
        pytest.skip(str(why))
    if name == "pecanpy":
        assert embedding.node2vec_walks(GRAPH, count=200, length=20, p=0.5, q=2.0).verify(name) is None
        return
    graph, group = _groups()
    monkeypatch.setattr(embedding, "labels_of", lambda graph: group)
    assert embedding.skip_gram(graph, num_walks=1, length=10, checked=(10, 40), dim=32).verify(name) is None
