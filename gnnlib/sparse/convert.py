"""``as_csr``: the one door through which every graph format enters the core."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias, TypeGuard

import torch
from torch import Tensor

from gnnlib.sparse.autograd import bare, traced
from gnnlib.sparse.cache import structures
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops import build

#: What ``as_csr`` takes: an ``edge_index``, a torch sparse matrix, a PyG ``EdgeIndex`` or ``SparseTensor``, a
#: scipy matrix or a CSR.
Adj: TypeAlias = Any
Size: TypeAlias = "int | tuple[int | None, int | None] | list[int | None] | None"

_COMPRESSED = (torch.sparse_csr, torch.sparse_csc)


def as_csr(adj: Adj, size: Size = None, *, num_rows: int | None = None, num_cols: int | None = None) -> CSR:
    r"""The graph as a CSR, sorted once and kept while its tensor lives unchanged.

    Args:
        adj: an ``edge_index`` ``[2, E]`` of any integer dtype (row 0 sources, row 1 targets; unsorted,
            duplicates and self-loops kept), a torch sparse CSR, COO or CSC matrix or a scipy matrix in
            PyG's ``adj_t`` sense (row = target), a PyG ``EdgeIndex`` or ``SparseTensor``, or a CSR.
        size: ``(sources, targets)`` as in PyG, or one number for both; an unknown one is None.
        num_rows: number of targets; overrides ``size[1]``.
        num_cols: number of sources; overrides ``size[0]``.

    Shapes: ``[2, E]`` -> CSR ``[num_rows, num_cols]`` with E slots. Sizes that nobody gives are the largest
        node number plus one, the same for both sides when neither is given.
    Cost: a counting sort, O(R + C + E), the first time; a look-up afterwards.
    Raises: TypeError for an ``edge_index`` that is no integer tensor or an unknown format; ValueError for
        a wrong shape or a node number outside the graph.
    """
    cols, rows = _sizes(size, num_rows, num_cols)
    if isinstance(adj, CSR):
        return _fits(adj, rows, cols)
    if isinstance(adj, Tensor):
        if is_edge_index(adj):
            return _from_edge_index(_plain(adj), *_known(adj, rows, cols))
        return _fits(_from_torch_sparse(adj), rows, cols)
    if hasattr(adj, "sparse_sizes") and hasattr(adj, "csr"):
        return _fits(_from_sparse_tensor(adj), rows, cols)
    if hasattr(adj, "tocsr") and hasattr(adj, "nnz"):
        return _fits(_from_scipy(adj), rows, cols)
    raise TypeError(
        f"as_csr: got {type(adj).__name__}; pass an edge_index [2, E], a torch, scipy or torch_sparse "
        "sparse matrix (row = target), or a CSR"
    )


def _sizes(size: Size, num_rows: int | None, num_cols: int | None) -> tuple[int | None, int | None]:
    if size is None:
        src, dst = None, None
    elif isinstance(size, (tuple, list)):
        if len(size) != 2:
            raise ValueError(f"as_csr: size has {len(size)} entries; pass (sources, targets)")
        src, dst = size
    else:
        src = dst = size
    return (src if num_cols is None else num_cols), (dst if num_rows is None else num_rows)


def default_rows(adj: Adj, num_cols: int) -> int | None:
    """Targets of a graph with ``num_cols`` sources when nobody names them.

    An edge_index then runs among one set of nodes; a matrix knows its own number (None).
    """
    return num_cols if is_edge_index(adj) else None


def is_edge_index(adj: Adj) -> TypeGuard[Tensor]:
    """Whether a graph came as a list of its edges, PyG's ``EdgeIndex`` among them, and not as a matrix."""
    return isinstance(adj, Tensor) and adj.layout is torch.strided


def _fits(adj: CSR, rows: int | None, cols: int | None) -> CSR:
    if (rows is not None and rows != adj.num_rows) or (cols is not None and cols != adj.num_cols):
        raise ValueError(
            f"as_csr: the matrix has {adj.num_rows} rows (targets) and {adj.num_cols} columns (sources) but "
            f"{rows} targets and {cols} sources were expected; pass the features of the graph's own nodes"
        )
    return adj


