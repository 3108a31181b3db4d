"""Residual stacks, with edge features where the layer takes them: GatedGCN, GINE, GGNN, GCN, GIN, GAT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig, Norm, Task
from gnnlib.models.encoders import Encoder, norm_of
from gnnlib.models.entry import Entry
from gnnlib.nn import (
    MLP,
    GATConv,
    GatedGraphConv,
    GCNConv,
    GINConv,
    GINEConv,
    Linear,
    ResGatedGraphConv,
)
from gnnlib.nn.conv.base import Adj
from gnnlib.sparse.dropout import dropout


@dataclass(frozen=True, kw_only=True)
class ResidualConfig(ModelConfig):
    """A stack of layers of one width, each added to its input.

    Args:
        num_layers: convolutions, at least 1; a linear map before and after them fits the widths.
        residual: add the input of each layer to its output.
        order: ``"norm_first"``: ``x + dropout(act(norm(conv(x))))``, as in the long-range graph benchmark;
            ``"norm_last"``: ``norm(x + dropout(act(conv(x))))``, as in TreeNeighborsMatch.
        out_bias: whether the last map of a node or link model has a bias.
        head_layers: linear maps from a graph's readout to its scores.
    """

    num_layers: int = 4
    dropout: float = 0.0
    norm: Norm = "batch"
    residual: bool = True
    order: Literal["norm_first", "norm_last"] = "norm_first"
    out_bias: bool = True
    head_layers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("head_layers", self.head_layers >= 1, "1 or more")

    @property
    def width(self) -> int:
        """Width of a hidden layer."""
        return self.hidden_channels


@dataclass(frozen=True, kw_only=True)
class GGNNConfig(ResidualConfig):
    """Gated graph network: messages update a recurrent cell.

    Args:
        shared: one set of weights for all steps, as in the paper; otherwise each step has its own.
    """

    shared: bool = True
    residual: bool = False


@dataclass(frozen=True, kw_only=True)
class ResidualGATConfig(ResidualConfig):
    """Graph attention with residuals.

    Args:
        heads: heads of each layer, which share its width.
    """

    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("hidden_channels", self.hidden_channels % self.heads == 0, "a multiple of heads")


#: Makes a layer of a width, for edge features of a width (0: none).
MakeLayer: TypeAlias = Callable[[Any, int, int], nn.Module]


class ResidualStack(Encoder):
    """Layers of one width between two linear maps, each added to its input.

    Args:
        config: the model's options.
        task: what the codes are for; a graph encoder has no last map.
        in_channels: width of x; a first map is left out where it is the width of the layers.
        out_channels: width of the codes of node and link encoders.
        edge_dim: width of the edge features, 0 for none.
        make: makes a layer.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]``, edge_attr ``[E, edge_dim]`` ->
        ``[N, out_channels]``; in a graph encoder ``[N, width]``.
    """

    def __init__(
        self,
        config: ResidualConfig,
        task: Task,
        in_channels: int,
        out_channels: int,
        edge_dim: int,
        make: MakeLayer,
    ) -> None:
        super().__init__(config, task)
        width = config.width
        self.first: nn.Module = nn.Identity() if in_channels == width else Linear(in_channels, width)
        shared = getattr(config, "shared", False)
        self.convs = nn.ModuleList(
            make(config, width, edge_dim) for _ in range(1 if shared else config.num_layers)
        )
        self.norms = nn.ModuleList(norm_of(config.norm_for(task), width) for _ in range(config.num_layers))
        self.last = None if task == "graph" else Linear(width, out_channels, bias=config.out_bias)
        self.out_channels = width if task == "graph" else out_channels
        self.residual, self.norm_first = config.residual, config.order == "norm_first"
        self.edge_dim = edge_dim

    def forward(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        """Codes ``[N, out_channels]``."""
        h = self.hidden(x, edge_index, edge_weight, edge_attr)
        return h if self.last is None else cast(Tensor, self.last(h))

    def hidden(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        """The output of the last layer, ``[N, width]``."""
        x = self.first(self._drop_input(x))
        for k, norm in enumerate(self.norms):
            conv = self.convs[k % len(self.convs)]
            h = self._conv(conv, x, edge_index, edge_weight, edge_attr)
            h = norm(h) if self.norm_first else h
            h = h if self.act is None else self.act(h)
            h = dropout(h, self.dropout, self.training)
            x = x + h if self.residual else h
            x = x if self.norm_first else norm(x)
        return x

    def _conv(
        self, conv: nn.Module, x: Tensor, edge_index: Adj, weight: Tensor | None, edge_attr: Tensor | None
    ) -> Tensor:
        if self.edge_dim:
            if edge_attr is None:
                raise ValueError(
                    f"{type(conv).__name__}: the model was built for {self.edge_dim} edge features but "
                    "edge_attr is missing; pass it"
                )
            return cast(Tensor, conv(x, edge_index, edge_attr))
        if weight is not None and getattr(conv, "takes_edge_weight", False):
            return cast(Tensor, conv(x, edge_index, weight))
        return cast(Tensor, conv(x, edge_index))


def _gated(c: ResidualConfig, width: int, edge_dim: int) -> nn.Module:
    return ResGatedGraphConv(width, width, edge_dim=edge_dim or None)


def _gine(c: ResidualConfig, width: int, edge_dim: int) -> nn.Module:
    mlp = MLP([width, width, width], norm=None)
    return GINEConv(nn.Sequential(*_steps(mlp)), edge_dim=edge_dim) if edge_dim else GINConv(mlp)


def _steps(mlp: MLP) -> list[nn.Module]:
    """The maps of a two-layer MLP in a sequence, whose first map tells its width."""
    first, second = mlp.lins
    return [first, nn.ReLU(), second]


def _gin(c: ResidualConfig, width: int, edge_dim: int) -> nn.Module:
    return GINConv(MLP([width, width, width], norm="batch_norm", plain_last=False))


def _gcn(c: ResidualConfig, width: int, edge_dim: int) -> nn.Module:
    return GCNConv(width, width)


def _gat(c: ResidualGATConfig, width: int, edge_dim: int) -> nn.Module:
    return GATConv(width, width // c.heads, c.heads)


def _ggnn(c: GGNNConfig, width: int, edge_dim: int) -> nn.Module:
    return GatedGraphConv(width, 1)


def _entry(config: type[ResidualConfig], make: MakeLayer, edges: bool = False) -> Entry:
    if edges:
        return Entry(config, lambda c, task, i, o, e=0: ResidualStack(c, task, i, o, e, make), edges=True)
    return Entry(config, lambda c, task, i, o: ResidualStack(c, task, i, o, 0, make))


MODELS: dict[str, Entry] = {
    "gatedgcn": _entry(ResidualConfig, _gated, edges=True),
    "ggnn": _entry(GGNNConfig, _ggnn),
    "gine": _entry(ResidualConfig, _gine, edges=True),
    "residual-gat": _entry(ResidualGATConfig, _gat),
    "residual-gcn": _entry(ResidualConfig, _gcn),
    "residual-gin": _entry(ResidualConfig, _gin),
}
