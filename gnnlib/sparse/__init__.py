"""The sparse core: one graph structure and the ops that every layer runs on."""

from gnnlib.sparse.convert import as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.hypergraph import Hypergraph, as_hypergraph
from gnnlib.sparse.merge import Merged, merge_nodes
from gnnlib.sparse.ops.common_neighbors import common_neighbors
from gnnlib.sparse.ops.edge_attention import edge_attention
from gnnlib.sparse.ops.edge_matching import edge_matching
from gnnlib.sparse.ops.edge_relu_sum import edge_relu_sum
from gnnlib.sparse.ops.enumerate_paths import PathQuery, Paths, enumerate_paths
from gnnlib.sparse.ops.fps import fps
from gnnlib.sparse.ops.gated_sum import gated_sum
from gnnlib.sparse.ops.independent_set import independent_set
from gnnlib.sparse.ops.lstm_step import lstm_step
from gnnlib.sparse.ops.multi_reduce import multi_reduce
from gnnlib.sparse.ops.propagate import propagate
from gnnlib.sparse.ops.random_walk import random_walk
from gnnlib.sparse.ops.sample_budget import sample_budget
from gnnlib.sparse.ops.sample_neighbors import (
    HeteroSample,
    Sample,
    sample_hetero_neighbors,
    sample_neighbors,
)
from gnnlib.sparse.ops.scatter import scatter
from gnnlib.sparse.ops.sddmm import sddmm
from gnnlib.sparse.ops.segment_reduce import segment_reduce
from gnnlib.sparse.ops.segment_softmax import segment_softmax
from gnnlib.sparse.ops.spgemm import spgemm
from gnnlib.sparse.ops.spmm import spmm
from gnnlib.sparse.partition import metis
from gnnlib.sparse.points import knn, knn_graph, radius, radius_graph
from gnnlib.sparse.registry import use_backend

__all__ = [
    "as_csr",
    "as_hypergraph",
    "common_neighbors",
    "CSR",
    "edge_attention",
    "edge_matching",
    "edge_relu_sum",
    "enumerate_paths",
    "fps",
    "gated_sum",
    "HeteroSample",
    "Hypergraph",
    "independent_set",
    "knn",
    "knn_graph",
    "lstm_step",
    "merge_nodes",
    "Merged",
    "metis",
    "multi_reduce",
    "PathQuery",
    "Paths",
    "propagate",
    "radius",
    "radius_graph",
    "random_walk",
    "Sample",
    "sample_budget",
    "sample_hetero_neighbors",
    "sample_neighbors",
    "scatter",
    "sddmm",
    "segment_reduce",
    "segment_softmax",
    "spgemm",
    "spmm",
    "use_backend",
]
