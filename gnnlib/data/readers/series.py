"""Series that are made when they are asked for, cut into windows."""

from __future__ import annotations

import torch

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.series import diffusion_series
from gnnlib.data.splits import Split


def read(source: Source) -> Parts:
    """Make the series and split its windows in the order of time.

    Options ``nodes``, ``steps``, ``steps_per_day``, ``seed``; ``history`` and ``horizon``, steps of the input
    and of the forecast; ``train`` and ``val``, shares of the windows. Window w reads the steps from w on.
    """
    options = source.card.options
    data = diffusion_series(
        int(options["nodes"]),
        int(options["steps"]),
        steps_per_day=int(options["steps_per_day"]),
        seed=int(options["seed"]),
    )
    horizon = int(options["horizon"])
    split = window_split(
        int(options["steps"]), int(options["history"]) + horizon, options["train"], options["val"]
    )
    return Parts(Graphs([data], source.card.name), [split], ["in-time"], num_outputs=horizon)


def window_split(steps: int, length: int, train: float, val: float) -> Split:
    """The first share of the windows of ``length`` steps for training, the next for validation, then the
    test.

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
