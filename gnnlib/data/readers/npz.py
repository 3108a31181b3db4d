"""Node datasets in one npz file of the heterophilous-graphs collection, which no PyG class reads."""

from __future__ import annotations

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.utils import coalesce, to_undirected

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import mask_splits


def read(source: Source) -> Parts:
    """Open ``node_features, node_labels, edges [E, 2], {train,val,test}_masks [S, N]``.

    ``directed = true`` in the card's options keeps each edge as it is; otherwise the reverse is added.
    """
    (path,) = source.files.files.values()
    with np.load(path, allow_pickle=False) as content:
        arrays = {key: torch.from_numpy(content[key]) for key in content.files}
    edge_index = arrays["edges"].long().t().contiguous()  # [2, E]
    num_nodes = arrays["node_labels"].numel()
    directed = source.card.options.get("directed", False)
    data = Data(
        x=arrays["node_features"].float(),
        edge_index=(coalesce if directed else to_undirected)(edge_index, num_nodes=num_nodes),
        y=arrays["node_labels"].long(),
        **{
            f"{part}_mask": arrays[f"{part}_masks"].bool().t().contiguous()
            for part in ("train", "val", "test")
        },
    )
    splits = mask_splits(data.train_mask, data.val_mask, data.test_mask)
    return Parts(Graphs([data], source.card.name), splits, [f"mask-{k}" for k in range(len(splits))])
