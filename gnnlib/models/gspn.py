"""Graph-induced sum-product networks as classifiers of graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import GraphEncoder
from gnnlib.models.entry import Entry
from gnnlib.nn import GSPN, GSPNReadout
from gnnlib.nn.conv.base import Adj


@dataclass(frozen=True, kw_only=True)
class GSPNConfig(ModelConfig):
    """Graph-induced sum-product network with a sum unit of the graph and a linear map without bias.

    Args:
        hidden_channels: mixture components of a node.
        num_layers: its layers.
        input_dropout: probability in [0, 1) of hiding an attribute in training, exactly as if it were
            missing.
        dropout: on the mixture of the graph.
        graph_mixtures: mixture components of a graph, at least 1.
        emission: ``categorical`` for one-hot features; ``gaussian`` for standardised real ones.
        avg_emission: take the mean of the layers' parameters for the likelihood.
        likelihood: weight of the mean negative log-likelihood of the nodes in the training loss, at least 0.
    """

    head_bias: ClassVar[bool] = False

    hidden_channels: int = 20
    num_layers: int = 5
    dropout: float = 0.0
    graph_mixtures: int = 32
    emission: Literal["categorical", "gaussian"] = "categorical"
    avg_emission: bool = True
    likelihood: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("graph_mixtures", self.graph_mixtures >= 1, "1 or more")
        self._require("likelihood", self.likelihood >= 0, "0 or more")


class GSPNEncoder(GraphEncoder):
    """Posteriors of the nodes, mixed and pooled.

    Args:
        config: the options.
        task: graph.
        in_channels: width of x.
        out_channels: not looked at; the head maps the mixture.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]`` -> ``[B, graph_mixtures]`` and, with
        ``likelihood``, a scalar.
    """

    def __init__(self, config: GSPNConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__()
        components, layers = config.hidden_channels, config.num_layers
        self.gspn = GSPN(in_channels, components, layers, config.emission, avg_emission=config.avg_emission)
        self.readout = GSPNReadout(components, layers, config.graph_mixtures, config.readout)
        self.hidden_share = config.input_dropout_for(task)
        self.likelihood = config.likelihood
        self.has_auxiliary = config.likelihood > 0
        self.out_channels = config.graph_mixtures

    def forward(
        self, x: Tensor, edge_index: Adj, batch: Tensor | None, batch_size: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, graph_mixtures]`` and what the nodes' likelihood adds to the loss."""
        observed = None
        if self.training and self.hidden_share > 0:
            observed = torch.rand(x.size(0), len(self.gspn.sizes), device=x.device) >= self.hidden_share
        h = self.gspn(x, edge_index, observed)
        code = self.readout(h, batch, 1 if batch is None else batch_size)
        if not self.has_auxiliary:
            return code, None
        return code, -self.likelihood * self.gspn.log_likelihood(x, edge_index, observed).mean()


MODELS: dict[str, Entry] = {"gspn": Entry(GSPNConfig, GSPNEncoder, frozenset({"graph"}))}
