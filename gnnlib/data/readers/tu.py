"""The TU collection of small-graph datasets, by any of its names."""

from __future__ import annotations

from typing import Any

import torch
from torch_geometric.datasets import TUDataset
from torch_geometric.utils import degree

from gnnlib.data.loaded import Parts
from gnnlib.data.metrics import get_metric
from gnnlib.data.readers import Source
from gnnlib.data.splits import fold_splits
from gnnlib.data.stage import staged

_WIDEST = 512  # one-hot degrees up to here; a graph with a larger hub gets constant features instead


def read(source: Source) -> Parts:
    """Open a TU dataset with ten seeded folds.

    Nodes without features get their one-hot degree, or the constant 1 when some degree exceeds 512, as
    Xu et al. (How Powerful are Graph Neural Networks?, ICLR 2019, Sec. 7) feed the social networks.
    Option ``use_node_attr`` keeps the real attributes of each node beside its label.
    """
    name = str(source.card.options["tu_name"])
    attributes = bool(source.card.options.get("use_node_attr", False))
    dataset = staged(
        source.card,
        source.files,
        source.digests,
        name,
        lambda root: TUDataset(str(root), name, use_node_attr=attributes),
    )
    if dataset.num_node_features == 0:
        _structural_features(dataset)
    y = dataset._data.y
    splits = fold_splits(y.numpy())
    metric = get_metric("mae" if y.is_floating_point() else "accuracy")
    return Parts(dataset, splits, [f"fold-{k}" for k in range(len(splits))], metric)


def _structural_features(dataset: Any) -> None:
    sizes = torch.tensor([int(graph.num_nodes) for graph in dataset])
    starts = sizes.cumsum(0) - sizes
    data, slices = dataset._data, dataset.slices
    edges_of = slices["edge_index"].diff()
    target = data.edge_index[1] + torch.repeat_interleave(starts, edges_of)
    degrees = degree(target, int(sizes.sum()), dtype=torch.int64)
    largest = int(degrees.max())
    x = torch.nn.functional.one_hot(degrees).float() if largest <= _WIDEST else torch.ones(len(degrees), 1)
    dataset._data_list = None
    data.x = x
    slices["x"] = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
