"""Pooling: coarser graphs from graphs, one file for each method or family."""

from gnnlib.nn.pool.asap import ASAPooling
from gnnlib.nn.pool.base import Pooling
from gnnlib.nn.pool.edge import EdgePooling, GraclusPooling, graclus
from gnnlib.nn.pool.kmis import KMISPooling
from gnnlib.nn.pool.ndp import NDPPooling
from gnnlib.nn.pool.outputs import ConnectOutput, PoolingOutput, SelectOutput, SoftSelectOutput
from gnnlib.nn.pool.soft import DiffPool, DMoNPooling, MinCutPooling
from gnnlib.nn.pool.topk import SAGPooling, TopKPooling

__all__ = [
    "ASAPooling",
    "ConnectOutput",
    "DiffPool",
    "DMoNPooling",
    "EdgePooling",
    "graclus",
    "GraclusPooling",
    "KMISPooling",
    "MinCutPooling",
    "NDPPooling",
    "Pooling",
    "PoolingOutput",
    "SAGPooling",
    "SelectOutput",
    "SoftSelectOutput",
    "TopKPooling",
]
