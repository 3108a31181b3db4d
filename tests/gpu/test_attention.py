"""Attention on the gpu backend: dropout, returned weights, hubs of both ends, rows without a score, NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib.sparse import edge_attention, use_backend
from tests.gpu.table import moved
from tests.sparse.cases import leaves
from tests.sparse.graphs import MIXED
from tests.sparse.test_edge_attention import SCORES, mixed
from tests.tolerances import assert_close


def both(score: Any, given: dict[str, Tensor], device: torch.device, **options: Any) -> list[list[Tensor]]:
    """Results and gradients on the gpu backend and by the reference."""
    found = []
    for name, place in (("gpu", device), ("reference", torch.device("cpu"))):
        adj = MIXED.to(place).adj
        held = leaves([t.to(place) for t in given.values()])
        with use_backend(name):
            out = edge_attention(adj, score=score, **dict(zip(given, held, strict=True)), **options)
            out = out if isinstance(out, tuple) else (out,)
            upstream = [torch.sin(torch.arange(o.numel(), device=place)).view_as(o).to(o) for o in out]
            grads = torch.autograd.grad(out, held, upstream)
        found.append([t.cpu() for t in (*out, *grads)])
    return found


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("weights", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("edge", [False, True], ids=["", "edge"])
@pytest.mark.parametrize("score", SCORES)
def test_dropout_and_weights(score: Any, edge: bool, weights: bool, device: torch.device) -> None:
    given = mixed(score, edge=edge)
    ours, theirs = both(score, given, device, dropout=0.4, seed=11, return_attention_weights=weights)
    assert_close(ours, theirs)


@pytest.mark.parametrize("score", SCORES)
def test_widths_off_powers_of_two(score: Any, device: torch.device) -> None:
    ours, theirs = both(score, mixed(score, heads=3, depth=17, edge=score != "additive"), device)
    assert_close(ours, theirs)


def test_a_row_without_a_finite_score_gives_zero_and_no_gradient(device: torch.device) -> None:
    given = mixed("additive")
    row = int(MIXED.adj.degree.argmax())
    given["x_dst"][row] = -torch.inf
    adj = MIXED.to(device).adj
    held = leaves([t.to(device) for t in given.values()])
    out = edge_attention(adj, *held, "additive")
    grads = torch.autograd.grad(out.sum(), held)
    assert bool((out[row] == 0).all())
    assert all(bool(g.isfinite().all()) for g in grads)


@pytest.mark.parametrize("score", SCORES)
def test_nan_stays_in_its_rows(score: Any, device: torch.device) -> None:
    given = mixed(score)
    bad = int(MIXED.edge_index[0, 0])
    given["x_src"][bad] = torch.nan
    if score != "gatv2":
        given["value"][bad] = torch.nan
    out = edge_attention(MIXED.to(device).adj, score=score, **moved(given, device)).cpu()
    touched = torch.zeros(MIXED.num_rows, dtype=torch.bool)
    touched[MIXED.edge_index[1][MIXED.edge_index[0] == bad]] = True
    assert bool(out[touched].isnan().all())
    assert not bool(out[~touched].isnan().any())
