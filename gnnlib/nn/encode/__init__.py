"""Encodings of a node's place in its graph: from random walks, and from eigenvectors of the Laplacian."""

from gnnlib.nn.encode.laplacian import LaplacianPE, laplacian_encoding
from gnnlib.nn.encode.walk import RandomWalkPE, random_walk_encoding

__all__ = ["laplacian_encoding", "LaplacianPE", "random_walk_encoding", "RandomWalkPE"]
