"""Graphs of the node embedding literature: a .mat with labels, a list of edges, or a balanced tree."""

from __future__ import annotations

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.utils import coalesce, to_undirected

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import Split


def read(source: Source) -> Parts:
    """Open ``network`` and ``group`` of a .mat file, or pairs of node numbers in a text file, or make a tree.

    Options: ``directed``, whether an edge of a list goes one way; ``labels``, the file with a node and its
    class a line; of a card without files, ``branching`` and ``depth`` of a balanced tree. A .mat file holds
    both directions; weights that are not all 1 become ``edge_weight``. The one split is a seeded half of the
    nodes, as the protocol draws its own.
    """
    options = source.card.options
    if "branching" in options:
        data = _tree(int(options["branching"]), int(options["depth"]))
    else:
        paths = source.files.files
        first = next(iter(paths))
        data = _mat(paths[first]) if first.endswith(".mat") else _edges(source, paths[first])
    order = torch.from_numpy(np.random.RandomState(0).permutation(data.num_nodes))
    half = data.num_nodes // 2
    split = Split(order[:half].sort().values, order[:0], order[half:].sort().values)
    labels = data.get("y")
    width = 0 if labels is None else int(labels.max()) + 1 if labels.dim() == 1 else labels.size(1)
    return Parts(Graphs([data], source.card.name), [split], ["half"], num_outputs=width)


def _tree(branching: int, depth: int) -> Data:
    import networkx

    tree = networkx.balanced_tree(branching, depth)
    edges = torch.tensor(list(tree.edges), dtype=torch.int64).t()
    data = Data(edge_index=to_undirected(edges, num_nodes=len(tree)))
    data.num_nodes = len(tree)
    return data


def _mat(path: object) -> Data:
    from scipy.io import loadmat

    content = loadmat(str(path))
    network = content["network"].tocoo()
    edge_index = torch.from_numpy(np.stack([network.row, network.col]).astype(np.int64))
    weight = torch.from_numpy(network.data.astype(np.float32))
    edge_index, weight = coalesce(edge_index, weight, num_nodes=network.shape[0])
    data = Data(edge_index=edge_index, y=torch.from_numpy(content["group"].toarray() > 0).float())
    data.num_nodes = network.shape[0]
    if not bool((weight == 1).all()):
        data.edge_weight = weight
    return data


def _edges(source: Source, path: object) -> Data:
    pairs = torch.from_numpy(np.loadtxt(str(path), dtype=np.int64, ndmin=2)[:, :2].T.copy())
    options = source.card.options
    num_nodes = int(pairs.max()) + 1
    y = None
    if "labels" in options:
        table = np.loadtxt(str(source.files.files[options["labels"]]), dtype=np.int64, ndmin=2)
        num_nodes = max(num_nodes, int(table[:, 0].max()) + 1)
        y = torch.zeros(num_nodes, dtype=torch.int64)
        y[table[:, 0]] = torch.from_numpy(np.unique(table[:, 1], return_inverse=True)[1].astype(np.int64))
    merge = coalesce if options.get("directed", False) else to_undirected
    data = Data(edge_index=merge(pairs, num_nodes=num_nodes))
    data.num_nodes = num_nodes
    if y is not None:
        data.y = y
    return data
