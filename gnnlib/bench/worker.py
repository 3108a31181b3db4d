"""The process that measures: ``python -m gnnlib.bench.worker REQUEST``, events on its standard output.

A case runs in a process of its own because torch reads the huge-page setting once, at start, and because
a memory peak means something only where nothing ran before.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gnnlib import machine
from gnnlib.bench import cuda, growth, memory, timing
from gnnlib.bench.gpu_cases import cases_on
from gnnlib.bench.graphs import GRAPHS, QUICK, UnavailableError
from gnnlib.bench.peers import DEFAULT
from gnnlib.bench.reference import STEP_TOLERANCE
from gnnlib.bench.timing import MIN_SAMPLE, Run, interleave, twice
from gnnlib.bench.traffic import copy_bandwidth

#: Begins every line that is an event; other output of the process is no business of the parent.
MARK = "@bench "
Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Request:
    """What to measure: the time of every contender, or the memory of the only one in ``peers``."""

    what: str  # "time" | "memory" | "growth"
    case: str  # of growth: a name of gnnlib.bench.growth.WORK
    peers: tuple[str, ...] | None = None  # None: all that the case has
    rounds: int = 5
    quick: bool = False
    threads: int | None = None
    edges: int = 0  # of growth
    features: int = 0  # of growth
    device: str = "cpu"  # of time and memory


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (
        lines[0]
        if isinstance(error, UnavailableError) and lines
        else f"{type(error).__name__}: {' '.join(lines)[:300]}"
    )


def _remembering(name: str, run: Run, first: dict[str, Any]) -> Run:
    def remembering() -> Any:
        out = run()
        first.setdefault(name, out)
        return out

    return remembering


def _apart(losses: dict[str, Any]) -> str | None:
    """How the first losses of ours and of PyG differ, where both ran, or None."""
    if not {"ours", DEFAULT} <= losses.keys():
        return None
    ours, theirs = float(losses["ours"]), float(losses[DEFAULT])
    if abs(ours - theirs) <= STEP_TOLERANCE * abs(theirs):
        return None
    return f"ours disagrees with PyG: loss {ours:.9g}, PyG's {theirs:.9g}"


def measure_time(request: Request, emit: Emit) -> dict[str, Any]:
    """Verify and time the contenders of a case; returns the fields of its outcome."""
    case = cases_on(request.device)[request.case]
    on_cuda = request.device == "cuda"
    emit({"phase": "building the graph"})
    graph = GRAPHS[case.graph](QUICK if request.quick else 1.0).to(request.device)
    problem = case.problem(graph)
    found: dict[str, Any] = {
        "num_nodes": graph.num_nodes,
        "num_edges": graph.num_edges,
        "threads": torch.get_num_threads(),
        "huge_pages": machine.huge_pages().on,
        "device": cuda.name() if on_cuda else "cpu",
        "traffic": dataclasses.asdict(problem.traffic),
    }
    runs: dict[str, Run] = {}
    notes: dict[str, str] = {}
    for name in problem.contenders:
        if name != "ours" and request.peers is not None and name not in request.peers:
            continue
        emit({"phase": f"checking {name} against float64"})
        if (why := memory.shortage(problem.needs.get(name, 0))) is not None:
            notes[name] = why
            continue
        try:
            wrong = problem.verify(name)
            runs[name] = problem.contenders[name]()
        except Exception as error:  # a peer that fails is a finding, not the end of the run
            if name == "ours":
                return found | {"refused": _sentence(error), "notes": notes}
            notes[name] = _sentence(error)
            continue
        if wrong is not None:
            if name == "ours":
                return found | {"refused": f"ours disagrees with float64: {wrong}", "notes": notes}
            notes[name] = f"differs from float64: {wrong}"
    losses: dict[str, Any] = {}
    if problem.sampled:
        runs = {name: _remembering(name, run, losses) for name, run in runs.items()}
    del problem  # and with it the float64 results
    gc.collect()
    emit({"phase": "timing"})
    copy = cuda.copy_bandwidth if on_cuda else copy_bandwidth
    found["copy_bandwidth"] = copy(2**24) if request.quick else copy()
    times = interleave(
        runs,
        request.rounds,
        min_sample=0.0 if request.quick else MIN_SAMPLE,
        clock=cuda.elapsed if on_cuda else timing.elapsed,
        on_sample=lambda name, seconds: emit({"sample": [name, seconds]}),
    )
    if (why := _apart(losses)) is not None:
        return found | {"refused": why, "notes": notes}
    return found | {"samples": {n: t.samples for n, t in times.items()}, "notes": notes}


def measure_memory(request: Request) -> dict[str, Any]:
    """Peak of the first two calls of one contender: what it caches between calls counts.

    A call that takes many seconds is made once.
    """
    on_cuda = request.device == "cuda"
    if not on_cuda and (why := memory.why_not()) is not None:
        return {"note": f"memory {why}"}
    case = cases_on(request.device)[request.case]
    (peer,) = request.peers or ("ours",)
    make = GRAPHS[case.graph]
    small = case.problem(make(QUICK).to(request.device)).contenders[
        peer
    ]()  # loads the libraries and compiles the kernels
    small(), small()
    del small
    problem = case.problem(make(QUICK if request.quick else 1.0).to(request.device))
    if (why := memory.shortage(problem.needs.get(peer, 0))) is not None:
        return {"note": f"memory: {why}"}
    run = problem.contenders[peer]()
    del problem

    return {"peak": (cuda.peak if on_cuda else memory.peak)(lambda: twice(run))}


def main(argument: str) -> None:
    """Serve one request."""
    request = Request(**json.loads(argument))
    if request.threads is not None:
        torch.set_num_threads(request.threads)

    def emit(event: dict[str, Any]) -> None:
        print(MARK + json.dumps(event), flush=True)

    try:
        if request.what == "growth":
            found = growth.measure(
                request.case, request.edges, request.features, rounds=request.rounds, quick=request.quick
            )
        else:
            found = measure_time(request, emit) if request.what == "time" else measure_memory(request)
    except UnavailableError as error:
        found = {"skipped": str(error)}
    emit({"result": found})


if __name__ == "__main__":
    main(sys.argv[1])
