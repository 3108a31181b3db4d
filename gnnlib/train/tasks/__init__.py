"""The tasks: one file each, chosen by the dataset."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gnnlib.data import Loaded
from gnnlib.models import registry
from gnnlib.train.config import TrainConfig
from gnnlib.train.tasks.base import Task
from gnnlib.train.tasks.forecast import ForecastTask
from gnnlib.train.tasks.graph import GraphTask
from gnnlib.train.tasks.hypergraph import HypergraphTask, IncidenceTask
from gnnlib.train.tasks.link import LinkTask
from gnnlib.train.tasks.node import NodeTask
from gnnlib.train.tasks.nodes import NodesTask
from gnnlib.train.tasks.pairs import PairsTask
from gnnlib.train.tasks.recommendation import RecommendationTask

__all__ = [
    "ForecastTask",
    "GraphTask",
    "HypergraphTask",
    "IncidenceTask",
    "LinkTask",
    "make_task",
    "NodesTask",
    "NodeTask",
    "PairsTask",
    "RecommendationTask",
    "Task",
]

Kind = Callable[[Loaded, TrainConfig, torch.device], Task]
TASKS: dict[str, Kind] = {
    task.name: task
    for task in (
        NodeTask,
        GraphTask,
        LinkTask,
        HypergraphTask,
        IncidenceTask,
        ForecastTask,
        RecommendationTask,
    )
}


def make_task(loaded: Loaded, config: TrainConfig, device: torch.device) -> Task:
    """The task that a loaded dataset asks for.

    Shapes: see each task.

    Raises: NotImplementedError when no loop exists for it, ValueError when the model does not serve it.
    """
    if loaded.task not in TASKS:
        raise NotImplementedError(
            f"{loaded.name} is a {loaded.task} dataset; train knows the tasks {', '.join(TASKS)}"
        )
    if loaded.task not in registry.tasks(config.model):
        others = ", ".join(registry.names(loaded.task))
        raise ValueError(
            f"model {config.model!r} does not serve {loaded.task} tasks, and {loaded.name} is one; "
            f"choose {others}"
        )
    one_graph = loaded.task == "node" and len(loaded.dataset) == 1
    many_graphs = loaded.task in ("graph", "node", "link") and len(loaded.dataset) > 1
    for option, serves, what in (
        ("fanout", one_graph, "node dataset of one graph"),
        ("shuffle_block", many_graphs, "set of graphs"),
        ("merge_nodes", many_graphs and loaded.task == "node", "set of graphs with labels of nodes"),
    ):
        value = getattr(config, option)
        if value != getattr(TrainConfig, option) and not serves:
            raise ValueError(f"option {option} is {value} but {loaded.name} is no {what}; drop it")
    if loaded.task == "node" and not one_graph:
        return NodesTask(loaded, config, device)
    if loaded.task == "link" and len(loaded.dataset) > 1:
        return PairsTask(loaded, config, device)
    return TASKS[loaded.task](loaded, config, device)
