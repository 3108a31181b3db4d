"""CatGCN: sets of categories encoded by their interactions, and spread over the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import Encoder
from gnnlib.models.entry import Entry
from gnnlib.nn import APPNP
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.encode import CatEncoder, id_lists


@dataclass(frozen=True, kw_only=True)
class CatGCNConfig(ModelConfig):
    """CatGCN: a node is the set of its nonzero features, whose interactions are encoded and then propagated.

    Args:
        hidden_channels: width of the embeddings and of the hidden layers.
        num_layers: linear maps of each of the two MLPs.
        input_dropout: probability in [0, 1) of leaving an id out of its set in training.
        K: steps of propagation, at least 0.
        probe: weight of an id against the rest of its set, at least 0.
        beta: share of the global interactions, in [0, 1].
    """

    K: int = 2
    probe: float = 1.0
    beta: float = 0.5
    dropout: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("probe", self.probe >= 0, "0 or more")
        self._require("beta", 0 <= self.beta <= 1, "a number from 0 to 1")


class CatGCNEncoder(Encoder):
    r"""Codes of the nodes' sets, propagated: :math:`S^K x`.

    Shapes: x ``[N, in]``, whose nonzero entries are the ids; edge_index ``[2, E]``, edge_weight ``[E]`` ->
        ``[N, out_channels]``.
    """

    def __init__(self, config: CatGCNConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task)
        hidden = config.hidden_channels
        self.encoder = CatEncoder(
            in_channels,
            hidden,
            out_channels,
            config.probe,
            config.beta,
            num_layers=config.num_layers,
            dropout=config.dropout,
        )
        self.prop = APPNP(config.K, alpha=0.0)  # without a teleport: the power alone
        self.out_channels = out_channels

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        return cast(Tensor, self.prop(self.encoder(*self._sets(x)), edge_index, edge_weight))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The interactions that the MLPs see, mixed as their outputs are, and propagated, ``[N, hidden]``."""
        whole, pairs = self.encoder.interactions(*self._sets(x))
        beta = self.encoder.beta
        return cast(Tensor, self.prop(beta * whole + (1 - beta) * pairs, edge_index, edge_weight))

    def _sets(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The ids of each node; in training some of them are left out."""
        ids, ptr = id_lists(x)
        if not self.training or self.input_dropout == 0:
            return ids, ptr
        kept = torch.rand(ids.numel(), device=ids.device) >= self.input_dropout
        before = torch.cat([ptr.new_zeros(1), kept.cumsum(0)])
        return ids[kept], before[ptr]


MODELS: dict[str, Entry] = {"catgcn": Entry(CatGCNConfig, CatGCNEncoder, frozenset({"node", "link"}))}
