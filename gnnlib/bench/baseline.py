"""The committed ratios of each class of machine, and how a run differs from them.

Ratios are kept, not times: on a shared machine times drift by a factor of two and ratios of interleaved
samples do not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnlib.bench.results import Report
from gnnlib.files import write_json

FOLDER = Path(__file__).parent / "baselines"


@dataclass(frozen=True)
class Difference:
    """One figure of one case, in the baseline and now; ``change`` is its relative growth."""

    case: str
    figure: str
    before: float
    now: float

    @property
    def change(self) -> float:
        return self.now / self.before - 1


def path_for(report: Report, folder: Path = FOLDER) -> Path:
    """The baseline file of the machine that made the report."""
    return folder / f"{report.setting.machine_class}.json"


def _figures(report: Report) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    for outcome in report.outcomes:
        found = {name: ratio.value for name, ratio in outcome.ratios().items()}
        ours = outcome.entries.get("ours")
        if ours is not None and ours.peak is not None:
            found["peak_bytes"] = float(ours.peak)
        if found:
            figures[outcome.case] = found
    return figures


def save(report: Report, folder: Path = FOLDER) -> Path:
    """Write the report's figures over those of the same cases in the baseline of its machine.

    Raises:
        ValueError: for a quick run, whose figures mean nothing.
    """
    if report.setting.quick:
        raise ValueError("bench: a quick run cannot become the baseline; run again without --quick")
    path = path_for(report, folder)
    kept: dict[str, Any] = json.loads(path.read_text())["cases"] if path.exists() else {}
    content = {
        "machine_class": report.setting.machine_class,
        "commit": report.setting.commit,
        "versions": report.setting.versions,
        "cases": dict(sorted({**kept, **_figures(report)}.items())),
    }
    write_json(path, content)
    return path


def differences(report: Report, folder: Path = FOLDER) -> list[Difference] | None:
    """Figures that the report and the baseline of its machine share; None without a baseline."""
    path = path_for(report, folder)
    if report.setting.quick or not path.exists():
        return None
    before = json.loads(path.read_text())["cases"]
    return [
        Difference(case, figure, before[case][figure], value)
        for case, figures in _figures(report).items()
        for figure, value in figures.items()
        if before.get(case, {}).get(figure)
    ]
