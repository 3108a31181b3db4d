"""The table of cases of ``tests/sparse`` on the gpu backend."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.sparse.cases import Case, outcome
from tests.sparse.graphs import Graph


def on_device(
    case: Case, graph: Graph, inputs: list[Tensor], device: torch.device, grad: Tensor | None = None
) -> list[Tensor]:
    """Output and gradients of a case, computed on ``device``."""
    there = graph.to(device)
    held = [t.to(device) for t in inputs]
    return outcome(lambda *t: case.run(there, there.adj, *t), held, None if grad is None else grad.to(device))


def moved(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tensors by name, on ``device``."""
    return {name: t.to(device) for name, t in tensors.items()}
