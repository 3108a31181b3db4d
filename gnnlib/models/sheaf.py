"""Networks on sheaves: fixed restriction maps, and maps that are learned with the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from gnnlib.models.configs import Act, ModelConfig, Task
from gnnlib.models.encoders import Encoder, norm_of
from gnnlib.models.entry import Entry
from gnnlib.nn import Linear, NSDConv, SheafConv
from gnnlib.nn.conv.base import Adj
from gnnlib.sparse.dropout import dropout


@dataclass(frozen=True, kw_only=True)
class SheafConfig(ModelConfig):
    """What the networks on sheaves have in common.

    Args:
        hidden_channels: channels of each coordinate.
        stalk_dim: dimension of the space at each node and edge, at least 1.
    """

    hidden_channels: int = 16
    stalk_dim: int = 2
    act: Act = "elu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("stalk_dim", self.stalk_dim >= 1, "1 or more")

    @property
    def width(self) -> int:
        """Width of a hidden layer, all coordinates."""
        return self.hidden_channels * self.stalk_dim


@dataclass(frozen=True, kw_only=True)
class SheafNNConfig(SheafConfig):
    """Sheaf neural network with identity maps, the control for learned sheaves."""


@dataclass(frozen=True, kw_only=True)
class NSDConfig(SheafConfig):
    """Neural sheaf diffusion.

    Args:
        num_layers: steps of diffusion.
        kind: what the maps are.
        orth: how orthogonal maps are made.
        fixed_sheaf: learn the sheaf from the first features and keep it, which makes diffusion linear.
        edge_weights: weigh the edges of orthogonal maps.
        sparse_learner: learn the maps from the sum of a node's coordinates.
        left_weights: mix the coordinates in each step.
        right_weights: mix the channels in each step.
    """

    kind: Literal["diagonal", "orthogonal", "general"] = "diagonal"
    orth: Literal["householder", "cayley", "matrix_exp", "euler"] = "householder"
    fixed_sheaf: bool = False
    edge_weights: bool = True
    sparse_learner: bool = False
    left_weights: bool = True
    right_weights: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "orthogonal":
            self._require("stalk_dim", self.stalk_dim >= 2, "2 or more for orthogonal maps")


class SheafEncoder(Encoder):
    """Linear map to the stalks, layers on the sheaf, and a linear map of all coordinates.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` -> ``[N, out_channels]``; edge weights do not count.
    """

    def __init__(self, config: SheafConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task)
        width = config.width
        self.first = Linear(in_channels, width)
        self.convs = nn.ModuleList(self._conv(config, i) for i in range(config.num_layers))
        self.norms = nn.ModuleList(norm_of(config.norm_for(task), width) for _ in self.convs)
        self.out_channels = config.hidden_channels if task == "graph" else out_channels
        self.last = Linear(width, self.out_channels)

    def _conv(self, config: SheafConfig, layer: int) -> nn.Module:
        return SheafConv(config.width, config.width, config.stalk_dim)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        return cast(Tensor, self.last(self.hidden(x, edge_index)))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """The input of the last linear map, ``[N, stalk_dim hidden]``."""
        return self._diffuse(self._stalks(x), edge_index)

    def _stalks(self, x: Tensor) -> Tensor:
        h = self.first(self._drop_input(x))
        return dropout(h if self.act is None else self.act(h), self.dropout, self.training)

    def _diffuse(self, h: Tensor, edge_index: Adj) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = self._between(conv(h, edge_index), norm)
        return h


class NSDEncoder(SheafEncoder):
    """Neural sheaf diffusion; activation and dropout are inside each step.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` -> ``[N, out_channels]``; edge weights do not count.
    """

    def __init__(self, config: NSDConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task, in_channels, out_channels)
        self.fixed = config.fixed_sheaf

    def _conv(self, config: SheafConfig, layer: int) -> nn.Module:
        assert isinstance(config, NSDConfig)
        return NSDConv(
            config.width,
            config.stalk_dim,
            kind=config.kind,
            orth=config.orth,
            edge_weights=config.edge_weights,
            sparse_learner=config.sparse_learner,
            left_weights=config.left_weights,
            right_weights=config.right_weights,
            dropout=config.dropout,
            map_dropout=config.dropout if layer else 0.0,
            learn_maps=layer == 0 or not config.fixed_sheaf,
        )

    def _diffuse(self, h: Tensor, edge_index: Adj) -> Tensor:
        sheaf = cast(NSDConv, self.convs[0]).sheaf(h, edge_index) if self.fixed else None
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = norm(conv(h, edge_index, sheaf))
        return h


MODELS: dict[str, Entry] = {
    "nsd": Entry(NSDConfig, NSDEncoder),
    "sheafnn": Entry(SheafNNConfig, SheafEncoder),
}
