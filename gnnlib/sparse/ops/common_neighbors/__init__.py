"""Common neighbours of node pairs, and what is left of rows without them."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.autograd import define, traced
from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.csr import CSR, row_of_slot
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.registry import dispatch

__all__ = ["common_neighbors"]


def common_neighbors(adj: Adj, pairs: Tensor) -> CSR:
    r"""List the nodes that point at both ends of each pair.

    .. math:: \mathrm{out}_p = \{\, k : k \to u_p \,\wedge\, k \to v_p \,\}

    Args:
        adj: the graph, in any form that :func:`as_csr` takes; values are not looked at. The neighbours of a
            node are its sources, the entries of its row.
        pairs: u in the first row and v in the second, in any order; u = v lists all neighbours of u.

    Shapes: adj ``[R, C]``, pairs ``[2, P]`` of integers -> CSR ``[P, C]`` without values, columns sorted and
        unique in each row: an edge that occurs twice counts once. ``out.degree`` is the number of common
        neighbours; ``spmm(out, x)`` sums their features. No gradient.
    Cost: the rows are sorted once for a graph and kept; then the shorter row of each pair, times a logarithm
        where the other is much longer. Compiled code needs
        ``torch._dynamo.config.capture_dynamic_output_shape_ops``, since the number of results is not known
        before.
    Raises: TypeError for pairs that are no integers; ValueError for a wrong shape, another device, or a node
        outside the graph.
    """
    csr = as_csr(adj)
    _check(csr, pairs)
    indptr, indices = _common(*sorted_rows(csr).arrays, pairs.to(torch.int64), csr.num_cols)
    return CSR.trusted(indptr, indices, csr.num_cols)


def rows_without(adj: CSR, nodes: Tensor, taken: CSR) -> CSR:
    r"""The rows of some nodes less what is taken out of each.

    .. math:: \mathrm{out}_p = N(\mathrm{nodes}_p) \setminus \mathrm{taken}_p

    Args:
        adj: rows of :func:`sorted_rows`.
        nodes: in any order, and as often as they are named.
        taken: of each of these rows some entries, sorted, as :func:`common_neighbors` lists them.

    Shapes: adj ``[R, C]``, nodes ``[P]``, taken ``[P, C]`` -> CSR ``[P, C]`` without values, columns sorted.
    Cost: O(T) for the T entries of all rows.
    """
    indptr, indices = _without(*adj.arrays, nodes.to(torch.int64), *taken.arrays)
    return CSR.trusted(indptr, indices, adj.num_cols)


def _check(adj: CSR, pairs: Tensor) -> None:
    if pairs.is_floating_point() or pairs.is_complex() or pairs.dtype == torch.bool:
        raise TypeError(
            f"common_neighbors: pairs is {pairs.dtype}; pass node numbers as integers (torch.int64)"
        )
    if pairs.dim() != 2 or pairs.shape[0] != 2:
        raise ValueError(
            f"common_neighbors: pairs has shape {list(pairs.shape)}; expected [2, P], one pair a column"
            + ("; transpose it" if pairs.dim() == 2 and pairs.shape[1] == 2 else "")
        )
    if pairs.device != adj.device:
        raise ValueError(
            f"common_neighbors: pairs is on {pairs.device} but adj is on {adj.device}; move one of them"
        )
    if pairs.numel() and pairs.device.type == "cpu" and not traced(pairs):
        low, high = (int(v) for v in pairs.aminmax())
        if low < 0 or high >= adj.num_rows:
            raise ValueError(
                f"common_neighbors: pairs names node {low if low < 0 else high} but the graph has "
                f"{adj.num_rows} nodes, 0 to {adj.num_rows - 1}; give the graph all its nodes, for example "
                "with as_csr(edge_index, num_nodes)"
            )


def sorted_rows(adj: CSR) -> CSR:
    """The structure with sorted and unique columns in each row, kept with the graph."""
    return adj.derive("sorted_rows", _sorted)


def _sorted(adj: CSR) -> CSR:
    if not traced(adj.indptr) and _ascending(adj):
        return CSR.trusted(*adj.arrays, adj.num_cols)
    indptr, indices = _sorted_rows(*adj.arrays, adj.num_cols)
    return CSR.trusted(indptr, indices, adj.num_cols)


def _ascending(adj: CSR) -> bool:
    """Whether the columns of each row are sorted and unique as they stand."""
    indptr, indices = adj.arrays
    if indices.dtype != index_dtype(adj.num_cols) or int(indptr[-1]) != indices.numel():
        return False
    above = torch.ones(indices.numel() + 1, dtype=torch.bool, device=indices.device)
    torch.gt(indices[1:], indices[:-1], out=above[1:-1])
    above[indptr] = True  # a row may begin anywhere
    return bool(above.all())


def _sorted_forward(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    num_rows = indptr.shape[0] - 1
    # Transposing is a stable counting sort, so twice of it sorts the columns.
    turned = dispatch("csr_transpose", indptr, indices, num_cols)
    indptr, indices, _ = dispatch("csr_transpose", turned[0], turned[1], num_rows)
    used = int(indptr[-1])
    row, col = row_of_slot(indptr, used), indices[:used]
    first = torch.ones(used, dtype=torch.bool, device=col.device)
    first[1:] = (col[1:] != col[:-1]) | (row[1:] != row[:-1])
    kept = torch.cat([first.new_zeros(1, dtype=torch.int64), first.cumsum(0)])
    return kept.index_select(0, indptr), col[first].to(index_dtype(num_cols))


def _sorted_fake(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    return torch.empty_like(indptr), indices.new_empty(size, dtype=index_dtype(num_cols))


_sorted_rows = define(
    "sorted_rows",
    "(Tensor indptr, Tensor indices, SymInt num_cols) -> (Tensor, Tensor)",
    _sorted_forward,
    _sorted_fake,
)


def _forward(indptr: Tensor, indices: Tensor, pairs: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    out_indptr, out_indices = dispatch("common_neighbors", indptr, indices, pairs, num_cols)
    return out_indptr, out_indices


def _fake(indptr: Tensor, indices: Tensor, pairs: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    return indptr.new_empty(pairs.shape[1] + 1), indices.new_empty(size)


#: The op takes rows of sorted and unique columns.
_common = define(
    "common_neighbors",
    "(Tensor indptr, Tensor indices, Tensor pairs, SymInt num_cols) -> (Tensor, Tensor)",
    _forward,
    _fake,
)


def _without_forward(
    indptr: Tensor, indices: Tensor, nodes: Tensor, taken_indptr: Tensor, taken: Tensor
) -> tuple[Tensor, Tensor]:
    out_indptr, out_indices = dispatch("rows_without", indptr, indices, nodes, taken_indptr, taken)
    return out_indptr, out_indices


def _without_fake(
    indptr: Tensor, indices: Tensor, nodes: Tensor, taken_indptr: Tensor, taken: Tensor
) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    return torch.empty_like(taken_indptr), indices.new_empty(size)


_without = define(
    "rows_without",
    "(Tensor indptr, Tensor indices, Tensor nodes, Tensor taken_indptr, Tensor taken) -> (Tensor, Tensor)",
    _without_forward,
    _without_fake,
)
