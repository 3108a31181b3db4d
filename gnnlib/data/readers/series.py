"""Series on the nodes of a graph, generated or from two arrays, cut into windows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.series import diffusion_series, on_nodes
from gnnlib.data.splits import Split


def read(source: Source) -> Parts:
    """Make the series, or read it, and split its windows in the order of time.

    Options ``steps_per_day``; ``history`` and ``horizon``, steps of the input and of the forecast; ``train``
    and ``val``, shares of the windows. Window w reads the steps from w on. A generated series has ``nodes``,
    ``steps`` and ``seed`` as well. One on disk names its two files in ``values``, ``[T, N]`` or ``[T, N, F]``
    of which the first feature is read, and ``adjacency``, ``[N, N]`` with the weight of the edge from row to
    column; values that equal ``missing``, or are NaN, are not known. This is the form in which PyTorch
    Geometric Temporal gives METR-LA and PEMS-BAY away.
    """
    options = source.card.options
    if source.found is None:
        data = diffusion_series(
            int(options["nodes"]),
            int(options["steps"]),
            steps_per_day=int(options["steps_per_day"]),
            seed=int(options["seed"]),
        )
    else:
        data = _from_arrays(source.card.name, source.files.files, options)
    horizon = int(options["horizon"])
    steps = int(data.x.size(1))
    split = window_split(steps, int(options["history"]) + horizon, options["train"], options["val"])
    return Parts(Graphs([data], source.card.name), [split], ["in-time"], num_outputs=horizon)


def _from_arrays(name: str, files: Mapping[str, Path], options: Mapping[str, Any]) -> Data:
    values = np.load(files[str(options["values"])], allow_pickle=False)
    weights = np.load(files[str(options["adjacency"])], allow_pickle=False)
    value = (values if values.ndim == 2 else values[..., 0]).astype(np.float64)
    if weights.shape != (value.shape[1],) * 2:
        raise ValueError(
            f"dataset '{name}': the adjacency has shape {list(weights.shape)} but the series has "
            f"{value.shape[1]} nodes; expected [{value.shape[1]}, {value.shape[1]}]"
        )
    known = np.isfinite(value)
    if "missing" in options:
        known &= value != float(options["missing"])
    ends = np.stack(weights.nonzero())
    edge_weight = torch.from_numpy(weights[tuple(ends)].astype(np.float32))
    return on_nodes(value, known, int(options["steps_per_day"]), torch.from_numpy(ends), edge_weight)


def window_split(steps: int, length: int, train: float, val: float) -> Split:
    """The first windows of ``length`` steps for training, the next for validation, the last for the test.

    Raises:
        ValueError: when the series is shorter than a window.
    """
    count = steps - length + 1
    if count < 1:
        raise ValueError(f"window_split: {steps} steps are shorter than a window of {length}")
    a = int(train * count)
    b = a + int(val * count)
    window = torch.arange(count)
    return Split(window[:a], window[a:b], window[b:])
