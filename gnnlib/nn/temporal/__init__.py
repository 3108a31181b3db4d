"""Layers of series on the nodes of a graph: x is ``[*, T, N, F]``, one graph for all steps and batches."""

from gnnlib.nn.temporal.dcgru import DCGRUCell
from gnnlib.nn.temporal.diffusion import DiffusionConv, adaptive_adjacency
from gnnlib.nn.temporal.gated import GatedTemporalConv
from gnnlib.nn.temporal.stgcn import STGCNBlock
from gnnlib.nn.temporal.wavenet import GraphWaveNetLayer

__all__ = [
    "adaptive_adjacency",
    "DCGRUCell",
    "DiffusionConv",
    "GatedTemporalConv",
    "GraphWaveNetLayer",
    "STGCNBlock",
]
