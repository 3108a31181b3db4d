"""Layers on the sparse core: PyG's call, defaults and ``state_dict`` keys."""

from gnnlib.nn.conv import APPNP, GATConv, GCNConv, GINConv, GraphConv, SAGEConv, SGConv
from gnnlib.nn.jk import JumpingKnowledge
from gnnlib.nn.linear import Linear
from gnnlib.nn.mlp import MLP
from gnnlib.nn.readout import global_add_pool, global_max_pool, global_mean_pool

__all__ = [
    "APPNP",
    "GATConv",
    "GCNConv",
    "GINConv",
    "global_add_pool",
    "global_max_pool",
    "global_mean_pool",
    "GraphConv",
    "JumpingKnowledge",
    "Linear",
    "MLP",
    "SAGEConv",
    "SGConv",
]
