"""A sparse product of the leading block of a matrix, for gradients that fill the first rows of many."""

from __future__ import annotations

from torch import Tensor

from gnnlib.sparse.csr import CSR
from gnnlib.sparse.registry import dispatch

__all__ = ["leading_sum"]


def leading_sum(
    adj: CSR,
    x: Tensor,
    rows: int,
    weight: Tensor | None = None,
    scale: Tensor | None = None,
    node: Tensor | None = None,
) -> Tensor:
    r"""Sum, for the first rows, over their neighbours among the columns that x has; multiply by other rows.

    .. math:: \mathrm{out}_{ig} = s_{n_i} \circ \sum_{j \in \mathcal{N}_i,\, j < C'} w_{ij}\, x_{jg}

    One step back through ``s * (A.T @ y)`` for G gradients at once, where only the first C' rows of y have
    any. There is no derivative.

    Args:
        adj: the matrix, with the columns of each row in ascending order.
        x: what is summed, of the first columns.
        rows: how many rows to sum for.
        weight: w, in slot order; None for ones.
        scale: s, rows to multiply with; None for none.
        node: n, which of them goes with each row.

    Shapes: adj ``[R, C]``, x ``[C', G, F]``, weight ``[E]``, scale ``[N, F]``, node int64 ``[R]`` ->
        ``[rows, G, F]``.
    Cost: the entries of the block x G F; no memory beyond the result.
    """
    out: Tensor = dispatch("leading_sum", *adj.arrays, weight, x, rows, scale, node)
    return out
