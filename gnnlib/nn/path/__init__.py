"""Layers that read paths instead of neighbours."""

from gnnlib.nn.path.conv import PathConv, PathNN
from gnnlib.nn.path.encoders import PathCNN, PathGRU, PathLSTM, PathSum, PathTransformer

__all__ = ["PathCNN", "PathConv", "PathGRU", "PathLSTM", "PathNN", "PathSum", "PathTransformer"]
