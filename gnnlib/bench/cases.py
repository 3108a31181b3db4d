"""What is measured: one record a case, with its row and targets in the table of aims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gnnlib.bench import models
from gnnlib.bench.embedding import fast_rp, node2vec_walks, skip_gram
from gnnlib.bench.graphs import Graph
from gnnlib.bench.influence import jacobian_influence
from gnnlib.bench.pairs import common_neighbors
from gnnlib.bench.paths import simple_paths
from gnnlib.bench.problems import Problem, aggregation, hypergraph_layer, training_step
from gnnlib.bench.propagation import lazy_step, repeated
from gnnlib.bench.sampling import neighbor_sampling


@dataclass(frozen=True)
class Targets:
    """Ratios to reach.

    Attributes:
        pyg: times faster than PyG's default.
        best: times faster than PyG's best form.
        yardstick: times faster than the hand-written loop.
        other: times faster than the fastest of the other libraries.
        memory: times less memory than PyG's default.
    """

    pyg: float | None = None
    best: float | None = None
    yardstick: float | None = None
    other: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: what ``--cases`` takes.
        group: what ``--cases`` takes for all of a kind: ``spmm``, ``step``, ``pairs``.
        graph: a name of :data:`gnnlib.bench.graphs.GRAPHS`.
        title: what a reader sees.
        problem: the graph -> the work on it.
        row: its row in the table of aims, or None for a case without one.
        huge_pages: whether torch's allocator asks for huge pages, for every contender, unless the user
            chooses; the aims of op cases are for ordinary pages, those of steps for huge ones.
        rounds: samples of each contender unless the user chooses; fewer where a peer takes many seconds,
            which average over the machine's drift by themselves.
    """

    name: str
    group: str
    graph: str
    title: str
    problem: Callable[[Graph], Problem]
    row: int | None = None
    targets: Targets = field(default_factory=Targets)
    huge_pages: bool = False
    rounds: int = 7


def _gcn_step(in_channels: int, hidden: int, classes: int) -> Callable[[Graph], Problem]:
    cached = models.gcn(in_channels, hidden, classes, cached=True)
    return partial(
        training_step,
        build=models.gcn(in_channels, hidden, classes),
        variants={"pyg-cached": cached, "pyg-csr-cached": cached},
        in_channels=in_channels,
        classes=classes,
        # The first layer's input needs no gradient, so its pass forward is its only one.
        passes=(min(in_channels, hidden), min(hidden, classes), min(hidden, classes)),
    )


_GIN_STEP = partial(training_step, build=models.gin(64, 2, 5), in_channels=64, classes=2, passes=(64,) * 9)

_ARXIV = (128, 128, 40)  # input, hidden, classes
#: Scale of the draw that attention and PNA are checked on: float64 PyG on the graph itself needs 18 to 40 GB.
_CHECKED_AT = 0.1


def _attention_step(layer: str, *, reads: tuple[int, ...], **options: Any) -> partial[Problem]:
    """Four heads; ``reads``: node arrays gathered by each of a layer's passes over the edges.

    PyG's torch CSR form merges parallel edges in layers that add self-loops, so it solves another problem.
    """
    in_channels, hidden, classes = _ARXIV
    return partial(
        training_step,
        build=models.attention(layer, in_channels, hidden, classes, heads=4),
        in_channels=in_channels,
        classes=classes,
        passes=tuple(width * k for width in (hidden, 4 * classes) for k in reads),
        checked_at=_CHECKED_AT,
        **options,
    )


_GAT_STEP = _attention_step("GATConv", reads=(1, 1), forms=("pyg",), edge_bytes=4000)

