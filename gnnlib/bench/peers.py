"""Who is measured against whom: the forms a graph takes in each library, and each way to sum neighbours.

A peer that cannot run raises :class:`UnavailableError` with its reason. Converting the graph is set-up, done
before the clock starts, for every contender alike; PyG's own conversion merges duplicate edges, so the
forms here are built from sorted rows that keep them.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gnnlib.bench import yardstick
from gnnlib.bench.graphs import Graph, UnavailableError

Aggregate = Callable[[Tensor], Tensor]
Kind = Literal["ours", "pyg", "yardstick", "other"]


@dataclass(frozen=True)
class Peer:
    """A contender: ``kind`` says which ratio it enters (``pyg``: PyG's default or a faster form of it)."""

    name: str
    kind: Kind
    title: str


PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", "ours", "gnnlib"),
        Peer("pyg", "pyg", "PyG, edge_index"),
        Peer("pyg-csr", "pyg", "PyG, torch CSR"),
        Peer("pyg-csr-cached", "pyg", "PyG, torch CSR, cached"),
        Peer("pyg-cached", "pyg", "PyG, edge_index, cached"),
        Peer("pyg-edgeindex", "pyg", "PyG, EdgeIndex by column"),
        Peer("pyg-compiled", "pyg", "PyG, edge_index, torch.compile"),
        Peer("torch-reduce", "pyg", "torch.sparse.mm(reduce=)"),
        Peer("torch-scatter", "pyg", "torch-scatter"),
        Peer("scipy", "other", "scipy CSR, one thread"),
        Peer("torch-sparse", "other", "torch-sparse"),
        Peer("pecanpy", "other", "PecanPy, SparseOTF"),
        Peer("gensim", "other", "gensim, Word2Vec"),
        Peer("numpy", "other", "vectorised numpy"),
        Peer("avx2", "yardstick", "AVX2 loop by hand"),
        Peer("cusparse", "yardstick", "cuSPARSE by torch CSR @ x"),
    )
}
#: The peer that the first ratio of every case is measured against.
DEFAULT = "pyg"


def sorted_rows(graph: Graph) -> tuple[Tensor, Tensor]:
    """``indptr`` ``[N+1]`` and ``indices`` ``[E]``, int64, sources in ascending order, duplicates kept."""
    src, dst = graph.edge_index
    order = torch.argsort(dst * graph.num_nodes + src, stable=True)
    degree = torch.bincount(dst, minlength=graph.num_nodes)
    return torch.cat([degree.new_zeros(1), degree.cumsum(0)]), src[order]


def torch_csr(graph: Graph, dtype: torch.dtype = torch.float32) -> Tensor:
    """The graph as PyG's ``adj_t``: a torch CSR tensor, row = target."""
    indptr, indices = sorted_rows(graph)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
        return torch.sparse_csr_tensor(
            indptr,
            indices,
            torch.ones(graph.num_edges, dtype=dtype, device=graph.device),
            (graph.num_nodes, graph.num_nodes),
            check_invariants=False,
        )


def edge_index_by_column(graph: Graph) -> Any:
    """The graph as PyG's ``EdgeIndex``, sorted by column, with its caches filled."""
    from torch_geometric import EdgeIndex

    indptr, indices = sorted_rows(graph)
    row = torch.repeat_interleave(torch.arange(graph.num_nodes, device=graph.device), indptr.diff())
    index = EdgeIndex(
        torch.stack([indices, row]), sparse_size=(graph.num_nodes, graph.num_nodes), sort_order="col"
    )
    return index.fill_cache_()


#: What a layer of each peer takes in place of ``edge_index``.
FORMS: dict[str, Callable[[Graph], Any]] = {
    "ours": lambda graph: graph.edge_index,
    "pyg": lambda graph: graph.edge_index,
    "pyg-cached": lambda graph: graph.edge_index,
    "pyg-compiled": lambda graph: graph.edge_index,
    "pyg-csr": torch_csr,
    "pyg-csr-cached": torch_csr,
    "pyg-edgeindex": edge_index_by_column,
}


