"""What the registry keeps of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from torch import nn

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import Encoder, GraphEncoder

ALL: tuple[Task, ...] = get_args(Task)
GRAPHS: frozenset[str] = frozenset({"node", "graph", "link"})
HYPER: frozenset[str] = frozenset({"hypergraph", "incidence"})


@dataclass(frozen=True)
class Entry:
    """One model: its options and how it is built.

    Args:
        config: the frozen dataclass of its options.
        encoder: ``encoder(config, task, in_channels, out_channels)`` makes the encoder that the task's head
            is put around; for a graph task it may be a :class:`GraphEncoder`.
        edges: whether the encoder takes edge features: it is then made with their width (0 where there are
            none) as a fifth argument, and called with ``edge_attr`` where there are some.
        parts: whether the encoder remembers all nodes, so that a part of a graph comes with a :class:`Part`.
        tasks: the tasks that it serves.
        whole: ``whole(config, task, in_channels, out_channels)`` makes the complete model instead, where the
            method has a head of its own; it answers the calls of the head of its task.
        sized: ``sized(config, in_channels, out_channels, sizes)`` makes the complete model of a task without
            a head; ``sizes`` are the numbers of the nodes of the fixed sets that may have embeddings.
    """

    config: type[ModelConfig]
    encoder: Callable[..., Encoder | GraphEncoder] | None = None
    tasks: frozenset[str] = GRAPHS
    whole: Callable[[Any, Task, int, int], nn.Module] | None = None
    edges: bool = False
    sized: Callable[[Any, int, int, Sequence[int]], nn.Module] | None = None
    parts: bool = False
