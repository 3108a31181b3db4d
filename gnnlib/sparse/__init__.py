"""The sparse core: one graph structure and the ops that every layer runs on."""

from gnnlib.sparse.convert import as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.scatter import scatter
from gnnlib.sparse.ops.sddmm import sddmm
from gnnlib.sparse.ops.segment_reduce import segment_reduce
from gnnlib.sparse.ops.segment_softmax import segment_softmax
from gnnlib.sparse.ops.spmm import spmm
from gnnlib.sparse.registry import use_backend

__all__ = [
    "as_csr",
    "CSR",
    "scatter",
    "sddmm",
    "segment_reduce",
    "segment_softmax",
    "spmm",
    "use_backend",
]
