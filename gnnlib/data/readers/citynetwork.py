"""The four cities of City-Networks, by PyG's class from the archive that it downloads."""

from __future__ import annotations

import tarfile
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.datasets import CityNetwork

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.readers.city import scaled
from gnnlib.data.splits import Split
from gnnlib.data.stage import staged

__all__ = ["read"]


def read(source: Source) -> Parts:
    """Open the city that the card's option ``city`` names; each column of x has mean 0 and deviation 1.

    The part files hold masks or node numbers; both are understood.
    """
    city = str(source.card.options["city"])
    dataset = staged(source.card, source.files, source.digests, city, lambda root: _City(str(root), city))
    data = dataset[0]
    num_nodes = int(data.y.numel())
    graph = Data(x=scaled(data.x), edge_index=data.edge_index.long(), y=data.y.long().view(-1))
    parts = (_numbers(data[f"{part}_mask"], num_nodes) for part in ("train", "val", "test"))
    return Parts(Graphs([graph], source.card.name), [Split(*parts)], ["random"])


def _numbers(part: Tensor, num_nodes: int) -> Tensor:
    part = part.view(-1)
    numbers = part.nonzero().view(-1) if part.dtype == torch.bool else part.long()
    if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < num_nodes:
        raise ValueError(f"a part names nodes up to {int(numbers.max())} but there are {num_nodes}")
    return numbers


class _City(CityNetwork):  # type: ignore[misc]  # PyG ships no types
    """PyG's class for an archive that lies in ``raw``; PyG's own opens one only as it downloads it."""

    @property
    def raw_file_names(self) -> str:
        """The archive."""
        return f"{self.name}.tar.gz"

    def process(self) -> None:
        """Unpack the archive beside itself, read the city, and take the unpacked files away again."""
        self.download_path = str(Path(self.raw_dir, self.raw_file_names))
        self.delete_raw = True
        try:
            super().process()
        except tarfile.TarError as error:
            raise ValueError(f"{self.raw_file_names} is no readable archive ({error})") from error
