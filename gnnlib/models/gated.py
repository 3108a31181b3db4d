"""The gated graph network of Li et al.: typed edges, weights shared by all steps, gated readout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import Encoder, GraphEncoder
from gnnlib.models.entry import Entry
from gnnlib.nn import GGNNConv, Linear, global_add_pool
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.init import reset
from gnnlib.sparse.dropout import dropout


@dataclass(frozen=True, kw_only=True)
class TypedGGNNConfig(ModelConfig):
    """Gated graph network with a map for each edge type.

    Edge features are shares of types, one-hot for one type an edge; without them all edges are of one type.

    Args:
        hidden_channels: width of the state; wider features are mapped to it first.
        num_layers: number of steps, which share their weights.
    """

    num_layers: int = 5
    dropout: float = 0.0


class _State(nn.Module):
    """The states of the nodes beside the first ones, ``[N, 2 hidden]``."""

    def __init__(self, config: TypedGGNNConfig, in_channels: int, edge_channels: int) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.hidden = hidden
        self.edge_channels = edge_channels
        self.first: nn.Module = nn.Identity() if in_channels <= hidden else Linear(in_channels, hidden)
        self.conv = GGNNConv(hidden, config.num_layers, max(edge_channels, 1))

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        reset(self.first)
        reset(self.conv)

    def forward(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None, edge_attr: Tensor | None
    ) -> Tensor:
        x = self.first(x)
        start = F.pad(x, (0, self.hidden - x.size(1)))
        if self.edge_channels and edge_attr is None:
            raise ValueError(
                f"ggnn-typed: the model was built for {self.edge_channels} edge features but edge_attr is "
                "missing; pass it"
            )
        shares = edge_attr if self.edge_channels else None
        if edge_weight is not None:
            shares = edge_weight[:, None] if shares is None else edge_weight[:, None] * shares
        return torch.cat([self.conv(start, edge_index, shares), start], dim=1)


class TypedGGNNEncoder(Encoder):
    """The last and the first state of each node, and a linear map.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]``, edge_attr ``[E, D]`` ->
        ``[N, out_channels]``.
    """

    def __init__(
        self, config: TypedGGNNConfig, task: Task, in_channels: int, out_channels: int, edge_channels: int = 0
    ) -> None:
        super().__init__(config, task)
        self.state = _State(config, in_channels, edge_channels)
        self.lin = Linear(2 * config.hidden_channels, out_channels)
        self.out_channels = out_channels

    def forward(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        """Codes ``[N, out_channels]``."""
        h = dropout(self.hidden(x, edge_index, edge_weight, edge_attr), self.dropout, self.training)
        return cast(Tensor, self.lin(h))

    def hidden(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        """Both states of each node, ``[N, 2 hidden]``."""
        return cast(Tensor, self.state(self._drop_input(x), edge_index, edge_weight, edge_attr))


class TypedGGNNGraphEncoder(GraphEncoder):
    r"""The paper's readout of a graph: each node's part counts as much as its gate lets through.

    .. math:: g = \tanh\Big(\sum_v \operatorname{sigmoid}\big(i(h_v, x_v)\big) \odot
        \tanh\big(j(h_v, x_v)\big)\Big)

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]``, edge_attr ``[E, D]`` -> ``[B, hidden]`` and
        None.
    """

    def __init__(
        self, config: TypedGGNNConfig, task: Task, in_channels: int, out_channels: int, edge_channels: int = 0
    ) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.input_dropout = config.input_dropout_for(task)
        self.state = _State(config, in_channels, edge_channels)
        self.gate = Linear(2 * hidden, hidden)
        self.part = Linear(2 * hidden, hidden)
        self.out_channels = hidden

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None,
        batch_size: int | None,
        edge_attr: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, hidden]``."""
        h = self.state(dropout(x, self.input_dropout, self.training), edge_index, None, edge_attr)
        parts = self.gate(h).sigmoid() * self.part(h).tanh()
        return global_add_pool(parts, batch, 1 if batch is None else batch_size).tanh(), None


def _typed(config: TypedGGNNConfig, task: Task, i: int, o: int, edges: int = 0) -> Encoder | GraphEncoder:
    kind = TypedGGNNGraphEncoder if task == "graph" else TypedGGNNEncoder
    return kind(config, task, i, o, edges)


MODELS: dict[str, Entry] = {"ggnn-typed": Entry(TypedGGNNConfig, _typed, edges=True)}