_PNA_STEP = partial(
    training_step,
    build=models.pna(*_ARXIV),
    in_channels=128,
    classes=40,
    # Forward one array; backward the gradients of the mean and of the variance. Of min and max, the argument
    # is written and read and the gradient read, in both layers.
    passes=(128, 256, 128, 256),
    arrays=(128, 12),
    forms=("pyg",),
    checked_at=_CHECKED_AT,
    edge_bytes=8500,
)

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
            rounds=5,
        ),
        Case(
            "spmm-hub",
            "spmm",
            "hub",
            "spmm sum with a hub, F = 64",
            partial(aggregation, reduce="sum", features=64),
        ),
        Case(
            "propagate",
            "propagate",
            "arxiv-like",
            "propagate, 50 steps, F = 64",
            partial(repeated, features=64, steps=50),
            rounds=3,
        ),
        Case(
            "lazy-step",
            "propagate",
            "arxiv-like",
            "LazyGNN training step beside a GCN of 16 layers, hidden 128",
            partial(lazy_step, in_channels=128, hidden=128, classes=40, layers=16),
            huge_pages=True,
            rounds=2,
        ),
        Case(
            "gcn-step",
            "step",
            "arxiv-like",
            "GCN training step, 2 layers",
            _gcn_step(*_ARXIV),
            row=4,
            targets=Targets(pyg=6.5, best=2.3),
            huge_pages=True,
            rounds=5,
        ),
        Case(
            "sage-step",
            "step",
            "arxiv-like",
            "SAGE mean training step, 2 layers",
            partial(
                training_step,
                build=models.sage(*_ARXIV),
                in_channels=128,
                classes=40,
                passes=(128, 40, 40),
            ),
            row=5,
            targets=Targets(pyg=3.5, best=1.7),
            huge_pages=True,
            rounds=5,
        ),
        Case(
            "gat-step",
            "step",
            "arxiv-like",
            "GAT training step, 2 layers, 4 heads",
            _GAT_STEP,
            row=6,
            targets=Targets(pyg=6, memory=7),
            huge_pages=True,
            rounds=5,
        ),
        Case(
            "gatv2-step",
            "step",
            "arxiv-like",
            "GATv2 training step, 2 layers, 4 heads",
            _attention_step("GATv2Conv", reads=(1, 1, 2), forms=("pyg",), edge_bytes=6400),
            row=7,
            targets=Targets(pyg=8, memory=9),
            huge_pages=True,
            rounds=3,
        ),
        Case(
            "transformer-step",
            "step",
            "arxiv-like",
            "TransformerConv training step, 2 layers, 4 heads",
            _attention_step("TransformerConv", reads=(2, 2, 2), forms=("pyg", "pyg-csr"), edge_bytes=6000),
            row=7,
            targets=Targets(pyg=8, memory=9),
            huge_pages=True,
            rounds=3,
        ),
        Case(
            "pna-step",
            "step",
            "arxiv-like",
            "PNA training step, 2 layers, 4 aggregators, 3 scalers",
            _PNA_STEP,
            row=8,
            targets=Targets(pyg=12, memory=4),
            huge_pages=True,
            rounds=2,
        ),
        Case(
            "hyper-step",
            "step",
            "hyper",
            "hypergraph layer, forward and backward, F = 64",
            partial(hypergraph_layer, features=64),
            row=9,
            targets=Targets(pyg=8),
            huge_pages=True,
        ),
        Case(
            "allset-step",
            "step",
            "hyper",
            "AllSetTransformer layer beside PyG's HypergraphConv, forward and backward, F = 64",
            partial(hypergraph_layer, features=64, other=models.allset),
            row=9,
            targets=Targets(pyg=8),
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
        Case(
            "accel-gcn-step",
            "step",
            "arxiv-like",
            "PyG's GCN after accelerate, training step",
            partial(
                training_step,
                build=models.gcn(*_ARXIV),
                in_channels=128,
                classes=40,
                passes=(128, 40, 40),
                forms=("pyg",),
                accelerated=True,
            ),
            huge_pages=True,
            rounds=5,
        ),
        Case(
            "accel-gat-step",
            "step",
            "arxiv-like",
            "PyG's GAT after accelerate, training step",
            partial(_GAT_STEP, accelerated=True),
            huge_pages=True,
            rounds=3,
        ),
        Case(
            "walks",
            "embed",
            "blogcatalog",
            "node2vec walks of 80 nodes, p = q = 0.25, one thread",
            partial(node2vec_walks, count=1_000, length=80, p=0.25, q=0.25),
            row=11,
            targets=Targets(other=25),
            rounds=5,
        ),
        Case(
            "skipgram",
            "embed",
            "blogcatalog",
            "skip-gram, d = 128, window 10, 5 negatives, one thread",
            partial(skip_gram, num_walks=2, length=40, checked=(10, 80)),
            row=12,
            targets=Targets(other=2.5),
            rounds=5,
        ),
        Case(
            "fastrp",
            "embed",
            "arxiv-like",
            "FastRP, d = 512, 4 powers",
            partial(fast_rp, dim=512),
            row=13,
            targets=Targets(other=6),
            huge_pages=True,
            rounds=3,
        ),
        Case(
            "common-neighbors",
            "pairs",
            "arxiv-like",
            "common neighbours of 65,000 pairs",
            partial(common_neighbors, count=65_000),
            row=14,
            targets=Targets(other=8),
        ),
        Case(
            "paths",
            "paths",
            "nci1",
            "simple paths of up to 5 edges of 4,110 molecules, one thread",
            partial(simple_paths, length=5),
            rounds=3,
        ),
        Case(
            "influence",
            "influence",
            "huangpu",
            "Jacobian influence by hop of 100 nodes, GCN of 16 layers of 64, one thread",
            partial(jacobian_influence, layers=16, hidden=64, nodes=100),
            targets=Targets(pyg=10),
            rounds=5,
        ),
        Case(
            "sampling",
            "sampling",
            "arxiv-like",
            "neighbour sampling [15, 10, 5], batch of 1,024, one worker",
            partial(neighbor_sampling, fanouts=(15, 10, 5), batch=1024),
            row=15,
            targets=Targets(other=3),
            rounds=5,
        ),
    )
}
GROUPS = sorted({case.group for case in CASES.values()})
