"""Path neural networks for nodes, graphs and links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig, Readout, Task
from gnnlib.models.encoders import Encoder, GraphEncoder
from gnnlib.models.entry import Entry
from gnnlib.models.heads import READOUTS
from gnnlib.nn import Linear, PathNN
from gnnlib.nn.act import activation
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.path.conv import KINDS
from gnnlib.sparse import PathQuery, as_csr
from gnnlib.sparse.dropout import dropout


@dataclass(frozen=True, kw_only=True)
class PathNNConfig(ModelConfig):
    """PathNN: layer k adds to each node the codes of the paths of k edges that end there.

    Michel et al., Path Neural Networks, ICML 2023: on small graphs hidden 32 or 64, three layers at most and
    batch normalisation; on synthetic ones no normalisation and up to eleven layers.

    Args:
        num_layers: the most edges of a path, at least 1, which is the number of layers.
        dropout: probability in [0, 1) of dropping a hidden feature before the last map.
        layer_dropout: the same after each layer.
        readout: how a graph model reduces the nodes of a graph; a hidden layer follows.
        variant: ``"sp"``, one shortest path of each pair of nodes, which depends on their numbers; ``"sp+"``,
            all shortest; ``"ap"``, all simple paths; ``"p"``, of the simple paths of each length that end at
            a node ``max_per_node`` at random, drawn once.
        distance: let the encoder see the distance of each node of a path to its centre; ``"ap"`` is published
            with it.
        cell: the encoder of paths.
        share: one encoder for all layers, or one each.
        normalize: divide states by their L2 norm before each layer.
        max_per_node: at most so many paths of each length end at a node; None: all.
    """

    num_layers: int = 3
    readout: Readout = "sum"
    layer_dropout: float = 0.0
    variant: Literal["p", "sp", "sp+", "ap"] = "sp+"
    distance: bool = False
    cell: Literal["lstm", "gru", "cnn", "sum", "transformer"] = "lstm"
    share: bool = True
    normalize: bool = False
    max_per_node: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("layer_dropout", 0 <= self.layer_dropout < 1, "a number from 0 to below 1")
        most = self.max_per_node
        self._require("max_per_node", most is None or most >= 1, "1 or more")
        if self.variant == "p":
            self._require("max_per_node", most is not None, "how many paths variant='p' draws")

    @property
    def path_query(self) -> PathQuery:
        """The paths that the layers read."""
        kind = KINDS[self.variant] or "simple"
        return PathQuery(self.num_layers, kind, self.distance, self.max_per_node)


def _net(config: PathNNConfig, task: Task, in_channels: int, edge_channels: int) -> PathNN:
    norm = config.norm_for(task)
    return PathNN(
        in_channels,
        config.hidden_channels,
        None,
        config.num_layers,
        config.variant,
        encoder=config.cell,
        distance=config.distance,
        share=config.share,
        norm={"none": None, "batch": "batch_norm", "layer": "layer_norm"}[norm],
        norm_kwargs={"mode": "node"} if norm == "layer" else None,
        act=None if config.act == "none" else config.act,
        dropout=config.layer_dropout,
        normalize=config.normalize,
        edge_dim=edge_channels or None,
    )


def _states(net: nn.Module, query: PathQuery, x: Tensor, edge_index: Adj, edge_attr: Tensor | None) -> Tensor:
    """States of the nodes; the paths come with the graph, or are found and kept with it."""
    adj = as_csr(edge_index, x.size(0))
    return cast(Tensor, net(x, adj, edge_attr, query.of(adj)))


class PathStack(Encoder):
    """The states of a PathNN, and a linear map.

    Args:
        config: the options.
        task: node or link.
        in_channels: width of x.
        out_channels: width of the codes.
        edge_channels: width of edge_attr, 0 for graphs without.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_attr ``[E, D]`` -> ``[N, out_channels]``; edge weights
        are not looked at.
    """

    def __init__(
        self,
        config: PathNNConfig,
        task: Task,
        in_channels: int,
        out_channels: int,
        edge_channels: int = 0,
    ) -> None:
        super().__init__(config, task)
        self.query = config.path_query
        self.net = _net(config, task, in_channels, edge_channels)
        self.lin = Linear(config.hidden_channels, out_channels)
        self.out_channels = out_channels

    def forward(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        """Codes ``[N, out_channels]``."""
        h = self.hidden(x, edge_index, edge_weight, edge_attr)
        return cast(Tensor, self.lin(dropout(h, self.dropout, self.training)))

    def hidden(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        """The states ``[N, hidden]``."""
        return _states(self.net, self.query, self._drop_input(x), edge_index, edge_attr)


class PathReadout(GraphEncoder):
    """The states of a PathNN, their readout, and a hidden layer.

    Args:
        config: the options.
        task: graph.
        in_channels: width of x.
        out_channels: not looked at; the head maps the hidden layer.
        edge_channels: width of edge_attr, 0 for graphs without.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]``, edge_attr ``[E, D]`` -> ``[B, hidden]`` and
        None.
    """

    def __init__(
        self,
        config: PathNNConfig,
        task: Task,
        in_channels: int,
        out_channels: int,
        edge_channels: int = 0,
    ) -> None:
        super().__init__()
        self.query = config.path_query
        self.net = _net(config, task, in_channels, edge_channels)
        self.readout = READOUTS[config.readout]
        self.lin = Linear(config.hidden_channels, config.hidden_channels)
        self.act = None if config.act == "none" else activation(config.act)
        self.input_dropout = config.input_dropout_for(task)
        self.out_channels = config.hidden_channels

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None,
        batch_size: int | None,
        edge_attr: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, hidden]``."""
        x = dropout(x, self.input_dropout, self.training)
        code: Tensor = self.lin(
            self.readout(_states(self.net, self.query, x, edge_index, edge_attr), batch, batch_size)
        )
        return code if self.act is None else self.act(code), None


def _encoder(config: Any, task: Task, i: int, o: int, edge_channels: int = 0) -> Encoder | GraphEncoder:
    made = PathReadout if task == "graph" else PathStack
    return made(config, task, i, o, edge_channels)


MODELS: dict[str, Entry] = {"pathnn": Entry(PathNNConfig, _encoder, edges=True)}
