"""Poolings of a graph of 10^6 edges: no matrix of nodes x nodes, and no array of edges x features.

ASAP is not among them: its coarse graph has an edge for two steps of the graph, and grows with them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gnnlib.nn import (
    DiffPool,
    DMoNPooling,
    EdgePooling,
    GraclusPooling,
    KMISPooling,
    MinCutPooling,
    SAGPooling,
    TopKPooling,
)
from gnnlib.nn.pool import Pooling

N, PAIRS, F, K = 170_000, 500_000, 64, 16
#: One array of edges x features in float32; a matrix of nodes x nodes would be 450 times as large.
EDGES_BY_FEATURES = 2 * PAIRS * F * 4

POOLINGS = [
    lambda: DiffPool(F, K),
    lambda: DMoNPooling(F, K),
    lambda: EdgePooling(F),
    lambda: GraclusPooling("sum"),
    lambda: KMISPooling(F, score="linear"),
    lambda: MinCutPooling(F, K),
    lambda: SAGPooling(F),
    lambda: TopKPooling(F),
]


def resident(field: str) -> int:
    """``VmRSS`` or its peak ``VmHWM`` of this process, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition(f"{field}:")[2].split()[0])


@pytest.fixture(scope="module")
def graph() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(0, N, (2, PAIRS), generator=generator)
    x = torch.randn(N, F, generator=generator)
    return x, torch.cat([edge_index, edge_index.flip(0)], dim=1)


@pytest.mark.parametrize("build", POOLINGS, ids=[type(b()).__name__ for b in POOLINGS])
def test_peak_memory(
    build: type[Pooling], graph: tuple[torch.Tensor, torch.Tensor], record_property: object
) -> None:
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        pytest.skip("this system does not tell the peak memory of a process")
    pool, (x, edge_index) = build(), graph
    out = pool.coarsen(x[:100], edge_index[:, :0])  # compiles what is not compiled yet
    x = x.clone().requires_grad_()
    try:
        clear.write_text("5", encoding="utf-8")  # the peak starts from here
    except OSError:
        pytest.skip("this system does not let a process forget its peak memory")
    before = resident("VmRSS")
    out = pool.coarsen(x, edge_index)
    (out.x.sum() + sum(out.loss.values())).backward()  # type: ignore[union-attr]
    used = (resident("VmHWM") - before) / EDGES_BY_FEATURES
    assert used < 2