def _ours(graph: Graph, reduce: Any, width: int) -> Aggregate:
    from gnnlib.sparse import as_csr, spmm

    adj = as_csr(graph.edge_index, graph.num_nodes)
    return lambda x: spmm(adj, x, reduce=reduce)


def _pyg(graph: Graph, reduce: str, width: int) -> Aggregate:
    from torch_geometric.nn import SimpleConv

    conv, edge_index = SimpleConv(aggr=reduce), graph.edge_index
    return lambda x: conv(x, edge_index)


def _pyg_compiled(graph: Graph, reduce: str, width: int) -> Aggregate:
    from torch_geometric.nn import SimpleConv

    conv, edge_index = SimpleConv(aggr=reduce), graph.edge_index
    compiled: Aggregate = torch.compile(lambda x: conv(x, edge_index))
    return compiled


def _cusparse(graph: Graph, reduce: str, width: int) -> Aggregate:
    if reduce != "sum":
        raise UnavailableError("cuSPARSE takes sums only")
    adj = {dtype: torch_csr(graph, dtype) for dtype in (torch.float32, torch.bfloat16)}
    return lambda x: adj[x.dtype] @ x


def _pyg_csr(graph: Graph, reduce: str, width: int) -> Aggregate:
    from torch_geometric.nn import SimpleConv

    conv, adj_t = SimpleConv(aggr=reduce), torch_csr(graph)
    return lambda x: conv(x, adj_t)


def _pyg_edgeindex(graph: Graph, reduce: str, width: int) -> Aggregate:
    index = edge_index_by_column(graph)
    return lambda x: index.matmul(x, reduce=reduce, transpose=True)


def _torch_reduce(graph: Graph, reduce: str, width: int) -> Aggregate:
    if reduce != "sum":
        raise UnavailableError(f"is what pyg-csr runs for {reduce}")
    adj_t = torch_csr(graph)
    return lambda x: torch.sparse.mm(adj_t, x, "sum")


def _torch_scatter(graph: Graph, reduce: str, width: int) -> Aggregate:
    if importlib.util.find_spec("torch_scatter") is None:
        raise UnavailableError("'torch-scatter' is not installed; run: pip install 'gnnlib[scatter]'")
    from torch_scatter import segment_csr

    indptr, indices = sorted_rows(graph)
    return lambda x: segment_csr(x[indices], indptr, reduce=reduce)


def _scipy(graph: Graph, reduce: str, width: int) -> Aggregate:
    if reduce != "sum":
        raise UnavailableError(f"a scipy matrix has no {reduce} of neighbours")
    from scipy.sparse import csr_matrix

    indptr, indices = sorted_rows(graph)
    ones = torch.ones(graph.num_edges).numpy()
    adj = csr_matrix((ones, indices.int().numpy(), indptr.int().numpy()), shape=(graph.num_nodes,) * 2)
    return lambda x: torch.from_numpy(adj @ x.numpy())


def _avx2(graph: Graph, reduce: str, width: int) -> Aggregate:
    if reduce != "sum":
        raise UnavailableError("the hand-written loop takes sums only")
    return yardstick.neighbor_sum(*sorted_rows(graph), width)


#: ``(graph, reduce, F) -> (x [N, F] -> out [N, F])`` of each peer.
AGGREGATE: dict[str, Callable[[Graph, str, int], Aggregate]] = {
    "ours": _ours,
    "pyg": _pyg,
    "pyg-csr": _pyg_csr,
    "torch-reduce": _torch_reduce,
    "pyg-edgeindex": _pyg_edgeindex,
    "torch-scatter": _torch_scatter,
    "scipy": _scipy,
    "avx2": _avx2,
    "pyg-compiled": _pyg_compiled,
    "cusparse": _cusparse,
}
#: Those that run on a CUDA device; on a CPU all but the last two.
ON_CUDA = ("ours", "pyg", "pyg-csr", "pyg-compiled", "cusparse")
ON_CPU = tuple(name for name in AGGREGATE if name not in ("pyg-compiled", "cusparse"))
