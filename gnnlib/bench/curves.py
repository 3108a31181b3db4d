"""How the time and memory of ours grow with the number of edges and with the width of the features.

Each point is a process of its own. A curve's slope is that of the line through the logarithms: 1 is linear.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gnnlib.bench.growth import WIDTHLESS, WORK
from gnnlib.bench.results import Setting
from gnnlib.bench.runner import Plan, ask, setting_of
from gnnlib.bench.worker import Request

Axis = Literal["edges", "features"]

#: Edges at F = 128, and features at a million edges.
EDGES = (10_000, 31_623, 100_000, 316_228, 1_000_000, 3_162_278, 10_000_000)
FEATURES = (16, 32, 64, 128, 256)
WIDTH = 128
SIZE = 1_000_000
QUICK_EDGES = (3_000, 30_000)
QUICK_FEATURES = (16, 64)
QUICK_SIZE = 3_000
ROUNDS = 5
#: Peaks below this are of the size that an allocator rounds to; no slope is drawn through them.
LEAST_PEAK = 2**21


@dataclass(frozen=True)
class Point:
    """One measurement: seconds a call of each round; peak bytes above the level before, or None."""

    work: str
    num_nodes: int
    edges: int
    features: int
    samples: tuple[float, ...]
    peak: int | None
    threads: int = 0

    @property
    def seconds(self) -> float:
        return min(self.samples)

    @property
    def arrays(self) -> float | None:
        """The peak in arrays of N x F float32. One of E x F would count 14."""
        if self.peak is None or self.work in WIDTHLESS:
            return None
        return self.peak / (4 * self.num_nodes * self.features)


def slope(x: list[float], y: list[float]) -> float | None:
    """Of the least-squares line through the logarithms; None for fewer than two places."""
    if len(set(x)) < 2:
        return None
    u, v = [math.log(a) for a in x], [math.log(b) for b in y]
    mu, mv = sum(u) / len(u), sum(v) / len(v)
    return sum((a - mu) * (b - mv) for a, b in zip(u, v, strict=True)) / sum((a - mu) ** 2 for a in u)


@dataclass(frozen=True)
class Curve:
    """The points of one work along one axis, in ascending order."""

    work: str
    axis: Axis
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        return WORK[self.work][0]

    def places(self) -> list[float]:
        return [float(getattr(p, self.axis)) for p in self.points]

    @property
    def time_slope(self) -> float | None:
        """Exponent of the time along the axis."""
        return slope(self.places(), [p.seconds for p in self.points])

    @property
    def memory_slope(self) -> float | None:
        """Exponent of the peak, over the points where it is more than :data:`LEAST_PEAK`."""
        seen = [
            (x, float(p.peak))
            for x, p in zip(self.places(), self.points, strict=True)
            if p.peak is not None and p.peak > LEAST_PEAK
        ]
        return slope([x for x, _ in seen], [y for _, y in seen])


@dataclass(frozen=True)
class Growth:
    """A whole run; ``failures``: what could not be measured, and why."""

    setting: Setting
    curves: list[Curve]
    failures: list[str]

    def to_json(self) -> dict[str, Any]:
        setting = dataclasses.asdict(self.setting) | {"machine_class": self.setting.machine_class}
        curves = [
            {
                "work": c.work,
                "title": c.title,
                "axis": c.axis,
                "time_slope": c.time_slope,
                "memory_slope": c.memory_slope,
                "points": [
                    dataclasses.asdict(p) | {"seconds": p.seconds, "node_arrays": p.arrays} for p in c.points
                ],
            }
            for c in self.curves
        ]
        return {"setting": setting, "curves": curves, "failures": self.failures}


def _grid(quick: bool, widthless: bool) -> dict[Axis, list[tuple[int, int]]]:
    """``(edges, features)`` of the points along each axis that the work has."""
    edges, features, size = (QUICK_EDGES, QUICK_FEATURES, QUICK_SIZE) if quick else (EDGES, FEATURES, SIZE)
    if widthless:
        return {"edges": [(e, 1) for e in edges]}
    return {"edges": [(e, WIDTH) for e in edges], "features": [(size, f) for f in features]}


def run(plan: Plan, *, progress: Callable[[str], None] = lambda text: None) -> Growth:
    """Measure every work along both axes; of the plan, all but cases, peers and memory counts.

    Args:
        progress: called with what is being done.
    """
    rounds = ROUNDS if plan.rounds is None else plan.rounds
    huge_pages = True if plan.huge_pages is None else plan.huge_pages  # as training steps have
    seen: dict[tuple[str, int, int], Point] = {}
    curves, failures = [], []
    for work, (title, _) in WORK.items():
        for axis, places in _grid(plan.quick, work in WIDTHLESS).items():
            points = []
            for edges, features in places:
                key = (work, edges, features)
                if key not in seen:
                    progress(f"{title}: {edges:,} edges, F = {features}")
                    request = Request(
                        "growth",
                        work,
                        rounds=rounds,
                        quick=plan.quick,
                        threads=plan.threads,
                        edges=edges,
                        features=features,
                    )
                    found = ask(request, huge_pages, lambda event: None)
                    if (why := found.get("refused") or found.get("skipped")) is not None:
                        failures.append(f"{title} at {edges:,} edges, F = {features}: {why}")
                        continue
                    seen[key] = Point(work, features=features, **found)
                points.append(seen[key])
            curves.append(Curve(work, axis, tuple(points)))
    return Growth(setting_of(plan), curves, failures)
