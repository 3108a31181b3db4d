"""Layers of topological structures: sheaves on graphs."""

from gnnlib.nn.topo.nsd import NSDConv
from gnnlib.nn.topo.sheaf import SheafLaplacian, sheaf_laplacian
from gnnlib.nn.topo.sheaf_conv import SheafConv

__all__ = [
    "NSDConv",
    "sheaf_laplacian",
    "SheafConv",
    "SheafLaplacian",
]
