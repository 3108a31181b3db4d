"""From node features to node codes: what node, graph and link models have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from gnnlib.models.configs import MLPConfig, ModelConfig, SGCConfig, StackConfig, Task
from gnnlib.nn import MLP, JumpingKnowledge, Linear, SGConv
from gnnlib.nn.act import activation
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.init import reset
from gnnlib.sparse.dropout import dropout, feature_dropout

#: Makes the layer ``in -> width`` of a stack; the last one of node and link models differs in GAT.
MakeConv = Callable[[int, int, bool], nn.Module]


@dataclass(frozen=True)
class Part:
    """Which part of a graph the rows of x are, for models that remember all nodes from step to step.

    The part is induced by its targets and all nodes within as many hops as the model takes steps; its edges
    and weights are those of the whole graph's normalised adjacency, loops included.

    Args:
        n_id: number of each row in the whole graph; the targets come first.
        targets: number of targets T.
        num_nodes: nodes of the whole graph.

    Shapes: n_id ``[N]``.
    """

    n_id: Tensor
    targets: int
    num_nodes: int


class Encoder(nn.Module):
    """Base of the encoders: ``[N, in]`` features to ``[N, out_channels]`` codes.

    Args:
        config: the model's options.
        task: node and link encoders end in a plain layer of ``out_channels``, graph encoders in a hidden
            one.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``.
    """

    out_channels: int

    def __init__(self, config: ModelConfig, task: Task) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.input_dropout = config.input_dropout_for(task)
        self.act = None if config.act == "none" else activation(config.act)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """What the last layer with weights sees, for a picture: ``[N, hidden]``."""
        raise NotImplementedError

    def _drop_input(self, x: Tensor) -> Tensor:
        return feature_dropout(x, self.input_dropout, self.training)

    def _between(self, x: Tensor, norm: nn.Module) -> Tensor:
        x = norm(x)
        x = x if self.act is None else self.act(x)
        return dropout(x, self.dropout, self.training)


class GraphEncoder(nn.Module):
    """Base of the encoders that make one code of each graph themselves, in place of a readout of node codes.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]``, batch_size B -> codes ``[B, out_channels]``
        and an auxiliary loss or None.
    """

    out_channels: int
    has_auxiliary = False  # whether there is a loss beside that of the task

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def forward(
        self, x: Tensor, edge_index: Adj, batch: Tensor | None, batch_size: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, out_channels]`` and the auxiliary loss."""
        raise NotImplementedError


class ConvStack(Encoder):
    """Convolutions with normalisation, activation and dropout between them, and jumping knowledge.

    Args:
        config: the model's options.
        task: what the codes are for.
        in_channels: width of x.
        out_channels: width of the codes of node and link encoders.
        make: makes a convolution from its widths and whether it is the plain last one.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``; in a graph
        encoder ``[N, width]``, or ``[N, in + L width]`` for the concatenation of input and L layers.
    """

    def __init__(
        self, config: StackConfig, task: Task, in_channels: int, out_channels: int, make: MakeConv
    ) -> None:
        super().__init__(config, task)
        mode, width, layers = config.jk_for(task), config.width, config.num_layers
        self.plain_last = mode == "last" and task != "graph"
        widths = [in_channels] + [width] * layers
        if self.plain_last:
            widths[-1] = out_channels
        last = layers - 1 if self.plain_last else layers
        self.convs = nn.ModuleList(make(widths[i], widths[i + 1], i == last) for i in range(layers))
        kind = config.norm_for(task)
        self.norms = nn.ModuleList(norm_of(kind, w) for w in widths[1 : last + 1])
        self.jk: JumpingKnowledge | None = None
        self.jk_input = mode == "cat" and task == "graph"
        if mode != "last":
            self.jk = JumpingKnowledge(mode, width, layers)
        code = width * layers if mode == "cat" else width
        self.lin = Linear(code, out_channels) if self.jk is not None and task != "graph" else None
        self.out_channels = out_channels
        if task == "graph":
            self.out_channels = code + (in_channels if self.jk_input else 0)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        h = self.hidden(x, edge_index, edge_weight)
        if self.plain_last:
            return self._conv(len(self.convs) - 1, h, edge_index, edge_weight)
        return h if self.lin is None else cast(Tensor, self.lin(h))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The input of the plain last layer or linear map, ``[N, hidden]``."""
        x = self._drop_input(x)
        layers = [x]
        for i, norm in enumerate(self.norms):
            layers.append(self._between(self._conv(i, layers[-1], edge_index, edge_weight), norm))
        if self.jk is None:
            return layers[-1]
        return cast(Tensor, self.jk(layers if self.jk_input else layers[1:]))

    def _conv(self, i: int, x: Tensor, edge_index: Adj, edge_weight: Tensor | None) -> Tensor:
        conv = self.convs[i]
        if edge_weight is not None and getattr(conv, "takes_edge_weight", False):
            return cast(Tensor, conv(x, edge_index, edge_weight))
        return cast(Tensor, conv(x, edge_index))


class PropagatedMLP(Encoder):
    """An MLP of each node's features, whose codes are then spread over the graph.

    Args:
        config: the model's options.
        task: what the codes are for.
        in_channels: width of x.
        out_channels: width of the codes of node and link encoders.
        make: makes the propagation from the width of the codes.
        any_width: whether it can spread codes of another width as well.
        code_dropout: probability in [0, 1) of dropping a number of the codes before they are spread.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``.
    """

    def __init__(
        self,
        config: ModelConfig,
        task: Task,
        in_channels: int,
        out_channels: int,
        make: Callable[[int], nn.Module],
        *,
        any_width: bool = True,
        code_dropout: float = 0.0,
    ) -> None:
        super().__init__(config, task)
        self.mlp = mlp_of(config, task, in_channels, out_channels)
        self.out_channels = self.mlp.out_channels
        self.prop = make(self.out_channels)
        self.any_width = any_width
        self.code_dropout = code_dropout

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        codes = dropout(self.mlp(self._drop_input(x)), self.code_dropout, self.training)
        return cast(Tensor, self.prop(codes, edge_index, edge_weight))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The last hidden layer of the MLP, propagated where the width allows it, ``[N, hidden]``."""
        h = mlp_hidden(self.mlp, self._drop_input(x))
        return cast(Tensor, self.prop(h, edge_index, edge_weight)) if self.any_width else h