# -- edge lists ---------------------------------------------------------------------------------------


def _plain(adj: Tensor) -> Tensor:
    """The tensor under PyG's EdgeIndex; any other one as it is."""
    pyg = sys.modules.get("torch_geometric.edge_index")
    if pyg is not None and isinstance(adj, pyg.EdgeIndex):
        plain: Tensor = adj.as_tensor()
        return plain
    return adj


def _known(adj: Tensor, rows: int | None, cols: int | None) -> tuple[int | None, int | None]:
    """Sizes completed by those that a PyG EdgeIndex carries."""
    if _plain(adj) is adj:
        return rows, cols
    src, dst = adj.sparse_size()  # type: ignore[attr-defined]
    return (dst if rows is None else rows), (src if cols is None else cols)


def given_weight(adj: CSR, weight: Tensor | None, x: Tensor) -> Tensor | None:
    """The weights of a product with a matrix that the caller gave: its values, where there are no others."""
    if weight is not None or adj.value is None or not x.is_floating_point():
        return weight
    return adj.value.to(x.dtype)


def check_edge_index(edge_index: Tensor, who: str = "as_csr") -> None:
    """Raise TypeError or ValueError for what is no list of edges."""
    if edge_index.is_floating_point() or edge_index.is_complex() or edge_index.dtype == torch.bool:
        raise TypeError(
            f"{who}: edge_index is {edge_index.dtype}; pass node numbers as integers (torch.int64)"
        )
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(
            f"{who}: edge_index has shape {list(edge_index.shape)}; expected [2, E] with sources in row 0 "
            "and targets in row 1"
            + ("; transpose it" if edge_index.dim() == 2 and edge_index.shape[1] == 2 else "")
        )


def check_numbers(
    what: str,
    numbers: Tensor,
    bound: int,
    name: str,
    of: str = "graph",
    advice: str = "check the edges or pass the features of all nodes",
) -> None:
    """Raise ValueError for numbers outside 0 to bound - 1; on a CPU, as reading waits for another device.

    ``what`` begins the message, with who reads which argument; ``name`` is what the numbers are of.
    """
    if numbers.device.type != "cpu" or not numbers.numel():
        return
    low, high = (int(v) for v in numbers.aminmax())
    if low < 0 or high >= bound:
        raise ValueError(
            f"{what} names {name} {low if low < 0 else high} but the {of} has {bound} {name}s, "
            f"0 to {bound - 1}; {advice}"
        )


def _from_edge_index(edge_index: Tensor, rows: int | None, cols: int | None) -> CSR:
    check_edge_index(edge_index)
    if traced(edge_index):
        if rows is None or cols is None:
            raise ValueError("as_csr: compiled code needs the number of nodes; pass size=(sources, targets)")
        indptr, indices, perm = _edge_index_to_csr(edge_index, rows, cols)
        return CSR.trusted(indptr, indices, cols, perm)
    edge_index = bare(edge_index)
    return structures.get(edge_index, (edge_index,), (rows, cols), lambda: _sort(edge_index, rows, cols))


def _sort(edge_index: Tensor, rows: int | None, cols: int | None) -> CSR:
    edge_index = edge_index.to(torch.int64)  # short and unsigned types have neither all ops nor differences
    if rows is None or cols is None:
        most = int(edge_index.max()) + 1 if edge_index.numel() else 0
        if rows is None and cols is None:
            rows = cols = most
        elif rows is None:
            rows = int(edge_index[1].max()) + 1 if edge_index.numel() else 0
        else:
            cols = int(edge_index[0].max()) + 1 if edge_index.numel() else 0
    assert rows is not None
    assert cols is not None
    if rows < 0 or cols < 0:
        raise ValueError(f"as_csr: size is ({cols}, {rows}); pass the numbers of source and target nodes")
    check_numbers("as_csr: edge_index", edge_index[0], cols, "source node")
    check_numbers("as_csr: edge_index", edge_index[1], rows, "target node")
    indptr, indices, perm = build.coo_to_csr(edge_index[1], edge_index[0], rows, cols)
    in_order = edge_index.device.type == "cpu" and bool((edge_index[1].diff() >= 0).all())
    return CSR.trusted(indptr, indices, cols, None if in_order else perm)


