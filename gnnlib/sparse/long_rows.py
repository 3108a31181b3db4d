"""Sums over long rows that are made for one step, as lists of common neighbours are."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.autograd import traced
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.spmm import spmm

#: Bytes of the rows that are summed in one run: about a core's second cache.
RUN_BYTES = 1 << 21
#: A run pays where it names each column so often; the gradient of all columns is added up once a run.
OFTEN = 8


def summed(adj: CSR, x: Tensor) -> Tensor:
    """Sums of x over the rows, ``spmm(adj, x)``, with a faster gradient where long rows are many.

    The gradient of x gathers those of the rows. On a CPU it takes runs of rows whose gradients stay in cache:
    10.7 million entries of 49,152 rows and 224 columns take 0.27 s in place of 0.65 (one thread, Xeon).

    Shapes: adj ``[P, N]``, x ``[N, F]`` -> ``[P, F]``.
    """
    size = max(RUN_BYTES // max(x.element_size() * x.size(1), 1), 1)
    runs = -(-adj.num_rows // size)
    if (
        runs < 2
        or x.device.type != "cpu"
        or traced(x)
        or not (torch.is_grad_enabled() and x.requires_grad)
        or adj.num_edges < OFTEN * runs * adj.num_cols
    ):
        return spmm(adj, x)
    bounds = [*range(0, adj.num_rows, size), adj.num_rows]
    slots = adj.indptr[bounds].tolist()
    found = []
    for run in range(runs):
        offsets = adj.indptr[bounds[run] : bounds[run + 1] + 1] - slots[run]
        part = CSR.trusted(offsets, adj.indices[slots[run] : slots[run + 1]], adj.num_cols)
        found.append(spmm(part, x))
    return torch.cat(found)
