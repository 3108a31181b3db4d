"""What a training run leaves: numbers over its seeds, the table a person reads, and ``result.json``."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gnnlib import machine
from gnnlib.train import files
from gnnlib.train.progress import shown

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["environment", "now", "peak_memory", "Result", "summarise", "summarise_details"]


@dataclass(frozen=True)
class Result:
    """A finished run directory.

    Args:
        path: the run directory.
        content: what ``result.json`` holds, see :mod:`gnnlib.train.files`.
        report: the html page.

    Shapes: none.
    """

    path: Path
    content: Mapping[str, Any]
    report: Path | None = None

    @classmethod
    def read(cls, path: Path | str) -> Result:
        """Read a finished run directory.

        Raises: FileNotFoundError when it is none, or has not finished.
        """
        folder = Path(path)
        report = folder / "report.html"
        return cls(folder, files.read_json(folder / files.RESULT), report if report.exists() else None)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """One entry for each seed and fold."""
        return list(self.content["runs"])

    def mean(self, part: str = "test") -> float:
        """The mean of the metric over the runs."""
        return float(self.content["summary"][part]["mean"])

    def std(self, part: str = "test") -> float:
        """The sample deviation of the metric over the runs."""
        return float(self.content["summary"][part]["std"])

    def table(self) -> Table:
        """The metric of every run, and mean and deviation over them, for a rich console."""
        from rich.table import Table

        metric, kind = self.content["metric"]["name"], self.content["metric"]["kind"]
        unit = "" if kind == "regression" else " (%)"
        table = Table(
            title=f"{self.content['dataset']['name']}, {self.content['model']['name']}: {metric}{unit}"
        )
        table.add_column("run", no_wrap=True)
        parts = [part for part in ("train", "val", "test") if part in self.content["summary"]]
        for part in (*parts, "epoch", "time"):
            table.add_column(part, justify="right", no_wrap=True)
        for run in self.runs:
            values = [shown(run["metrics"].get(part), kind) for part in parts]
            table.add_row(
                run["dir"], *values, f"{run['best_epoch']}/{run['epochs']}", f"{run['seconds']:.1f} s"
            )
        if len(self.runs) > 1:
            table.add_section()
            summary = [self.content["summary"][part] for part in parts]
            means = [f"{shown(entry['mean'], kind)} ± {shown(entry['std'], kind)}" for entry in summary]
            table.add_row(
                "mean ± std", *means, "", f"{sum(r['seconds'] for r in self.runs):.1f} s", style="bold"
            )
        return table

    def details(self) -> Table | None:
        """The further numbers of the test, mean and deviation over the runs; None where there are none."""
        from rich.table import Table

        found = summarise_details(self.runs)
        if not found:
            return None
        table = Table(title="test, in detail")
        table.add_column("", no_wrap=True)
        table.add_column("mean ± std" if len(self.runs) > 1 else "value", justify="right", no_wrap=True)
        for name, entry in found.items():
            spread = f" ± {entry['std']:.4f}" if len(self.runs) > 1 else ""
            table.add_row(name, f"{entry['mean']:.4f}{spread}")
        return table


def summarise_details(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and sample deviation over the runs of each further number that all of them have."""
    found: dict[str, dict[str, float]] = {}
    for name in runs[0].get("details") or {}:
        values = [(run.get("details") or {}).get(name) for run in runs]
        known = [float(v) for v in values if v is not None]
        if len(known) == len(runs):
            spread = statistics.stdev(known) if len(known) > 1 else 0.0
            found[name] = {"mean": statistics.fmean(known), "std": spread}
    return found


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | int]]:
    """Mean, sample deviation and count of the metric over the runs, for each part measured in all of them."""
    summary: dict[str, dict[str, float | int]] = {}
    for part in ("train", "val", "test"):
        values = [run["metrics"].get(part) for run in runs]
        known = [float(v) for v in values if v is not None]
        if known and len(known) == len(values):
            spread = statistics.stdev(known) if len(known) > 1 else 0.0
            summary[part] = {"mean": statistics.fmean(known), "std": spread, "n": len(known)}
    return summary


def environment() -> dict[str, Any]:
    """Versions, platform, threads and commit, as ``result.json`` holds them."""
    from gnnlib import __version__

    packages = ("torch", "torch_geometric", "numpy", "numba", "ogb", "scikit-learn")
    found = {name: machine.version(name) for name in packages}
    versions = {"gnnlib": __version__, "python": platform.python_version()}
    return {
        "versions": versions | {name: version for name, version in found.items() if version},
        "platform": platform.platform(),
        "cpu": machine.cpu_name(),
        "threads": torch.get_num_threads(),
        "commit": machine.commit(),
    }


def peak_memory(device: torch.device) -> int:
    """Peak bytes of this process so far, or of the device's allocator since its last reset."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import psutil

    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if platform.system() == "Darwin" else int(peak) * 1024


def now() -> str:
    """This moment, UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
