"""Mini-batches of large graphs: PyG's loaders on the core's samplers, without pyg-lib or torch-sparse.

The classes have PyG's names, arguments and output. A batch's seed is made in the main process, so an epoch
has the same batches for any number of workers; ``seed=`` fixes them from run to run. The samplers are PyG
``BaseSampler``s and serve in PyG's own ``NodeLoader`` and ``LinkLoader`` too.
"""

from gnnlib.loader.cluster import ClusterData, ClusterLoader
from gnnlib.loader.enclosing import EnclosingSubgraphs
from gnnlib.loader.heart import heart_negatives
from gnnlib.loader.hgt import HGTLoader, HGTSampler
from gnnlib.loader.link import LinkNeighborLoader
from gnnlib.loader.negatives import structured_negatives, uniform_negatives
from gnnlib.loader.node import NeighborLoader
from gnnlib.loader.saint import (
    GraphSAINTEdgeSampler,
    GraphSAINTNodeSampler,
    GraphSAINTRandomWalkSampler,
    GraphSAINTSampler,
)
from gnnlib.loader.sampler import NeighborSampler
from gnnlib.loader.shadow import ShaDowKHopSampler
from gnnlib.sparse.partition import metis

__all__ = [
    "ClusterData",
    "ClusterLoader",
    "EnclosingSubgraphs",
    "GraphSAINTEdgeSampler",
    "GraphSAINTNodeSampler",
    "GraphSAINTRandomWalkSampler",
    "GraphSAINTSampler",
    "heart_negatives",
    "HGTLoader",
    "HGTSampler",
    "LinkNeighborLoader",
    "metis",
    "NeighborLoader",
    "NeighborSampler",
    "ShaDowKHopSampler",
    "structured_negatives",
    "uniform_negatives",
]
