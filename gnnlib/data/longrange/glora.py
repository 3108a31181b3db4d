"""A task of a prescribed range, in the spirit of GLoRa: is there a path of d steps with the right colours?

Our own construction on the idea of Zhou, Kharlamov and Kostylev, GLoRa, ICLR 2025: only what stands exactly d
steps away decides, so a model of fewer than d layers cannot do better than chance.
"""

from __future__ import annotations

import numpy as np
import torch
from torch_geometric.data import Data

__all__ = ["glora"]

COLOURS = 4


def glora(distance: int, count: int, *, seed: int = 0, decoys: int = 3, branches: int = 2) -> list[Data]:
    """Twins of graphs: in one the coloured path reaches its target, in the other it does not.

    Node 0 is the target. ``decoys + 1`` directed chains of ``distance`` nodes end at it. The first has the
    colours that ``seed`` prescribes; the others differ from them before the far end. In a positive graph the
    far end of the first chain has the prescribed colour and that of the second another one; its twin has
    these two exchanged. Off every chain node hang up to ``branches`` nodes of random colours, alike in both;
    one that hangs d steps away, where it could end the prescribed path, never has the colour that decides.
    So the twins have the same nodes, edges and colours, and within ``distance - 1`` steps of the target
    the same view.

    Args:
        distance: d, steps from the deciding node to the target, at least 2.
        count: how many twins.
        seed: of the prescribed colours and of the graphs.
        decoys: chains beside the first, at least 1.
        branches: nodes that hang off a chain node, at most; 0 for none.

    Returns: ``2 count`` graphs, positive and negative in turn, with ``x`` ``[n, 5]`` (colour, target),
        ``edge_index``, ``y`` and ``mask`` ``[n]``.

    Raises:
        ValueError: for a distance below 2, no decoy, or a negative number of twins or branches.
    """
    if distance < 2 or decoys < 1 or count < 0 or branches < 0:
        raise ValueError(
            f"glora: distance={distance}, count={count}, decoys={decoys}, branches={branches}; pass a "
            "distance of 2 or more, a decoy or more, and no negative number"
        )
    wanted = np.random.RandomState(0).randint(COLOURS, size=distance)  # one task for all seeds
    random = np.random.RandomState(seed)
    chains, length = decoys + 1, distance
    node = 1 + np.arange(chains * length).reshape(chains, length)  # [chain, steps from the target - 1]
    toward = np.concatenate([np.zeros((chains, 1), dtype=np.int64), node[:, :-1]], axis=1)
    graphs = []
    for _ in range(count):
        colour = random.randint(COLOURS, size=(chains, length))
        colour[0] = wanted
        colour[1, -1] = (wanted[-1] + random.randint(1, COLOURS)) % COLOURS
        same = (colour[1:, :-1] == wanted[:-1]).all(axis=1)
        place = random.randint(length - 1, size=chains - 1)
        other = (wanted[place] + random.randint(1, COLOURS, size=chains - 1)) % COLOURS
        colour[1:][same, place[same]] = other[same]
        hanging = np.repeat(node.reshape(-1), random.randint(branches + 1, size=node.size))
        extra = 1 + node.size + np.arange(hanging.size)
        extra_colour = random.randint(COLOURS, size=hanging.size)
        ends_it = (hanging == node[0, -2]) & (extra_colour == wanted[-1])
        extra_colour[ends_it] = (wanted[-1] + random.randint(1, COLOURS, size=int(ends_it.sum()))) % COLOURS
        edges = np.stack([np.r_[node.reshape(-1), extra], np.r_[toward.reshape(-1), hanging]])
        twin = colour.copy()
        twin[0, -1], twin[1, -1] = colour[1, -1], colour[0, -1]
        graphs += [
            _graph(np.r_[0, c.reshape(-1), extra_colour], edges, label)
            for c, label in ((colour, 1), (twin, 0))
        ]
    return graphs


def _graph(colour: np.ndarray, edges: np.ndarray, label: int) -> Data:
    x = torch.zeros(colour.size, COLOURS + 1)
    x[torch.arange(colour.size), torch.from_numpy(colour)] = 1
    x[0] = torch.eye(COLOURS + 1)[COLOURS]  # the target has a mark in place of a colour
    mask = torch.zeros(colour.size, dtype=torch.bool)
    mask[0] = True
    y = torch.zeros(colour.size, dtype=torch.int64)
    y[0] = label
    return Data(x=x, edge_index=torch.from_numpy(edges), y=y, mask=mask)
