"""Attention on a GPU: a program owns a few rows with all their heads and passes over their edges once."""

from gnnlib.sparse.ops.edge_attention.gpu import additive, backward, forward

__all__ = ["additive", "backward", "forward"]  # their kernels register themselves
