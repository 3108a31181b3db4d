"""What a run of the bench found, and its form in json."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from gnnlib.bench.cases import Targets
from gnnlib.bench.peers import DEFAULT, PEERS, Kind
from gnnlib.bench.timing import Times
from gnnlib.bench.traffic import Traffic


@dataclass(frozen=True)
class Entry:
    """One contender in one case.

    Attributes:
        times: seconds per call, or None when it did not run.
        peak: bytes above the level before the call, or None where not measured.
        note: why it did not run, or how its result differs from float64.
    """

    peer: str
    times: Times | None = None
    peak: int | None = None
    note: str | None = None

    @property
    def kind(self) -> Kind:
        return PEERS[self.peer].kind


@dataclass(frozen=True)
class Ratio:
    """How many times faster (minimum over minimum) or leaner ours is than ``peer``, and what was aimed at."""

    value: float
    peer: str
    target: float | None

    @property
    def reached(self) -> bool | None:
        return None if self.target is None else self.value >= self.target


@dataclass(frozen=True)
class Outcome:
    """One case: its setting and entries.

    Attributes:
        refused: why there are no ratios: ours failed, or disagrees with float64.
        skipped: why the case did not run, though nothing is wrong: its graph is not here.
    """

    case: str
    group: str
    row: int | None
    title: str
    graph: str
    targets: Targets
    num_nodes: int = 0
    num_edges: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 0
    huge_pages: bool = False
    copy_bandwidth: float | None = None
    traffic: Traffic | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    refused: str | None = None
    skipped: str | None = None

    def min_time(self, peer: str) -> float | None:
        entry = self.entries.get(peer)
        return None if entry is None or entry.times is None else entry.times.min

    def _ratio(self, peers: list[str], target: float | None) -> Ratio | None:
        ours = self.min_time("ours")
        times = {p: t for p in peers if (t := self.min_time(p)) is not None}
        if self.refused is not None or ours is None or not times:
            return None
        fastest = min(times, key=lambda p: times[p])
        return Ratio(times[fastest] / ours, fastest, target)

    def _of_kind(self, kind: Kind) -> list[str]:
        return [name for name, entry in self.entries.items() if entry.kind == kind]

    @property
    def against_default(self) -> Ratio | None:
        """Against PyG with a plain ``edge_index``."""
        return self._ratio([DEFAULT], self.targets.pyg)

    @property
    def against_best(self) -> Ratio | None:
        """Against PyG's fastest form here."""
        return self._ratio(self._of_kind("pyg"), self.targets.best)

    @property
    def against_yardstick(self) -> Ratio | None:
        """Against the hand-written loop."""
        return self._ratio(self._of_kind("yardstick"), self.targets.yardstick)

    @property
    def against_others(self) -> Ratio | None:
        """Against the fastest of the libraries beside PyG."""
        return self._ratio(self._of_kind("other"), self.targets.other)

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second of ours, a read of the source row counted for every edge."""
        ours = self.min_time("ours")
        return None if ours is None or self.traffic is None else self.traffic.per_edge / ours

    @property
    def compulsory_bandwidth(self) -> float | None:
        """Bytes per second of ours, each source row counted once."""
        ours = self.min_time("ours")
        return None if ours is None or self.traffic is None else self.traffic.once / ours

    @property
    def memory_ratio(self) -> Ratio | None:
        """Peak of PyG's default over ours."""
        ours, theirs = (self.entries.get(p) for p in ("ours", DEFAULT))
        if ours is None or theirs is None or not ours.peak or theirs.peak is None:
            return None
        return Ratio(theirs.peak / ours.peak, DEFAULT, self.targets.memory)

    def to_json(self) -> dict[str, Any]:
        """Every field, and the figures derived from them."""
        plain = dataclasses.asdict(self)
        plain["op"] = plain.pop("group")
        plain["entries"] = [
            {
                "peer": e.peer,
                "kind": e.kind,
                "title": PEERS[e.peer].title,
                "min_s": e.times and e.times.min,
                "median_s": e.times and e.times.median,
                "spread": e.times and e.times.spread,
                "samples_s": e.times and list(e.times.samples),
                "peak_bytes": e.peak,
                "note": e.note,
            }
            for e in self.entries.values()
        ]
        plain["ratios"] = {name: dataclasses.asdict(r) for name, r in self.ratios().items()}
        plain["bandwidth_per_edge"] = self.bandwidth
        plain["bandwidth_once"] = self.compulsory_bandwidth
        plain["memory_ratio"] = None if (m := self.memory_ratio) is None else m.value
        return plain

    def ratios(self) -> dict[str, Ratio]:
        """The ratios that exist, by name: ``pyg``, ``best``, ``yardstick``, ``other``."""
        named = {
            "pyg": self.against_default,
            "best": self.against_best,
            "yardstick": self.against_yardstick,
            "other": self.against_others,
        }
        return {name: ratio for name, ratio in named.items() if ratio is not None}


@dataclass(frozen=True)
class Setting:
    """Where and how a run was made."""

    cpu: str
    cores: int
    commit: str | None
    versions: dict[str, str | None]
    started: str  # UTC, ISO 8601
    rounds: int | None  # None: as each case says
    quick: bool
    gpu: str | None = None  # the device's name, where one was measured

    @property
    def machine_class(self) -> str:
        """A name for machines whose ratios compare: the GPU's model, or the CPU's and the number of cores."""
        if self.gpu is not None:
            return "-".join("".join(c if c.isalnum() else " " for c in self.gpu.lower()).split())
        words = "".join(c if c.isalnum() else " " for c in self.cpu.lower()).split()
        return "-".join([*words, f"{self.cores}-cores"])


@dataclass(frozen=True)
class Report:
    """A whole run."""

    setting: Setting
    outcomes: list[Outcome]

    def to_json(self) -> dict[str, Any]:
        setting = dataclasses.asdict(self.setting) | {"machine_class": self.setting.machine_class}
        return {"setting": setting, "cases": [o.to_json() for o in self.outcomes]}
