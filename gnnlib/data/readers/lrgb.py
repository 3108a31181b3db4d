"""The long-range graph benchmark, by PyG's class: training, validation and test graphs in one dataset."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.datasets import LRGBDataset

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import Split
from gnnlib.data.stage import staged


def read(source: Source) -> Parts:
    """Open the set that the card's option ``lrgb_name`` names; integer features are categories."""
    name = str(source.card.options["lrgb_name"])
    graphs, counts = [], []
    for part in ("train", "val", "test"):
        build = partial(_open, name, part)
        dataset = staged(source.card, source.files, source.digests, name.lower(), build)
        graphs += list(dataset)
        counts.append(len(dataset))
    whole = Graphs(graphs, source.card.name)
    split = Split(*torch.split(torch.arange(sum(counts)), counts))
    data = whole._data
    return Parts(
        whole,
        [split],
        ["official"],
        feature_sizes=_sizes(data.x),
        edge_feature_sizes=_sizes(data.get("edge_attr")),
    )


def _open(name: str, part: str, root: Path) -> Any:
    return LRGBDataset(str(root), name, split=part)


def _sizes(values: Tensor | None) -> tuple[int, ...]:
    """How many values each column of integers takes, counted from 0; nothing for real features."""
    if values is None or values.is_floating_point():
        return ()
    return tuple(int(v) + 1 for v in values.amax(0))
