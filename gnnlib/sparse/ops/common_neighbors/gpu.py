"""Common neighbours on a GPU: each entry of a pair's shorter row is searched in the longer one.

A lane owns an entry, whatever pair it belongs to, so long rows and short ones share the device evenly. The
entries are searched twice, to count what is found and to write it in its place: nothing but the result and
one number a block is stored.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import pad

from gnnlib.sparse.gpu.launch import INTERPRETED, launch, needs_gpu
from gnnlib.sparse.gpu.search import first_at_least, holds
from gnnlib.sparse.registry import kernel

_BLOCK = 1024 if INTERPRETED else 256


@triton.jit
def _common(
    indptr, indices, short, long, bound, offset, columns, pairs, num_pairs, num_entries,
    FILL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the entries of a block that are found (to ``offset``), or write them and their pairs."""
    program = tl.program_id(0).to(tl.int64)
    entry = program * BLOCK + tl.arange(0, BLOCK)
    live = entry < num_entries
    none = entry * 0
    pair = first_at_least(bound + 1, none, none + num_pairs, entry + 1, live)
    row = tl.load(short + pair, mask=live, other=0)
    other = tl.load(long + pair, mask=live, other=0)
    slot = tl.load(indptr + row, mask=live, other=0) + entry - tl.load(bound + pair, mask=live, other=0)
    column = tl.load(indices + slot, mask=live, other=0).to(tl.int64)
    found = holds(indptr, indices, other, column, live).to(tl.int32)
    if FILL:
        place = tl.load(offset + program) + tl.cumsum(found) - found
        tl.store(columns + place, column.to(columns.dtype.element_ty), mask=found > 0)
        tl.store(pairs + place, pair, mask=found > 0)
    else:
        tl.store(offset + program, tl.sum(found).to(tl.int64))


@kernel("common_neighbors", "gpu", refuse=needs_gpu(frozenset()))
def common_neighbors(indptr: Tensor, indices: Tensor, pairs: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    u, v = pairs
    degree = indptr.diff()
    swap = degree[u] > degree[v]
    short, long = torch.where(swap, v, u), torch.where(swap, u, v)
    bound = pad(degree[short].cumsum(0), (1, 0))
    num_pairs, num_entries = u.shape[0], int(bound[-1])
    blocks = triton.cdiv(num_entries, _BLOCK)
    counts = indptr.new_zeros(blocks)

    def over(offset: Tensor, columns: Tensor, owner: Tensor, fill: bool) -> None:
        launch(
            _common, (blocks,), indptr, indptr, indices, short, long, bound, offset, columns, owner,
            num_pairs, num_entries, FILL=fill, BLOCK=_BLOCK,
        )  # fmt: skip

    over(counts, indices, indptr, False)
    offset = pad(counts.cumsum(0), (1, 0))
    size = int(offset[-1])
    columns, owner = indices.new_empty(size), indptr.new_empty(size)
    over(offset, columns, owner, True)
    ends = torch.arange(num_pairs + 1, device=owner.device)
    return torch.searchsorted(owner, ends), columns
