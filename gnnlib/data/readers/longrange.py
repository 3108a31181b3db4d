"""Long-range tasks that are made when they are asked for, by the generators of ``gnnlib.data.longrange``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from gnnlib.data.loaded import Graphs, Parts
from gnnlib.data.longrange.city import city_network
from gnnlib.data.longrange.glora import glora
from gnnlib.data.longrange.properties import property_graphs
from gnnlib.data.longrange.transfer import transfer
from gnnlib.data.longrange.tree import tree_neighbors_match
from gnnlib.data.readers import Source
from gnnlib.data.splits import Split
from gnnlib.names import choose

Options = Mapping[str, Any]


def read(source: Source) -> Parts:
    """Make the task that the card's option ``task`` names, of the size that its ``parameter`` names."""
    options = source.card.options
    make = MAKERS[choose("task", str(options["task"]), MAKERS)]
    return make(source.card.name, options)


def _tree(name: str, options: Options) -> Parts:
    """Two splits: one in which all parts are the training graphs, since the published score is how well they
    are fitted, and one whose other parts are the graphs held out."""
    depth = int(options["depth"])
    graphs = tree_neighbors_match(depth, seed=int(options["seed"]))
    random = np.random.RandomState(int(options["seed"]))
    # a fifth of the graphs of each key is held out, as the authors' stratified split
    rank = np.concatenate([random.permutation(len(graphs) // 2**depth) for _ in range(2**depth)])
    rank = rank.reshape(2**depth, -1).T.reshape(-1)
    held = rank < max(1, len(graphs) // 2**depth // 5)
    train = torch.from_numpy(np.flatnonzero(~held))
    test = torch.from_numpy(np.flatnonzero(held))
    sizes = (2**depth + 1,) * 2
    splits = [Split(train, train, train), Split(train, test, test)]
    names = ["fit", "held-out"]
    return Parts(Graphs(graphs, name), splits, names, num_outputs=2**depth + 1, feature_sizes=sizes)


def _transfer(name: str, options: Options) -> Parts:
    counts = [int(options[part]) for part in ("train", "val", "test")]
    size = int(options[str(options["parameter"])])
    graphs = transfer(str(options["shape"]), size, sum(counts))
    return Parts(Graphs(graphs, name), [_in_turn(counts)], ["balanced"], num_outputs=5)


def _glora(name: str, options: Options) -> Parts:
    counts = [int(options[part]) for part in ("train", "val", "test")]
    graphs = glora(int(options["distance"]), sum(counts) // 2, seed=int(options["seed"]))
    return Parts(Graphs(graphs, name), [_in_turn(counts)], ["twins"], num_outputs=2)


def _properties(name: str, options: Options) -> Parts:
    """For each part, so many graphs of each of ``sizes`` nodes, and the columns of ``labels``."""
    counts = []
    graphs: list[Data] = []
    for part, seed in zip(("train", "val", "test"), range(3), strict=True):
        sizes = np.repeat([int(n) for n in options["sizes"]], int(options[part]))
        made = property_graphs(
            sizes.tolist(),
            1000 * int(options["seed"]) + seed,
            families=options.get("families"),
            toggle=bool(options.get("toggle", True)),
        )
        graphs += made
        counts.append(len(made))
    whole, columns = options["of"] == "graph", [int(c) for c in options["labels"]]
    raw = [(g.graph_y if whole else g.y)[:, columns] for g in graphs]
    scale = torch.cat(raw[: counts[0]]).abs().amax(0) if options.get("scaled") else torch.ones(len(columns))
    made = [
        Data(x=g.x, edge_index=g.edge_index, y=y / torch.where(scale > 0, scale, 1))
        for g, y in zip(graphs, raw, strict=True)
    ]
    return Parts(
        Graphs(made, name), [_in_turn(counts)], [f"seed-{options['seed']}"], num_outputs=len(columns)
    )


def _city(name: str, options: Options) -> Parts:
    seed, nodes = int(options["seed"]), int(options["nodes"])
    data = city_network(nodes, seed=seed)
    splits = []
    for k in range(int(options["splits"])):
        order = torch.from_numpy(np.random.RandomState(k).permutation(nodes))
        parts = torch.split(order, [nodes // 10, nodes // 10, nodes - 2 * (nodes // 10)])
        splits.append(Split(*(part.sort().values for part in parts)))
    return Parts(Graphs([data], name), splits, [f"seed-{k}" for k in range(len(splits))])


def _in_turn(counts: Sequence[int]) -> Split:
    return Split(*torch.split(torch.arange(sum(counts)), list(counts)))


MAKERS: dict[str, Callable[[str, Options], Parts]] = {
    "city": _city,
    "glora": _glora,
    "properties": _properties,
    "transfer": _transfer,
    "tree": _tree,
}
