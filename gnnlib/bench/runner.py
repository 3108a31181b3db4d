"""Runs cases, each in fresh processes under one huge-page setting, and gathers what they found."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnlib import machine
from gnnlib.bench import cuda
from gnnlib.bench.cases import Case
from gnnlib.bench.gpu_cases import cases_on
from gnnlib.bench.peers import PEERS
from gnnlib.bench.results import Entry, Outcome, Report, Setting
from gnnlib.bench.timing import Times
from gnnlib.bench.traffic import Traffic
from gnnlib.bench.worker import MARK, Request
from gnnlib.names import choose

_PACKAGES = (
    "gnnlib", "torch", "torch-geometric", "torch-scatter", "numba", "numpy", "scipy", "triton", "gensim",
    "pecanpy",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        cases: names of cases or groups; empty for all.
        peers: names of peers beside ours; empty for all.
        rounds: samples of each contender; each case's own choice when None.
        threads: torch's threads; its own choice when None.
        huge_pages: True or False for every case, None for each case's own choice.
        memory: measure peaks too, a process for each contender.
        quick: graphs a hundredth of the size, so that every path runs; the figures mean nothing.
        device: ``"cpu"`` or ``"cuda"``; each has its own table of cases.
    """

    cases: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    rounds: int | None = None
    threads: int | None = None
    huge_pages: bool | None = None
    memory: bool = True
    quick: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"bench: device={self.device!r} is unknown; choose cpu or cuda")
        if self.device == "cuda" and (why := cuda.why_not()) is not None:
            raise ValueError(f"bench: nothing can be measured on a CUDA device here: {why}")
        if self.rounds is not None and self.rounds < 1:
            raise ValueError(f"bench: rounds={self.rounds}; at least 1 is needed, 5 for a figure to quote")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"bench: threads={self.threads}; at least 1 is needed")

    def chosen(self) -> list[Case]:
        """The cases, in the registry's order.

        Raises:
            ValueError: for an unknown case, group or peer; the message names the nearest.
        """
        there = cases_on(self.device)
        groups = {case.group for case in there.values()}
        names = {choose("bench case", c, [*there, *sorted(groups)]) for c in self.cases}
        return [c for c in there.values() if not names or c.name in names or c.group in names]

    def chosen_peers(self) -> tuple[str, ...] | None:
        """The peers, or None for all."""
        return tuple(choose("bench peer", p, PEERS) for p in self.peers) or None


Progress = Callable[[Case, str], None]


def ask(request: Request, huge_pages: bool, on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a worker to its end; a worker that dies is a result that says so."""
    environment = {
        **os.environ,
        machine.HUGE_PAGES_VARIABLE: "1" if huge_pages else "0",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_source()), os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "gnnlib.bench.worker", json.dumps(dataclasses.asdict(request))]
    result: dict[str, Any] | None = None
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        )
        try:
            for line in process.stdout or ():
                if line.startswith(MARK):
                    event = json.loads(line[len(MARK) :])
                    result = event.get("result", result)
                    on_event(event)
            code = process.wait()
        finally:
            if process.poll() is None:  # interrupted
                process.kill()
                process.wait()
        if result is not None and code == 0:
            return result
        errors.seek(0)
        said = errors.read().strip().splitlines()
    if code == -9:
        return {"refused": "the process was killed, most likely for want of memory"}
    return {"refused": f"the process ended with status {code}: {said[-1] if said else 'no message'}"}


def _source() -> Path:
    return Path(__file__).resolve().parents[2]


def run_case(case: Case, plan: Plan, progress: Progress = lambda case, text: None) -> Outcome:
    """Time the contenders of one case, then measure the peak memory of each that ran."""
    huge_pages = case.huge_pages if plan.huge_pages is None else plan.huge_pages
    count = 0

    def on_event(event: dict[str, Any]) -> None:
        nonlocal count
        if "phase" in event:
            progress(case, event["phase"])
        if "sample" in event:
            count += 1
            progress(case, f"timing {event['sample'][0]} ({count})")

    rounds = case.rounds if plan.rounds is None else plan.rounds
    request = Request(
        "time", case.name, plan.chosen_peers(), rounds, plan.quick, plan.threads, device=plan.device
    )
    found = ask(request, huge_pages, on_event)
    samples, notes = found.pop("samples", {}), found.pop("notes", {})
    traffic = found.pop("traffic", None)
    entries = {}
    for peer in (p for p in PEERS if p in samples or p in notes):
        times = Times(tuple(samples[peer])) if peer in samples else None
        entries[peer] = Entry(peer, times, note=notes.get(peer))
        if plan.memory and times is not None:
            progress(case, f"memory of {peer}")
            again = dataclasses.replace(request, what="memory", peers=(peer,))
            seen = ask(again, huge_pages, lambda event: None)
            said = [
                n for n in (notes.get(peer), seen.get("note"), seen.get("refused"), seen.get("skipped")) if n
            ]
            entries[peer] = Entry(peer, times, seen.get("peak"), "; ".join(said) or None)
    return Outcome(
        case.name,
        case.group,
        case.row,
        case.title,
        case.graph,
        case.targets,
        traffic=Traffic(**traffic) if traffic else None,
        entries=entries,
        **found,
    )


def setting_of(plan: Plan) -> Setting:
    """This machine and installation, now."""
    return Setting(
        cpu=machine.cpu_name(),
        cores=machine.cores(),
        commit=machine.commit(),
        versions={"python": sys.version.split()[0], **{p: machine.version(p) for p in _PACKAGES}},
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        rounds=plan.rounds,
        quick=plan.quick,
        gpu=cuda.name() if plan.device == "cuda" else None,
    )


def run(
    plan: Plan,
    *,
    progress: Progress = lambda case, text: None,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> Report:
    """Run the plan's cases one after the other.

    Args:
        progress: called with the case and what is being done.
        done: called with each outcome as it is complete.
    """
    cases = plan.chosen()
    plan.chosen_peers()
    setting = setting_of(plan)
    outcomes = []
    for case in cases:
        outcomes.append(run_case(case, plan, progress))
        done(outcomes[-1])
    return Report(setting, outcomes)
