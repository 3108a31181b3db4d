"""What is measured as it grows: the worker's side of :mod:`gnnlib.bench.curves`.

Graphs are draws of ``arxiv-like`` at other scales, so the mean degree stays 14 and N grows with E.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from gnnlib.bench import memory, models
from gnnlib.bench.embedding import node2vec_walks
from gnnlib.bench.graphs import Graph, arxiv_like
from gnnlib.bench.problems import Problem, aggregation, training_step
from gnnlib.bench.sampling import neighbor_sampling
from gnnlib.bench.timing import MIN_SAMPLE, Run, interleave, twice

_CLASSES = 40
_ARXIV_EDGES = 2 * 1_166_243
_SMALL = 1_000  # edges of the graph that loads the libraries and compiles the kernels


def _spmm(graph: Graph, features: int) -> Problem:
    return aggregation(graph, reduce="sum", features=features)


def _step(build: Callable[[int, int, int], models.Build], graph: Graph, features: int) -> Problem:
    made = build(features, features, _CLASSES)
    return training_step(graph, build=made, in_channels=features, classes=_CLASSES, passes=())


def _walks(graph: Graph, features: int) -> Problem:
    return node2vec_walks(graph, count=graph.num_nodes, length=80, p=0.25, q=0.25)


def _sampling(graph: Graph, features: int) -> Problem:
    return neighbor_sampling(graph, fanouts=(10, 10), batch=max(1, graph.num_nodes // 20))


#: name -> what a reader sees, and the work on a graph at a width.
WORK: dict[str, tuple[str, Callable[[Graph, int], Problem]]] = {
    "spmm": ("spmm sum", _spmm),
    "gcn-step": ("GCN training step", partial(_step, models.gcn)),
    "gat-step": ("GAT training step", partial(_step, partial(models.attention, "GATConv"))),
    "walks": ("a node2vec walk of 80 nodes from each node, one thread", _walks),
    "sampling": ("neighbours [10, 10] of every twentieth node, one thread", _sampling),
}
#: Works on indices alone, which grow with the edges only.
WIDTHLESS = frozenset({"walks", "sampling"})


def measure(work: str, edges: int, features: int, *, rounds: int, quick: bool) -> dict[str, Any]:
    """One point, in a fresh process: the peak of the first calls, then the time of the same call."""
    problem = WORK[work][1]

    def start(graph: Graph) -> Run:
        return problem(graph, features).contenders["ours"]()

    small = start(arxiv_like(_SMALL / _ARXIV_EDGES))
    small(), small()
    del small
    graph = arxiv_like(edges / _ARXIV_EDGES)
    run = start(graph)
    peak = None if memory.why_not() else memory.peak(lambda: twice(run))
    times = interleave({"ours": run}, rounds, min_sample=0.0 if quick else MIN_SAMPLE)["ours"]
    return {
        "num_nodes": graph.num_nodes,
        "edges": graph.num_edges,
        "samples": times.samples,
        "peak": peak,
        "threads": torch.get_num_threads(),
    }
