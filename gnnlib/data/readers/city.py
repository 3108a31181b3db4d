"""One city's road network in an npz file of City-Networks' fields."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import remove_self_loops, to_undirected

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import mask_splits


def read(source: Source) -> Parts:
    """Open ``x, edge_index, y, eccentricity, {train,val,test}_mask``.

    Every road leads both ways, repeated arcs and loops are left out, as in the published cities, and each
    column of x is brought to mean 0 and deviation 1 over all nodes.
    """
    (path,) = source.files.files.values()
    with np.load(path, allow_pickle=False) as content:
        arrays = {key: torch.from_numpy(content[key]) for key in content.files}
    num_nodes = arrays["y"].numel()
    edge_index = remove_self_loops(arrays["edge_index"].long())[0]
    data = Data(
        x=scaled(arrays["x"]),
        edge_index=to_undirected(edge_index, num_nodes=num_nodes),
        y=arrays["y"].long(),
        eccentricity=arrays["eccentricity"],
    )
    masks = (arrays[f"{part}_mask"] for part in ("train", "val", "test"))
    return Parts(Graphs([data], source.card.name), mask_splits(*masks), ["random"])


def scaled(x: Tensor) -> Tensor:
    """Each column brought to mean 0 and deviation 1 over all rows; a constant one to 0."""
    x = x.double()
    spread = x.std(0)
    return ((x - x.mean(0)) / torch.where(spread > 0, spread, 1)).float()