class SimpleEncoder(Encoder):
    """K propagation steps and one linear map.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``.
    """

    def __init__(self, config: SGCConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task)
        self.out_channels = config.hidden_channels if task == "graph" else out_channels
        self.conv = SGConv(in_channels, self.out_channels, config.K)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        return cast(Tensor, self.conv(self._drop_input(x), edge_index, edge_weight))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The propagated features, ``[N, in]``."""
        return self.conv.precompute(self._drop_input(x), edge_index, edge_weight)


class FeatureEncoder(Encoder):
    """An MLP of each node's features; the graph is not looked at.

    Shapes: x ``[N, in]`` -> ``[N, out_channels]``.
    """

    def __init__(self, config: MLPConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task)
        self.mlp = mlp_of(config, task, in_channels, out_channels)
        self.out_channels = self.mlp.out_channels

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        return cast(Tensor, self.mlp(self._drop_input(x)))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The last hidden layer, ``[N, hidden]``."""
        return mlp_hidden(self.mlp, self._drop_input(x))


class CategoryEncoder(nn.Module):
    """Integer features, such as OGB's of atoms and bonds, as the sum of a learned row of each column's table.

    Args:
        sizes: number of values of each column.
        channels: width of the code.

    Shapes: integers ``[N, len(sizes)]`` -> ``[N, channels]``.
    Raises: TypeError for features that are no integers; ValueError for another number of columns or a
        value outside its column's table.
    """

    def __init__(self, sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        if not sizes:
            raise ValueError("CategoryEncoder: sizes is empty; pass the number of values of each column")
        self.tables = nn.ModuleList(nn.Embedding(size, channels) for size in sizes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new tables."""
        for table in self.tables:
            nn.init.xavier_uniform_(cast(nn.Embedding, table).weight)

    def forward(self, x: Tensor) -> Tensor:
        """Codes of the rows of x, ``[N, channels]``."""
        if x.is_floating_point() or x.dim() != 2 or x.size(1) != len(self.tables):
            kind = TypeError if x.is_floating_point() else ValueError
            raise kind(
                f"CategoryEncoder: x is {x.dtype} of shape {list(x.shape)}; pass integers "
                f"[N, {len(self.tables)}], one column for each table"
            )
        rows = []
        for i, table in enumerate(self.tables):
            try:
                rows.append(table(x[:, i]))
            except IndexError as error:
                size = cast(nn.Embedding, table).num_embeddings
                raise ValueError(
                    f"CategoryEncoder: column {i} holds {int(x[:, i].min())} to {int(x[:, i].max())} but its "
                    f"table has {size} rows, 0 to {size - 1}; pass larger sizes"
                ) from error
        return torch.stack(rows).sum(0)


def norm_of(kind: str, width: int) -> nn.Module:
    """The normalisation that a config names, over ``width`` features."""
    if kind == "batch":
        return nn.BatchNorm1d(width)
    return nn.LayerNorm(width) if kind == "layer" else nn.Identity()


def mlp_of(config: ModelConfig, task: Task, in_channels: int, out_channels: int) -> MLP:
    """The MLP that a config describes, plain at its end in node and link models."""
    graph, kind = task == "graph", config.norm_for(task)
    last = config.hidden_channels if graph else out_channels
    return MLP(
        [in_channels, *[config.hidden_channels] * (config.num_layers - 1), last],
        dropout=config.dropout,
        act=None if config.act == "none" else config.act,
        norm={"none": None, "batch": "batch_norm", "layer": "layer_norm"}[kind],
        norm_kwargs={"mode": "node"} if kind == "layer" else None,
        plain_last=not graph,
    )


def mlp_hidden(mlp: MLP, x: Tensor) -> Tensor:
    """The last hidden layer of an MLP."""
    out, emb = mlp(x, return_emb=True)
    hidden = out if not mlp.plain_last else emb
    return x if hidden is None else cast(Tensor, hidden)
