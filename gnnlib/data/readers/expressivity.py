"""Families of graphs that message passing cannot tell apart, as graph tasks."""

from __future__ import annotations

from collections.abc import Callable

import networkx
import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.datasets import GNNBenchmarkDataset

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import Split, fold_splits
from gnnlib.data.stage import staged
from gnnlib.names import choose

_CSL_FOLDS, _EXP_FOLDS = 5, 10


def read(source: Source) -> Parts:
    """Open the family that the card's option ``family`` names: ``csl``, ``exp`` or ``graph6``."""
    return FAMILIES[choose("family", str(source.card.options["family"]), FAMILIES)](source)


def _csl(source: Source) -> Parts:
    """Circular skip links: pickled scipy matrices and their classes, in five stratified folds 3 : 1 : 1."""
    dataset = staged(
        source.card,
        source.files,
        source.digests,
        "CSL",
        lambda root: GNNBenchmarkDataset(str(root), "CSL"),
    )
    graphs = [_alike(int(g.num_nodes), g.edge_index, int(g.y)) for g in dataset]
    splits = fold_splits(np.array([int(g.y) for g in graphs]), _CSL_FOLDS)
    return Parts(Graphs(graphs, source.card.name), splits, [f"fold-{k}" for k in range(len(splits))])


def _exp(source: Source) -> Parts:
    """Pairs of formulas, graphs 2i and 2i + 1, of which one can be satisfied; a fold holds whole pairs.

    The file has ``x``, ``edge_index``, ``num_nodes``, ``num_edges`` and ``y``, numbers local to a graph.
    """
    (path,) = source.files.files.values()
    with np.load(path, allow_pickle=False) as content:
        arrays = {key: torch.from_numpy(content[key]) for key in content.files}
    xs = torch.split(arrays["x"].float(), arrays["num_nodes"].tolist())
    edges = torch.split(arrays["edge_index"].long(), arrays["num_edges"].tolist(), dim=1)
    y = arrays["y"].long().reshape(-1)
    if y.numel() % 2 or bool((y[0::2] == y[1::2]).any()):
        raise ValueError(
            f"dataset '{source.card.name}': graphs 2i and 2i + 1 should have opposite labels; the file is "
            f"not that of the card: fetch it again from {source.card.source}"
        )
    graphs = [Data(x=x, edge_index=e, y=label) for x, e, label in zip(xs, edges, y.view(-1, 1), strict=True)]
    pairs = fold_splits(np.zeros(y.numel() // 2), _EXP_FOLDS)
    splits = [Split(_both(s.train), _both(s.val), _both(s.test)) for s in pairs]
    return Parts(Graphs(graphs, source.card.name), splits, [f"fold-{k}" for k in range(len(splits))])


def _graph6(source: Source) -> Parts:
    """Graphs of one family, each a class of its own; all of them are trained on and tested."""
    (path,) = source.files.files.values()
    found = networkx.read_graph6(path)
    graphs = []
    for number, g in enumerate(found if isinstance(found, list) else [found]):
        one_way = torch.tensor(list(g.edges), dtype=torch.int64).reshape(-1, 2).t()
        graphs.append(_alike(len(g), torch.cat([one_way, one_way.flip(0)], 1), number))
    every = torch.arange(len(graphs))
    return Parts(Graphs(graphs, source.card.name), [Split(every, every, every)], ["fit"])


def _alike(count: int, edge_index: torch.Tensor, label: int) -> Data:
    """A graph whose nodes all have the feature 1."""
    return Data(x=torch.ones(count, 1), edge_index=edge_index, y=torch.tensor([label]))


def _both(pairs: torch.Tensor) -> torch.Tensor:
    """The graphs of these pairs."""
    return torch.stack([2 * pairs, 2 * pairs + 1], 1).view(-1)


FAMILIES: dict[str, Callable[[Source], Parts]] = {"csl": _csl, "exp": _exp, "graph6": _graph6}
