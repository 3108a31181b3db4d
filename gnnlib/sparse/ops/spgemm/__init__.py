"""Sparse-sparse product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define
from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.registry import dispatch

__all__ = ["spgemm"]


def spgemm(a: Adj, b: Adj) -> CSR:
    r"""Multiply two sparse matrices.

    .. math:: C_{ij} = \sum_k A_{ik} B_{kj}

    Gustavson, Two Fast Algorithms for Sparse Matrices, ACM TOMS 1978: row i of C is a sum of the rows of B
    that row i of A names; a first pass finds the places of C, a second one the values.

    Args:
        a: the left matrix, in any form that :func:`as_csr` takes; its ``value``, or 1 for each entry.
        b: the right matrix, likewise.

    Shapes: a ``[R, K]``, b ``[K, C]`` -> CSR ``[R, C]`` whose ``value`` has one number for each slot. Columns
        are sorted and unique in each row; duplicates of a and b add up; a sum that is 0 keeps its place.
        ``value`` has gradients to the values of a and b, at the places that these have, and second
        derivatives.
    Cost: O(products) time, of which there are :math:`\sum_{A_{ik}} |B_k|`, three times that with the
        gradient; memory of the result and one row of C columns for each thread. Compiled code needs
        ``torch._dynamo.config.capture_dynamic_output_shape_ops``, since the size of C is not known before.
    Raises: ValueError when a has not as many columns as b has rows, or they are on different devices.
    """
    left, right = as_csr(a), as_csr(b)
    if left.num_cols != right.num_rows:
        raise ValueError(
            f"spgemm: a has {left.num_cols} columns but b has {right.num_rows} rows; check their order, or "
            "give each its size with as_csr(edge_index, (sources, targets))"
        )
    if left.device != right.device:
        raise ValueError(
            f"spgemm: a is on {left.device} but b is on {right.device}; move one with .to(device)"
        )
    indptr, indices = _pattern(*left.arrays, *right.arrays, right.num_cols)
    product = CSR.trusted(indptr, indices, right.num_cols)
    u, v = _slot_values(left), _slot_values(right)
    dtype = torch.promote_types(u.dtype, v.dtype)
    value = _values(
        *left.arrays,
        u.to(dtype),
        *right.arrays,
        v.to(dtype),
        *product.arrays,
        right.num_cols,
        adj=(left.slot_order, right.slot_order, product),
    )
    return product.with_value(value)


def _slot_values(adj: CSR) -> Tensor:
    if adj.value is None:
        return torch.ones(adj.num_edges, dtype=torch.get_default_dtype(), device=adj.device)
    value = adj.value if adj.value.is_floating_point() else adj.value.to(torch.get_default_dtype())
    return adj.to_slots(value)


# -- places -------------------------------------------------------------------------------------------


def _pattern_forward(
    a_indptr: Tensor, a_indices: Tensor, b_indptr: Tensor, b_indices: Tensor, num_cols: int
) -> tuple[Tensor, Tensor]:
    indptr, indices = dispatch("spgemm_pattern", a_indptr, a_indices, b_indptr, b_indices, num_cols)
    return indptr, indices


def _pattern_fake(
    a_indptr: Tensor, a_indices: Tensor, b_indptr: Tensor, b_indices: Tensor, num_cols: int
) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    return torch.empty_like(a_indptr), b_indices.new_empty(size, dtype=index_dtype(num_cols))


_pattern = define(
    "spgemm_pattern",
    "(Tensor a_indptr, Tensor a_indices, Tensor b_indptr, Tensor b_indices, SymInt num_cols)"
    " -> (Tensor, Tensor)",
    _pattern_forward,
    _pattern_fake,
)


# -- values at given places: linear in each factor ----------------------------------------------------


def _values_forward(
    a_indptr: Tensor,
    a_indices: Tensor,
    a_value: Tensor,
    b_indptr: Tensor,
    b_indices: Tensor,
    b_value: Tensor,
    c_indptr: Tensor,
    c_indices: Tensor,
    num_cols: int,
) -> Tensor:
    a, b = (a_indptr, a_indices, a_value), (b_indptr, b_indices, b_value)
    out: Tensor = dispatch("spgemm_values", *a, *b, c_indptr, c_indices, num_cols)
    return out


def _values_fake(
    a_indptr: Tensor,
    a_indices: Tensor,
    a_value: Tensor,
    b_indptr: Tensor,
    b_indices: Tensor,
    b_value: Tensor,
    c_indptr: Tensor,
    c_indices: Tensor,
    num_cols: int,
) -> Tensor:
    return a_value.new_empty(c_indices.shape[0])


def _values_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.num_cols = inputs[8]
    ctx.save_for_backward(*inputs[:8])


def _values_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a_indptr, a_indices, a_value, b_indptr, b_indices, b_value, c_indptr, c_indices = ctx.saved_tensors
    a, b, c = getattr(ctx, "adj", None) or (
        CSR.trusted(a_indptr, a_indices, b_indptr.shape[0] - 1),
        CSR.trusted(b_indptr, b_indices, ctx.num_cols),
        CSR.trusted(c_indptr, c_indices, ctx.num_cols),
    )
    need = ctx.needs_input_grad[-9:]
    d_a = (
        _sampled(*a.arrays, *c.arrays, grad, *b.arrays, b_value, b.num_cols, adj=(a, c, b))
        if need[2]
        else None
    )
    d_b = _sampled_transposed(b, c, grad, a, a_value) if need[5] else None
    return None, None, d_a, None, None, d_b, None, None, None


_values = define(
    "spgemm_values",
    "(Tensor a_indptr, Tensor a_indices, Tensor a_value, Tensor b_indptr, Tensor b_indices, Tensor b_value,"
    " Tensor c_indptr, Tensor c_indices, SymInt num_cols) -> Tensor",
    _values_forward,
    _values_fake,
    _values_setup,
    _values_backward,
)


# -- the sampled product, which is the adjoint --------------------------------------------------------


def _sampled_transposed(p: CSR, g: CSR, g_value: Tensor, q: CSR, q_value: Tensor) -> Tensor:
    """``Q^T G`` at the places of p ``[K, C]``, for g ``[R, C]`` and q ``[R, K]``: through the transposes."""
    pt, gt, qt = (m.transposed.slot_order for m in (p, g, q))
    turned = (g_value.index_select(0, g.transpose_perm), q_value.index_select(0, q.transpose_perm))
    value: Tensor = _sampled(
        *pt.arrays, *gt.arrays, turned[0], *qt.arrays, turned[1], g.num_rows, adj=(pt, gt, qt)
    )
    # A sum, though no two slots meet: the spare slots of compiled code all point at the first and hold 0.
    return value.new_zeros(p.num_edges).index_add(0, p.transpose_perm, value)


def _sampled_forward(
    p_indptr: Tensor,
    p_indices: Tensor,
    g_indptr: Tensor,
    g_indices: Tensor,
    g_value: Tensor,
    q_indptr: Tensor,
    q_indices: Tensor,
    q_value: Tensor,
    num_cols: int,
) -> Tensor:
    g, q = (g_indptr, g_indices, g_value), (q_indptr, q_indices, q_value)
    out: Tensor = dispatch("spgemm_sampled", p_indptr, p_indices, *g, *q, num_cols)
    return out


def _sampled_fake(
    p_indptr: Tensor,
    p_indices: Tensor,
    g_indptr: Tensor,
    g_indices: Tensor,
    g_value: Tensor,
    q_indptr: Tensor,
    q_indices: Tensor,
    q_value: Tensor,
    num_cols: int,
) -> Tensor:
    return g_value.new_empty(p_indices.shape[0])


def _sampled_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.num_cols = inputs[8]
    ctx.save_for_backward(*inputs[:8])


def _sampled_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    p_indptr, p_indices, g_indptr, g_indices, g_value, q_indptr, q_indices, q_value = ctx.saved_tensors
    p, g, q = getattr(ctx, "adj", None) or (
        CSR.trusted(p_indptr, p_indices, q_indptr.shape[0] - 1),
        CSR.trusted(g_indptr, g_indices, ctx.num_cols),
        CSR.trusted(q_indptr, q_indices, ctx.num_cols),
    )
    need = ctx.needs_input_grad[-9:]
    d_g = d_q = None
    if need[4]:
        d_g = _values(*p.arrays, grad, *q.arrays, q_value, *g.arrays, q.num_cols, adj=(p, q, g))
    if need[7]:
        d_q = _sampled_transposed(q, g, g_value, p, grad)
    return None, None, None, None, d_g, None, None, d_q, None


#: ``sum_j G_ij Q_kj`` at the places (i, k) of P, for P ``[R, K]``, G ``[R, C]`` of sorted and unique columns
#: and Q ``[K, C]``.
_sampled = define(
    "spgemm_sampled",
    "(Tensor p_indptr, Tensor p_indices, Tensor g_indptr, Tensor g_indices, Tensor g_value, Tensor q_indptr,"
    " Tensor q_indices, Tensor q_value, SymInt num_cols) -> Tensor",
    _sampled_forward,
    _sampled_fake,
    _sampled_setup,
    _sampled_backward,
)
