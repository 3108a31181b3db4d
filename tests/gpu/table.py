"""The table of cases of ``tests/sparse`` on the gpu backend."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import registry
from tests.sparse.cases import Case, outcome
from tests.sparse.graphs import Graph


def on_device(
    case: Case, graph: Graph, inputs: list[Tensor], device: torch.device, grad: Tensor | None = None
) -> list[Tensor]:
    """Output and gradients of a case, computed on ``device``."""
    there = graph.to(device)
    held = [t.to(device) for t in inputs]
    try:
        return outcome(
            lambda *t: case.run(there, there.adj, *t), held, None if grad is None else grad.to(device)
        )
    except NotImplementedError as error:
        if "no gpu kernel is written" in str(error):
            pytest.skip(str(error).splitlines()[0])
        raise


def skip_unwritten(case: Case) -> None:
    """Skip a case whose op has no GPU kernel."""
    if "gpu" not in {k.backend for k in registry.load(case.op)}:
        pytest.skip(f"no gpu kernel is written for {case.op} yet")


def moved(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tensors by name, on ``device``."""
    return {name: t.to(device) for name, t in tensors.items()}
