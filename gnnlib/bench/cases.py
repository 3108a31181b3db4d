"""What is measured: one record a case, with its row and targets in the table of aims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from gnnlib.bench.graphs import Graph
from gnnlib.bench.problems import Problem, Stack, aggregation, training_step


@dataclass(frozen=True)
class Targets:
    """Ratios to reach: times faster than PyG's default, than its best form, and than the yardstick."""

    pyg: float | None = None
    best: float | None = None
    yardstick: float | None = None


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: what ``--cases`` takes.
        group: what ``--cases`` takes for all of a kind: ``spmm``, ``step``.
        graph: a name of :data:`gnnlib.bench.graphs.GRAPHS`.
        title: what a reader sees.
        problem: the graph -> the work on it.
        row: its row in the table of aims, or None for a case without one.
        huge_pages: whether torch's allocator asks for huge pages, for every contender, unless the user
            chooses; the aims of op cases are for ordinary pages, those of steps for huge ones.
    """

    name: str
    group: str
    graph: str
    title: str
    problem: Callable[[Graph], Problem]
    row: int | None = None
    targets: Targets = field(default_factory=Targets)
    huge_pages: bool = False


def _gcn(in_channels: int, hidden: int, classes: int, **options: Any) -> Callable[[Any], nn.Module]:
    return lambda lib: Stack(
        [lib.GCNConv(in_channels, hidden, **options), lib.GCNConv(hidden, classes, **options)]
    )


def _sage(lib: Any) -> nn.Module:
    return Stack([lib.SAGEConv(128, 128), lib.SAGEConv(128, 40)])


def _gin(lib: Any) -> nn.Module:
    def mlp() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64))

    return Stack([lib.GINConv(mlp()) for _ in range(5)], lib.global_add_pool, nn.Linear(64, 2))


def _gcn_step(in_channels: int, hidden: int, classes: int) -> Callable[[Graph], Problem]:
    cached = _gcn(in_channels, hidden, classes, cached=True)
    return partial(
        training_step,
        build=_gcn(in_channels, hidden, classes),
        variants={"pyg-cached": cached, "pyg-csr-cached": cached},
        in_channels=in_channels,
        classes=classes,
        # The first layer's input needs no gradient, so its pass forward is its only one.
        passes=(min(in_channels, hidden), min(hidden, classes), min(hidden, classes)),
    )


_GIN_STEP = partial(training_step, build=_gin, in_channels=64, classes=2, passes=(64,) * 9)

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case(
            "spmm-sum",
            "spmm",
            "arxiv-like",
            "spmm sum, F = 128",
            partial(aggregation, reduce="sum", features=128),
            row=1,
            targets=Targets(pyg=25, best=2.5, yardstick=1 / 1.2),
        ),
        Case(
            "spmm-in-cache",
            "spmm",
            "in-cache",
            "spmm sum in cache, F = 64",
            partial(aggregation, reduce="sum", features=64),
            row=2,
            targets=Targets(pyg=40, best=5),
        ),
        Case(
            "spmm-max",
            "spmm",
            "arxiv-like",
            "spmm max, forward and backward, F = 128",
            partial(aggregation, reduce="max", features=128, backward=True),
            row=3,
            targets=Targets(pyg=20, best=3),
        ),
        Case(
            "spmm-hub",
            "spmm",
            "hub",
            "spmm sum with a hub, F = 64",
            partial(aggregation, reduce="sum", features=64),
        ),
        Case(
            "gcn-step",
            "step",
            "arxiv-like",
            "GCN training step, 2 layers",
            _gcn_step(128, 128, 40),
            row=4,
            targets=Targets(pyg=6.5, best=2.3),
            huge_pages=True,
        ),
        Case(
            "sage-step",
            "step",
            "arxiv-like",
            "SAGE mean training step, 2 layers",
            partial(training_step, build=_sage, in_channels=128, classes=40, passes=(128, 40, 40)),
            row=5,
            targets=Targets(pyg=3.5, best=1.7),
            huge_pages=True,
        ),
        Case(
            "gin-step",
            "step",
            "molecules",
            "GIN training step, 5 layers, a new batch each step",
            partial(_GIN_STEP, fresh=True),
            row=10,
            targets=Targets(pyg=2, best=2),
            huge_pages=True,
        ),
        Case(
            "gin-step-repeat",
            "step",
            "molecules",
            "GIN training step, 5 layers, the same batch again",
            _GIN_STEP,
            huge_pages=True,
        ),
        Case(
            "gcn-cora",
            "step",
            "cora",
            "GCN training step, Cora, hidden 16",
            _gcn_step(1433, 16, 7),
            huge_pages=True,
        ),
    )
}
GROUPS = sorted({case.group for case in CASES.values()})
