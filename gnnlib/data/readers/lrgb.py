"""The long-range graph benchmark, by PyG's class: training, validation and test graphs in one dataset."""

from __future__ import annotations

import io
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.datasets import LRGBDataset

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import Split
from gnnlib.data.stage import staged

PARTS = ("train", "val", "test")

# What the superpixel files may name: the parts of tensors and numpy arrays.
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
}


def read(source: Source) -> Parts:
    """Open the set that the card's option ``lrgb_name`` names; integer features are categories.

    Option ``outputs``: how many scores the labels ask for, where no column of ``y`` tells.
    """
    options = source.card.options
    name = str(options["lrgb_name"])
    graphs, counts = [], []
    for part in PARTS:
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
        num_outputs=int(options["outputs"]) if "outputs" in options else None,
        feature_sizes=_sizes(data.x),
        edge_feature_sizes=_sizes(data.get("edge_attr")),
    )


def _open(name: str, part: str, root: Path) -> Any:
    kind = _Superpixels if name.lower().endswith("-sp") else LRGBDataset
    return kind(str(root), name, split=part)


def _sizes(values: Tensor | None) -> tuple[int, ...]:
    """How many values each column of integers takes, counted from 0; nothing for real features."""
    if values is None or values.is_floating_point():
        return ()
    return tuple(int(v) + 1 for v in values.amax(0))


class _Superpixels(LRGBDataset):  # type: ignore[misc]  # PyG ships no types
    """PyG's class with plain pickles that may hold arrays only, and the labels of COCO renumbered at once."""

    def process(self) -> None:
        """Read each part's list of ``(x, edge_attr, edge_index, y)``."""
        for part in PARTS:
            with Path(self.raw_dir, f"{part}.pickle").open("rb") as file:
                graphs = _Arrays(file).load()
            self.save(
                [
                    Data(x=x.float(), edge_attr=a.float(), edge_index=e, y=self._labels(y))
                    for x, a, e, y in graphs
                ],
                str(Path(self.processed_dir, f"{part}.pt")),
            )

    def _labels(self, labels: Any) -> Tensor:
        y: Tensor = torch.as_tensor(labels).long()
        if self.name != "coco-sp":
            return y
        old = torch.tensor(list(self.label_remap_coco()))
        place: Tensor = torch.searchsorted(old, y).clamp(max=old.numel() - 1)
        if not bool((old[place] == y).all()):
            raise ValueError("a label is none of the 81 categories of COCO")
        return place


class _Arrays(pickle.Unpickler):
    """Unpickles tensors and numpy arrays, and refuses all else that a pickle could call."""

    def find_class(self, module: str, name: str) -> Any:
        """The object of this name, where tensors and arrays need it."""
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs; not opened")
        return super().find_class(module, name)


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)
