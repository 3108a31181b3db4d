"""Encodings of nodes: of their place in the graph, by walks and eigenvectors, and of sets of categories."""

from gnnlib.nn.encode.category import CatEncoder, id_lists
from gnnlib.nn.encode.laplacian import LaplacianPE, laplacian_encoding
from gnnlib.nn.encode.walk import RandomWalkPE, random_walk_encoding

__all__ = [
    "CatEncoder",
    "id_lists",
    "laplacian_encoding",
    "LaplacianPE",
    "random_walk_encoding",
    "RandomWalkPE",
]
