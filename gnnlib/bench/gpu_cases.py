"""The cases of a CUDA device, with its rows and targets in the table of aims for one H200."""

from __future__ import annotations

from functools import partial

import torch

from gnnlib.bench import models
from gnnlib.bench.cases import CASES, Case, Targets
from gnnlib.bench.problems import Problem, aggregation, training_step

_ARXIV = (128, 128, 40)  # input, hidden, classes
_FORMS = ("pyg", "pyg-compiled")


def _attention(layer: str) -> partial[Problem]:
    return partial(
        training_step,
        build=models.attention(layer, *_ARXIV, heads=8),
        in_channels=128,
        classes=40,
        passes=(128, 320) * 2,
        forms=_FORMS,
        checked_at=0.1,
    )


def _step(
    build: models.Build, passes: tuple[int, ...], in_channels: int = 128, classes: int = 40
) -> partial[Problem]:
    return partial(
        training_step,
        build=build,
        in_channels=in_channels,
        classes=classes,
        passes=passes,
        forms=(*_FORMS, "pyg-csr"),
        checked_at=0.1,
    )


def _spmm(dtype: torch.dtype, features: int) -> partial[Problem]:
    return partial(aggregation, reduce="sum", features=features, dtype=dtype, checked_at=0.02)


_RECORDS = (
    (
        "spmm-products",
        "spmm",
        "products-like",
        "spmm sum, float32, F = 100",
        _spmm(torch.float32, 100),
        1,
        Targets(pyg=6, yardstick=1),
    ),
    (
        "spmm-products-bf16",
        "spmm",
        "products-like",
        "spmm sum, bfloat16, F = 100",
        _spmm(torch.bfloat16, 100),
        1,
        Targets(pyg=10, yardstick=1),
    ),
    (
        "spmm-sum",
        "spmm",
        "arxiv-like",
        "spmm sum, float32, F = 128",
        _spmm(torch.float32, 128),
        None,
        Targets(),
    ),
    (
        "spmm-max",
        "spmm",
        "arxiv-like",
        "spmm max, forward and backward, F = 128",
        partial(aggregation, reduce="max", features=128, backward=True, checked_at=0.1),
        None,
        Targets(),
    ),
    ("spmm-hub", "spmm", "hub", "spmm sum with a hub, F = 64", _spmm(torch.float32, 64), None, Targets()),
    (
        "gcn-step",
        "step",
        "arxiv-like",
        "GCN training step, 2 layers",
        _step(models.gcn(*_ARXIV), (128, 40, 40)),
        2,
        Targets(pyg=3, best=1.5),
    ),
    (
        "gat-step",
        "step",
        "arxiv-like",
        "GAT training step, 2 layers, 8 heads",
        _attention("GATConv"),
        3,
        Targets(pyg=6, best=2, memory=10),
    ),
    (
        "gatv2-step",
        "step",
        "arxiv-like",
        "GATv2 training step, 2 layers, 8 heads",
        _attention("GATv2Conv"),
        3,
        Targets(pyg=6, best=2, memory=10),
    ),
    (
        "transformer-step",
        "step",
        "arxiv-like",
        "TransformerConv training step, 2 layers, 8 heads",
        _attention("TransformerConv"),
        4,
        Targets(pyg=5),
    ),
    (
        "pna-step",
        "step",
        "arxiv-like",
        "PNA training step, 4 aggregators, 3 scalers",
        _step(models.pna(*_ARXIV), (128, 256, 128, 256)),
        5,
        Targets(pyg=6),
    ),
    (
        "gcn-cora",
        "step",
        "cora-like",
        "GCN training step, Cora's size, hidden 16",
        _step(models.gcn(1433, 16, 7), (16, 7, 7), 1433, 7),
        6,
        Targets(),
    ),
    (
        "gcn-cora-graphed",
        "step",
        "cora-like",
        "GCN training step, Cora's size, ours as a CUDA graph",
        partial(_step(models.gcn(1433, 16, 7), (16, 7, 7), 1433, 7), graphed=True),
        6,
        Targets(pyg=5),
    ),
)

GPU_CASES: dict[str, Case] = {
    name: Case(name, group, graph, title, problem, row, targets)
    for name, group, graph, title, problem, row, targets in _RECORDS
}


def cases_on(device: str) -> dict[str, Case]:
    """The cases of ``"cpu"`` or ``"cuda"`` by name."""
    return GPU_CASES if device == "cuda" else CASES
