"""Skip-gram on a GPU: a program takes one centre of a block through its contexts.

Its outputs stay in registers. Contexts work on copies in memory, one for each place in the window, of which a
context that comes again uses the first. What has moved is added to the tables by torch, whose sums come in no
fixed order there.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.gpu.launch import launch, needs_gpu
from gnnlib.sparse.ops.skipgram import SATURATED
from gnnlib.sparse.registry import kernel

#: Columns that a warp holds of each output.
_WARP = 64


@triton.jit
def _centre(
    ptr, first, rows, outputs, out, first_centre, rate, base,
    WIDTH: tl.constexpr, OUTPUTS: tl.constexpr, BOUND: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_F: tl.constexpr,
):  # fmt: skip
    """Move copies of the contexts, ``rows``, and of the outputs, ``outputs``, of one centre of a block."""
    program = tl.program_id(0).to(tl.int64)
    centre = first_centre + program
    start, stop = tl.load(ptr + centre), tl.load(ptr + centre + 1)
    k, f = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_F)
    inside = f < WIDTH
    real = tl.load(out + centre * OUTPUTS + k, mask=k < OUTPUTS, other=-1) >= 0
    place = (program * OUTPUTS + k)[:, None] * WIDTH + f[None, :]
    held = (k < OUTPUTS)[:, None] & inside[None, :]
    c = tl.load(outputs + place, mask=held, other=0.0)
    wanted = tl.where(k == 0, 1.0, 0.0)
    for e in range(start, stop):
        row = (start - base + tl.load(first + e)) * WIDTH
        x = tl.load(rows + row + f, mask=inside, other=0.0)
        score = tl.sum(c * x[None, :], axis=1)
        s = 1.0 / (1.0 + tl.exp(-score))
        s = tl.where(score > BOUND, 1.0, tl.where(score < -BOUND, 0.0, s))
        g = tl.where(real, rate * (wanted - s), 0.0)
        tl.debug_barrier()  # every lane has read the row
        tl.store(rows + row + f, x + tl.sum(g[:, None] * c, axis=0), mask=inside)
        tl.debug_barrier()  # the row may come again
        c += g[:, None] * x[None, :]
    tl.store(outputs + place, c, mask=held)


@kernel("skipgram", "gpu", refuse=needs_gpu(frozenset({torch.float32})))
def skipgram(
    table: Tensor,
    other: Tensor,
    ptr: Tensor,
    context: Tensor,
    out: Tensor,
    lr: float,
    floor: float,
    done: float,
    total: float,
    block: int,
) -> None:
    u, v = context.long(), out.long()
    bounds = [*ptr[::block].tolist(), int(ptr[-1])]
    first, own = _first(ptr, u)
    width, outputs = table.shape[1], out.shape[1]
    columns = triton.next_power_of_2(width)
    for number, start in enumerate(range(0, out.shape[0], block)):
        stop = min(start + block, out.shape[0])
        rate = max(lr * (1 - (done + start) / total), floor)
        lo, hi = bounds[number], bounds[number + 1]
        its, theirs = u[lo:hi], v[start:stop].reshape(-1)
        w, c = table[its], other[theirs.clamp(min=0)]
        w_before, c_before = w.clone(), c.clone()
        launch(
            _centre, (stop - start,), table, ptr, first, w, c, out, start, rate, lo,
            WIDTH=width, OUTPUTS=outputs, BOUND=SATURATED, BLOCK_K=triton.next_power_of_2(outputs),
            BLOCK_F=columns, num_warps=max(1, min(8, columns // _WARP)),
        )  # fmt: skip
        table.index_add_(0, its, (w - w_before) * own[lo:hi, None])
        other.index_add_(0, theirs.clamp(min=0), c - c_before)


def _first(ptr: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """The place in its window where a context stands first, and whether that is here, both ``[M]``."""
    size = context.shape[0]
    if size == 0:
        return context, context.bool()
    owner = row_of_slot(ptr, size)
    key = owner * (context.max() + 1) + context
    order = key.argsort(stable=True)
    ordered = key[order]
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    lead = torch.empty_like(order)
    lead[order] = order[new][new.cumsum(0) - 1]  # of each run, the first in the caller's order
    return lead - ptr[owner], lead == torch.arange(size, device=ptr.device)