def _op(edge_index: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    # Sorted anew at each call: compiled code reuses buffers without telling torch, so the cache cannot know.
    adj = _sort(edge_index, num_rows, num_cols)
    perm = torch.arange(adj.num_edges, device=adj.device) if adj.perm is None else adj.perm
    return adj.indptr, adj.indices, perm


def _fake(edge_index: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    num_edges = edge_index.shape[1]
    return (
        edge_index.new_empty(num_rows + 1, dtype=torch.int64),
        edge_index.new_empty(num_edges, dtype=build.index_dtype(num_cols)),
        edge_index.new_empty(num_edges, dtype=torch.int64),
    )


_edge_index_to_csr = torch.library.custom_op(
    "gnnlib::edge_index_to_csr",
    _op,
    mutates_args=(),
    schema="(Tensor edge_index, SymInt num_rows, SymInt num_cols) -> (Tensor, Tensor, Tensor)",
)
_edge_index_to_csr.register_fake(_fake)


# -- matrices -----------------------------------------------------------------------------------------


def _from_torch_sparse(adj: Tensor) -> CSR:
    if adj.dim() != 2:
        raise ValueError(f"as_csr: the sparse matrix has {adj.dim()} dimensions; expected 2")
    if adj.layout is torch.sparse_coo and adj.dense_dim():
        raise ValueError(
            f"as_csr: the matrix has {adj.sparse_dim()} sparse and {adj.dense_dim()} dense dimensions; "
            "expected 2 and 0; make it with .to_sparse()"
        )
    rows, cols = adj.shape
    if adj.layout is torch.sparse_coo:
        if adj.requires_grad and not adj.is_coalesced():
            raise ValueError(
                "as_csr: the COO matrix needs a gradient but torch gives none to each of several "
                "equal entries; call .coalesce() first"
            )
        index, value = adj._indices(), adj.values() if adj.is_coalesced() else adj._values()
        base = structures.get(
            adj, (index,), None, lambda: _sort(torch.stack([index[1], index[0]]), rows, cols)
        )
        return _with_value(base, value)
    if adj.layout not in _COMPRESSED:
        raise TypeError(f"as_csr: layout {adj.layout} is not taken; convert it with .to_sparse_csr()")
    by_row = adj.layout is torch.sparse_csr
    indptr = adj.crow_indices() if by_row else adj.ccol_indices()
    indices = adj.col_indices() if by_row else adj.row_indices()
    base = structures.get(
        adj,
        (indptr, indices),
        None,
        lambda: CSR(indptr.clone(), indices.clone(), cols if by_row else rows),
    )
    return _with_value(base if by_row else base.transposed, adj.values())


def _with_value(adj: CSR, value: Tensor) -> CSR:
    if value.dim() != 1:
        raise ValueError(f"as_csr: the matrix has values of shape {list(value.shape[1:])}; expected scalars")
    return adj.with_value(value)


def _from_sparse_tensor(adj: Any) -> CSR:
    indptr, indices, value = adj.csr()
    base = CSR(indptr.clone(), indices.clone(), int(adj.sparse_sizes()[1]))
    return base if value is None else _with_value(base, value)


def _from_scipy(adj: Any) -> CSR:
    matrix = adj.tocsr()
    # Copies: a scipy matrix may be changed afterwards.
    indptr = torch.from_numpy(matrix.indptr.astype("int64"))
    indices = torch.from_numpy(matrix.indices.astype("int64"))
    value = torch.from_numpy(matrix.data.copy())
    if not value.is_floating_point():
        value = value.to(torch.get_default_dtype())
    return _with_value(CSR(indptr, indices, matrix.shape[1]), value)
