"""What :func:`gnnlib.data.load` returns, and what a reader hands it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch_geometric.data import InMemoryDataset

from gnnlib.data.card import Card
from gnnlib.data.metrics import Metric
from gnnlib.data.splits import LinkSplit, Split

AnySplit: TypeAlias = Split | LinkSplit


@dataclass(frozen=True)
class Parts:
    """What a reader made of the files: a dataset, its splits and, where the card leaves it open, the rest.

    Args:
        dataset: a PyG dataset.
        splits: the splits, each with its name in ``split_names``.
        split_names: as many names.
        metric: the metric, where the card says ``"ogb"`` or the labels decide it.
        num_outputs: how many outputs the labels ask for, where the number of classes is not the answer.
        feature_sizes: for integer node features, how many values each column takes.
        edge_feature_sizes: the same for edge features.
    """

    dataset: Any
    splits: Sequence[AnySplit]
    split_names: Sequence[str]
    metric: Metric | None = None
    num_outputs: int | None = None
    feature_sizes: tuple[int, ...] = ()
    edge_feature_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A dataset with its split and metric: ``dataset, split, metric = load("cora")``.

    Args:
        card: what is known of it.
        dataset: the PyG dataset; ``dataset[0]`` is the one graph of a node or link task. For a link task
            this graph holds the training edges of ``split`` only.
        split: the split that was asked for: a :class:`Split` of node or graph numbers, or a
            :class:`LinkSplit` of pairs.
        metric: the metric the dataset is judged by.
        splits: every split there is; ``split`` is ``splits[split_index]``.
        split_names: a name for each.
        split_index: which one ``split`` is.
        num_features: columns of the node features, 0 where the dataset has none.
        num_outputs: width of a model's output: classes, or label columns; 1 for two classes judged by
            one score; the steps of a forecast; 0 for a link task, whose embedding may have any width.
        feature_sizes: how many values each column of integer node features takes (OGB molecules), else empty.
        edge_feature_sizes: the same for edge features.
        folder: where the raw files were found, or None for a bundled dataset.

    Shapes: split parts int64 ``[n]``, or ``[2, P]`` for pairs.
    """

    card: Card
    dataset: Any
    split: Any
    metric: Metric
    splits: Sequence[AnySplit]
    split_names: Sequence[str]
    split_index: int
    num_features: int
    num_outputs: int
    feature_sizes: tuple[int, ...] = ()
    edge_feature_sizes: tuple[int, ...] = ()
    folder: Path | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.card.name

    @property
    def task(self) -> str:
        """The card's task, such as ``"node"``."""
        return self.card.task

    @property
    def split_name(self) -> str:
        """The name of the split that was asked for."""
        return self.split_names[self.split_index]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.dataset, self.split, self.metric))


class Graphs(InMemoryDataset):  # type: ignore[misc]  # PyG ships no types
    """A PyG dataset of graphs that are already in memory.

    Args:
        graphs: the ``Data`` objects.
        name: shown by ``repr``.

    Shapes: ``len(dataset)`` graphs; ``dataset[i]`` is the i-th.
    """

    def __init__(self, graphs: list[Any], name: str) -> None:
        super().__init__()
        self.name = name
        self.data, self.slices = self.collate(graphs)

    def __repr__(self) -> str:
        return f"{self.name}({len(self)})"
