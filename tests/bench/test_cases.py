"""Every case, on small graphs: each contender runs or says why not, and ours is right."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from gnnlib.bench import graphs, memory, yardstick
from gnnlib.bench.cases import CASES
from gnnlib.bench.graphs import GRAPHS, QUICK, UnavailableError, in_cache
from gnnlib.bench.pairs import draw_pairs, expected_lists
from gnnlib.bench.peers import AGGREGATE, PEERS, sorted_rows
from gnnlib.bench.problems import Problem
from gnnlib.bench.traffic import NOTHING
from gnnlib.bench.worker import Request, measure_memory, measure_time

RUNNABLE = [c for c in CASES.values() if c.graph not in ("blogcatalog", "cora", "citeseer", "nci1")]


@pytest.mark.parametrize("case", RUNNABLE, ids=lambda c: c.name)
def test_every_contender_runs_and_ours_agrees_with_float64(case: Any) -> None:
    problem = case.problem(GRAPHS[case.graph](QUICK))
    assert next(iter(problem.contenders)) == "ours"
    assert problem.contenders.keys() <= PEERS.keys()
    assert problem.verify("ours") is None
    peer = next(n for n in ("pyg", "scipy", "numpy") if n in problem.contenders)
    assert problem.verify(peer) is None
    for start in problem.contenders.values():
        try:
            run = start()
        except UnavailableError:
            continue
        run()
    assert 0 < problem.traffic.once <= problem.traffic.per_edge


def test_cases_name_known_graphs_and_carry_their_own_names() -> None:
    for name, case in CASES.items():
        assert name == case.name
        assert case.graph in GRAPHS
    rows = {case.row for case in CASES.values() if case.row is not None}
    assert rows == set(range(1, 16))  # the CPU rows that exist; row 7 has two layers


def test_peers_of_sums_agree_with_float64() -> None:
    problem = CASES["spmm-in-cache"].problem(in_cache(QUICK))
    for name in problem.contenders:
        try:
            assert problem.verify(name) is None, name
        except UnavailableError:
            continue


def test_a_wrong_result_gets_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Any, reduce: str, width: int) -> Any:
        return lambda x: torch.zeros_like(x)

    monkeypatch.setitem(AGGREGATE, "ours", wrong)
    request = Request("time", "spmm-hub", peers=("pyg",), rounds=1, quick=True)
    found = measure_time(request, lambda event: None)
    assert found["refused"].startswith("ours disagrees with float64: out:")
    assert "samples" not in found


def test_a_failing_peer_is_a_note_and_ours_failing_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, reduce: str, width: int) -> Any:
        raise RuntimeError("out of luck")

    request = Request("time", "spmm-hub", peers=("pyg",), rounds=1, quick=True)
    with monkeypatch.context() as patch:
        patch.setitem(AGGREGATE, "pyg", broken)
        found = measure_time(request, lambda event: None)
        assert found["notes"] == {"pyg": "RuntimeError: out of luck"}
        assert list(found["samples"]) == ["ours"]
    monkeypatch.setitem(AGGREGATE, "ours", broken)
    assert measure_time(request, lambda event: None)["refused"] == "RuntimeError: out of luck"


def test_a_peer_that_lacks_memory_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free", lambda: 10**6)
    request = Request("time", "pna-step", peers=("pyg",), rounds=1, quick=True)
    found = measure_time(request, lambda event: None)
    assert list(found["samples"]) == ["ours"]
    assert found["notes"]["pyg"].startswith("needs about 0.2 GB and 0.0 GB are free; it was not started")
    found = measure_memory(dataclasses.replace(request, what="memory"))
    assert "peak" not in found
    assert "needs about 0.2 GB" in found["note"] or "needs Linux" in found["note"]


def test_results_checked_on_a_smaller_draw_must_agree_on_the_input_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = CASES["spmm-hub"]
    losses = {"ours": 1.0, "pyg": 1.00005, "pyg-csr": 7.0}

    def problem(graph: Any) -> Problem:
        starts = {n: lambda value=value: lambda: torch.tensor(value) for n, value in losses.items()}
        return Problem(starts, lambda name: None, NOTHING, sampled=True)

    monkeypatch.setitem(CASES, "spmm-hub", dataclasses.replace(case, problem=problem))
    request = Request("time", "spmm-hub", rounds=1, quick=True)
    assert measure_time(request, lambda event: None)["samples"].keys() == losses.keys()
    losses["ours"] = 1.01
    found = measure_time(request, lambda event: None)
    assert found["refused"].startswith("ours disagrees with PyG: loss 1.0")


def test_a_large_graph_is_checked_on_a_smaller_draw() -> None:
    asked: list[float] = []
    make = graphs.GRAPHS["arxiv-like"]
    graph = make(0.05)  # 116,624 edges

    def draw(scale: float) -> graphs.Graph:
        asked.append(scale)
        return make(QUICK)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(graphs.GRAPHS, "arxiv-like", draw)
        problem = CASES["gat-step"].problem(graph)
        assert problem.sampled
        assert not CASES["gat-step"].problem(make(QUICK)).sampled
        assert not CASES["gcn-step"].problem(graph).sampled
    assert asked == [0.1]
    assert problem.needs == {"pyg": 4000 * graph.num_edges}


def test_common_neighbors_are_those_of_sets() -> None:
    graph = graphs.arxiv_like(0.002)
    neighbors: dict[int, set[int]] = {}
    for s, t in graph.edge_index.T.tolist():
        neighbors.setdefault(t, set()).add(s)
    pairs = draw_pairs(graph, 200)
    indptr, indices = expected_lists(graph, pairs)
    assert indices.size
    for p, (u, v) in enumerate(pairs.T.tolist()):
        both = neighbors.get(u, set()) & neighbors.get(v, set())
        assert indices[indptr[p] : indptr[p + 1]].tolist() == sorted(both)


def test_a_run_reports_its_phases_and_samples() -> None:
    events: list[dict[str, Any]] = []
    request = dataclasses.replace(Request("time", "spmm-hub"), peers=("pyg-csr",), rounds=2, quick=True)
    found = measure_time(request, events.append)
    assert found["samples"].keys() == {"ours", "pyg-csr"}
    assert [e["sample"][0] for e in events if "sample" in e] == ["ours", "pyg-csr"] * 2
    assert {"phase": "timing"} in events
    assert found["copy_bandwidth"] > 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("width", [64, 128, 192])
def test_the_yardstick_sums_neighbours(width: int, threads: int) -> None:
    graph = in_cache(QUICK)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run = yardstick.neighbor_sum(*sorted_rows(graph), width)
    except UnavailableError as why:
        pytest.skip(str(why))
    finally:
        torch.set_num_threads(before)
    x = torch.randn(graph.num_nodes, width)
    src, dst = graph.edge_index
    expected = torch.zeros(graph.num_nodes, width, dtype=torch.float64).index_add_(0, dst, x.double()[src])
    assert torch.allclose(run(x).double(), expected, atol=1e-4)


def test_the_yardstick_declines_other_widths() -> None:
    with pytest.raises(UnavailableError, match="multiple of 64, got 100"):
        yardstick.neighbor_sum(torch.tensor([0, 1]), torch.tensor([0]), 100)


def test_the_yardstick_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    yardstick._library.cache_clear()
    try:
        with pytest.raises(UnavailableError, match="needs a C compiler"):
            yardstick.neighbor_sum(torch.tensor([0, 1]), torch.tensor([0]), 64)
    finally:
        yardstick._library.cache_clear()
