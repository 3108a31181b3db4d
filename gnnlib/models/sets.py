"""Models of sets: each element mapped, all of them aggregated, the edges not looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import GraphEncoder
from gnnlib.models.entry import Entry
from gnnlib.nn import MLP, LCMAggregation, monoid_regulariser
from gnnlib.nn.aggr import aggregation_resolver
from gnnlib.nn.conv.base import Adj
from gnnlib.sparse.dropout import dropout

Aggr: TypeAlias = Literal[
    "attsets",
    "gem",
    "gmt",
    "gru",
    "lcm",
    "lstm",
    "max",
    "mean",
    "set2set",
    "set_transformer",
    "softmax",
    "sum",
]
_SAMPLES = 256  # rows on which the operation of LCM is held to associativity in a step


@dataclass(frozen=True, kw_only=True)
class SetConfig(ModelConfig):
    """An MLP of each element, an aggregation, an MLP of the result: Deep Sets with any aggregation.

    Args:
        num_layers: linear maps of the elements, at least 1.
        aggr: the aggregation, by name.
        regulariser: with lcm, weight of the associativity of its operation in the training loss.
        shuffle: with lcm, put elements in a new order in each training step.
    """

    num_layers: int = 1
    dropout: float = 0.0
    aggr: Aggr = "sum"
    regulariser: float = 0.0
    shuffle: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("regulariser", self.regulariser >= 0, "0 or more")


class SetEncoder(GraphEncoder):
    """Elements mapped, aggregated, and mapped again.

    Args:
        config: the options.
        task: graph.
        in_channels: width of the elements.
        out_channels: not looked at; the head maps the hidden layer.

    Shapes: x ``[N, in]``, batch ``[N]`` -> ``[B, hidden]`` and a scalar or None.
    """

    def __init__(self, config: SetConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = config.hidden_channels
        act = None if config.act == "none" else config.act
        maps: dict[str, Any] = {"norm": None, "act": act, "dropout": config.dropout}
        self.input_dropout = config.input_dropout_for(task)
        self.local = MLP([in_channels] + [width] * config.num_layers, plain_last=False, **maps)
        self.aggr = _aggregation(config, width)
        mapped = width * (2 if config.aggr == "set2set" else 1)
        self.overall = MLP([mapped, width], plain_last=False, **maps)
        self.out_channels = width
        self.regulariser = config.regulariser
        self.has_auxiliary = isinstance(self.aggr, LCMAggregation) and config.regulariser > 0

    def forward(
        self, x: Tensor, edge_index: Adj, batch: Tensor | None, batch_size: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, hidden]`` and, with a regulariser, what it asks to be minimised."""
        x = self.local(dropout(x, self.input_dropout, self.training))
        out: Tensor = self.overall(self.aggr(x, batch, dim_size=1 if batch is None else batch_size))
        if not self.has_auxiliary:
            return out, None
        assert isinstance(self.aggr, LCMAggregation)
        rows = torch.randperm(x.size(0), device=x.device)[:_SAMPLES]
        loss = monoid_regulariser(self.aggr.combine, self.aggr.projected(x[rows]))["associativity"]
        return out, self.regulariser * loss


def _aggregation(config: SetConfig, width: int) -> nn.Module:
    made: dict[str, dict[str, Any]] = {
        "attsets": {"channels": width},
        "gmt": {"channels": width, "k": 4},
        "gru": {"in_channels": width, "out_channels": width},
        "lcm": {"in_channels": width, "out_channels": width, "shuffle": config.shuffle},
        "lstm": {"in_channels": width, "out_channels": width},
        "set2set": {"in_channels": width, "processing_steps": 4},
        "set_transformer": {"channels": width, "heads": 4 if width % 4 == 0 else 1},
        "softmax": {"learn": True},
    }
    names = {"gmt": "GraphMultisetTransformer"}
    module: nn.Module = aggregation_resolver(names.get(config.aggr, config.aggr), **made.get(config.aggr, {}))
    return module


MODELS: dict[str, Entry] = {"sets": Entry(SetConfig, SetEncoder, frozenset({"graph"}))}
