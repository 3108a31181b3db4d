"""Synthetic series on the nodes of a road network: a damped diffusion with a daily season."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnlib.data.longrange.city import city_network

__all__ = ["diffusion_series", "on_nodes"]

_LEVEL, _SWING, _UNIT = 60.0, 12.0, 4.0  # usual value, how far rush hours pull it down, deviation of the rest
_FLOOR = 5.0  # values stay above, so that relative errors are defined
_MISSING_RUN = 4  # steps that a sensor is silent for on average
_WARM_UP = 200  # steps before the first that is kept


def diffusion_series(
    num_nodes: int,
    num_steps: int,
    *,
    steps_per_day: int = 48,
    stay: float = 0.6,
    spread: float = 0.39,
    missing: float = 0.02,
    seed: int = 0,
) -> Data:
    r"""Values of the nodes of a road network over time.

    .. math:: z_{t+1} = a z_t + b P z_t + \varepsilon_t, \qquad v_t = 60 - s_t + 4 z_t / \operatorname{std}(z)

    P is a random walk against directed edges of random weights, so that what happens at a node was to be seen
    at its neighbours before; s pulls values down around two hours of the day that differ a little from node
    to node. It is no measurement of anything.

    Args:
        num_nodes: nodes of the road network, at least 100.
        num_steps: steps to keep.
        steps_per_day: period of the season.
        stay: a.
        spread: b, with a + b below 1.
        missing: share of values that are not known, in runs.
        seed: of everything random.

    Returns: ``x`` ``[N, T, 3]`` (value, 0 where it is not known; sine and cosine of the time of day),
        ``known`` ``[N, T]``, ``edge_index``, ``edge_weight``.

    Raises:
        ValueError: for steps or shares out of range.
    """
    if num_steps < 1 or steps_per_day < 2 or not 0 <= missing < 1:
        raise ValueError(
            f"diffusion_series: num_steps={num_steps}, steps_per_day={steps_per_day}, missing={missing}; "
            "pass 1 or more, 2 or more, and a share below 1"
        )
    if stay < 0 or spread < 0 or stay + spread >= 1:
        raise ValueError(f"diffusion_series: stay={stay} and spread={spread}; their sum must be below 1")
    edge_index = city_network(num_nodes, seed=seed).edge_index
    random = np.random.RandomState(seed)  # its draws are the same in every version of numpy
    source, target = edge_index.numpy()
    weight = random.uniform(0.1, 1.0, source.size)
    share = weight / np.bincount(target, weight, num_nodes)[target]
    z, kept = np.zeros(num_nodes), np.empty((num_steps, num_nodes))
    for t in range(-_WARM_UP, num_steps):
        walked = np.bincount(target, share * z[source], num_nodes)
        z = stay * z + spread * walked + random.standard_normal(num_nodes)
        if t >= 0:
            kept[t] = z
    day = 2 * np.pi * np.arange(num_steps) / steps_per_day
    season = np.zeros((num_steps, num_nodes))
    for hour, depth in ((8.0, 1.0), (17.5, 0.8)):
        at = 2 * np.pi * (hour + random.standard_normal(num_nodes)) / 24
        season += depth * np.exp(8.0 * (np.cos(day[:, None] - at) - 1.0))
    strength = random.uniform(0.5, 1.0, num_nodes)
    value = np.maximum(_LEVEL - _SWING * strength * season + _UNIT * kept / kept.std(), _FLOOR)
    known = ~_silent(num_steps, num_nodes, missing, random)
    return on_nodes(value, known, steps_per_day, edge_index, torch.from_numpy(weight).float())


def on_nodes(
    value: np.ndarray, known: np.ndarray, steps_per_day: int, edge_index: Tensor, edge_weight: Tensor
) -> Data:
    """A series and its graph as the forecasting task reads them; the first step is midnight.

    Shapes: value and known ``[T, N]`` -> ``x`` ``[N, T, 3]`` with the value, 0 where it is not known, and
        sine and cosine of the time of day; ``known`` ``[N, T]``.
    """
    day = 2 * np.pi * np.arange(len(value)) / steps_per_day
    clock = np.broadcast_to(np.stack([np.sin(day), np.cos(day)], 1)[:, None], (*value.shape, 2))
    x = np.concatenate([np.where(known, value, 0.0)[..., None], clock], axis=2)
    data = Data(
        x=torch.from_numpy(x.transpose(1, 0, 2).copy()).float(),
        edge_index=edge_index,
        edge_weight=edge_weight,
    )
    data.known = torch.from_numpy(known.T.copy())
    return data


def _silent(steps: int, nodes: int, share: float, random: np.random.RandomState) -> np.ndarray:
    """Where a sensor is silent: a chain of two states whose runs have the mean length and the share."""
    end, begin = 1 / _MISSING_RUN, share / (1 - share) / _MISSING_RUN
    draw = random.rand(steps, nodes)
    out = np.empty((steps, nodes), dtype=bool)
    now = random.rand(nodes) < share
    for t in range(steps):
        now = np.where(now, draw[t] >= end, draw[t] < begin)
        out[t] = now
    return out
