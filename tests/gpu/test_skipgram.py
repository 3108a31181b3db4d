"""Skip-gram on the gpu backend against the formulas, pair by pair."""

from __future__ import annotations

import pytest
import torch

from gnnlib.sparse import use_backend
from gnnlib.sparse.ops.skipgram import skipgram
from tests.embed.test_skipgram import naive, problem


@pytest.mark.parametrize("width", [16, 80])
@pytest.mark.parametrize("same", [False, True], ids=["two-tables", "one-table"])
@pytest.mark.parametrize("block", [5, 100])
def test_blocks_equal_the_formulas(width: int, same: bool, block: int, device: torch.device) -> None:
    with use_backend("reference"):
        table, other, ptr, context, out = problem(width, scale=1.0)  # some scores are beyond 6
    other = table if same else other
    wide = table.double()
    wide_other = wide if same else other.double()
    size = out.shape[0]
    for start in range(0, size, block):
        stop = min(start + block, size)
        rate = max(0.1 * (1 - (3 + start) / 90), 0.05)
        part = ptr[start : stop + 1] - ptr[start]
        naive(wide, wide_other, part, context[ptr[start] : ptr[stop]], out[start:stop], rate)
    moved = table.to(device)
    moved_other = moved if same else other.to(device)
    skipgram(moved, moved_other, *(t.to(device) for t in (ptr, context, out)), 0.1, 0.05, 3, 90, block)
    assert float((moved.cpu() - wide).abs().max()) < 2e-4
    assert float((moved_other.cpu() - wide_other).abs().max()) < 2e-4


def test_centres_without_contexts_and_no_centres(device: torch.device) -> None:
    with use_backend("reference"):
        table, other, ptr, context, out = (t.to(device) for t in problem())
    before = table.clone(), other.clone()
    skipgram(table, other, torch.zeros_like(ptr), context[:0], out, 0.1, 0.05, 3, 90, 7)
    skipgram(table, other, ptr[:1], context[:0], out[:0], 0.1, 0.05, 3, 90, 7)
    assert torch.equal(table, before[0])
    assert torch.equal(other, before[1])
