"""Interactions of users and items from a table of ratings, each user's own split."""

from __future__ import annotations

import numpy as np
import torch
from torch_geometric.data import Data

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import LinkSplit


def read(source: Source) -> Parts:
    """Read ``user, item, rating`` from the first columns of a text file; hold out some items of each user.

    Options: ``delimiter``; ``above``, ratings above this are interactions; ``core``, users and items with
    fewer interactions are dropped until there are none; ``val`` and ``test``, shares of a user's items;
    ``splits``, how many seeded splits. Users and items are numbered anew, apart, in the order of their own
    numbers. The graph of the result holds the training pairs of ``split``, items after the users, in both
    directions.
    """
    (path,) = source.files.files.values()
    options, name = source.card.options, source.card.name
    table = np.loadtxt(path, delimiter=str(options["delimiter"]), usecols=(0, 1, 2), ndmin=2)
    pairs = np.unique(table[table[:, 2] > float(options["above"]), :2].astype(np.int64), axis=0)
    pairs = core(pairs, int(options["core"]))
    if len(pairs) == 0:
        raise ValueError(f"dataset '{name}': no interactions are left; lower the options above or core")
    users, user = np.unique(pairs[:, 0], return_inverse=True)
    items, item = np.unique(pairs[:, 1], return_inverse=True)
    both = np.stack([user, item])
    splits = [
        user_split(both, float(options["val"]), float(options["test"]), seed)
        for seed in range(int(options["splits"]))
    ]
    known = splits[min(source.split, len(splits) - 1)].train_edges
    shifted = known + torch.tensor([[0], [len(users)]])
    data = Data(edge_index=torch.cat([shifted, shifted.flip(0)], dim=1))
    data.num_nodes = len(users) + len(items)
    data.num_users, data.num_items = len(users), len(items)
    return Parts(Graphs([data], name), splits, [f"seed-{seed}" for seed in range(len(splits))])


def core(pairs: np.ndarray, least: int) -> np.ndarray:
    """The largest set of pairs in which each user and each item has ``least`` or more of them, ``[P, 2]``."""
    while len(pairs):
        keep = np.ones(len(pairs), dtype=bool)
        for side in (0, 1):
            _, place, count = np.unique(pairs[:, side], return_inverse=True, return_counts=True)
            keep &= count[place] >= least
        if keep.all():
            break
        pairs = pairs[keep]
    return pairs


def user_split(pairs: np.ndarray, val: float, test: float, seed: int) -> LinkSplit:
    """Hold out a share of each user's items for validation and for the test, at least one of each.

    A user with fewer than three items is all training. There are no negatives: every other item is one.

    Shapes: pairs ``[2, P]``, user and item.
    """
    random = np.random.RandomState(seed)  # its draws are the same in every version of numpy
    order = np.lexsort((random.rand(pairs.shape[1]), pairs[0]))  # each user's items in a random order
    user = pairs[0, order]
    _, first, count = np.unique(user, return_index=True, return_counts=True)
    rank = np.arange(len(user)) - np.repeat(first, count)
    enough = count >= 3
    num_test = np.where(enough, np.maximum((test * count).astype(np.int64), 1), 0)
    num_val = np.where(enough, np.maximum((val * count).astype(np.int64), 1), 0)
    in_test = rank < np.repeat(num_test, count)
    in_val = ~in_test & (rank < np.repeat(num_test + num_val, count))

    def part(chosen: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(pairs[:, np.sort(order[chosen])]))

    none = torch.empty(2, 0, dtype=torch.int64)
    return LinkSplit(part(~in_test & ~in_val), part(in_val), none, part(in_test), none)
