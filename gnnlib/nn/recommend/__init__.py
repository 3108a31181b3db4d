"""Layers of recommendation: filters over the graphs that interactions make of users and of items."""

from gnnlib.nn.recommend.basis import interaction_basis
from gnnlib.nn.recommend.lcfn import LCFNConv

__all__ = ["interaction_basis", "LCFNConv"]
