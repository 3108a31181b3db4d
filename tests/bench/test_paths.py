"""The case of paths: its contenders find the same ones, and the check notices a wrong one."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from gnnlib.bench import paths
from gnnlib.bench.graphs import Graph, in_cache, molecules

MOLECULES = molecules(0.05)


@pytest.mark.parametrize("graph", [MOLECULES, in_cache(0.002)], ids=["molecules", "directed"])
def test_contenders_find_the_paths_of_networkx(graph: Graph) -> None:
    searched = nx.DiGraph(graph.edge_index.flip(0).t().tolist())  # from the centre against the edges
    found = nx.all_simple_paths
    right = {tuple(p[::-1]) for v in searched for p in found(searched, v, set(searched) - {v}, cutoff=3)}
    problem = paths.simple_paths(graph, length=3)
    for name in problem.contenders:
        assert problem.verify(name) is None
        got = [tuple(row) for part in problem.contenders[name]()() for row in part.tolist()]
        assert len(got) == len(right)
        assert set(got) == right


@pytest.mark.parametrize("lose", [True, False], ids=["one too few", "another"])
def test_a_wrong_path_is_noticed(lose: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Graph, length: int) -> object:
        *rest, last = paths.joined(graph, length)
        last = last[1:] if lose else np.concatenate([last[:1, ::-1], last[1:]])
        return lambda: (*rest, last)

    problem = paths.simple_paths(MOLECULES, length=3)
    monkeypatch.setitem(paths._CONTENDERS, "ours", wrong)
    fault = problem.verify("ours")
    assert fault is not None
    assert ("are to be found" if lose else "are not those") in fault
