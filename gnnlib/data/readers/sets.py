"""Synthetic multisets of integers, on which sums and extremes do not suffice."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch_geometric.data import Data

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.metrics import get_metric
from gnnlib.data.readers import Source
from gnnlib.data.splits import Split


def read(source: Source) -> Parts:
    """Draw the multisets.

    Options ``bits``; ``train``, ``val`` and ``test``, how many; ``sizes``, the smallest and the largest;
    ``test_size``; ``seed``. A multiset is a graph without edges whose nodes are its elements.
    """
    options = source.card.options
    bits = int(options["bits"])
    count = [int(options[part]) for part in ("train", "val", "test")]
    low, high = (int(v) for v in options["sizes"])
    random = np.random.RandomState(int(options["seed"]))  # its draws are the same in every version of numpy
    sizes = random.randint(low, high + 1, sum(count))
    sizes[count[0] + count[1] :] = int(options["test_size"])
    values = random.randint(0, 2**bits, int(sizes.sum()))
    graphs = [
        Data(
            x=torch.from_numpy(binary(part, bits)).float(),
            edge_index=torch.empty(2, 0, dtype=torch.int64),
            y=torch.from_numpy(binary(np.sort(part)[1:2], bits)).float(),
        )
        for part in np.split(values, sizes.cumsum()[:-1])
    ]
    ends = np.cumsum([0, *count])
    split = Split(*(torch.arange(int(a), int(b)) for a, b in pairwise(ends)))
    metric = get_metric("bitwise_accuracy")
    return Parts(Graphs(graphs, source.card.name), [split], ["drawn"], metric, bits)


def binary(values: np.ndarray, bits: int) -> np.ndarray:
    """The bits of whole numbers, the highest first: ``[n]`` -> ``[n, bits]`` of 0 and 1."""
    return (values[:, None] >> np.arange(bits - 1, -1, -1)) & 1
