"""Neural fingerprints with a hidden layer on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import GraphEncoder
from gnnlib.models.entry import Entry
from gnnlib.nn import Linear, NeuralFingerprint
from gnnlib.nn.conv.base import Adj
from gnnlib.sparse.dropout import dropout


@dataclass(frozen=True, kw_only=True)
class FingerprintConfig(ModelConfig):
    """Neural fingerprints of Duvenaud et al. and a network of one hidden layer.

    Args:
        hidden_channels: width of a layer of the fingerprint.
        num_layers: its number of layers.
        length: length of the fingerprint, at least 1.
        head_channels: width of the hidden layer on top, at least 1.
        atom_channels: width of the code of an atom and of a bond, where these are categories.
        max_degree: largest degree with weights of its own.
        variant: ``official``, the authors' code; ``paper``; ``pyg``, which sees no bonds.
    """

    hidden_channels: int = 20
    num_layers: int = 4
    dropout: float = 0.0
    length: int = 512
    head_channels: int = 100
    atom_channels: int = 64
    max_degree: int = 5
    variant: Literal["official", "paper", "pyg"] = "official"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("length", "head_channels", "atom_channels"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("max_degree", self.max_degree >= 0, "0 or more")

    @property
    def width(self) -> int:
        """Width of the code of an atom and of a bond."""
        return self.atom_channels


class FingerprintEncoder(GraphEncoder):
    """A neural fingerprint and a hidden layer.

    Args:
        config: the options.
        task: graph.
        in_channels: width of x.
        out_channels: not looked at; the head maps the hidden layer.
        edge_channels: width of edge_attr, 0 for graphs without.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]``, edge_attr ``[E, D]`` -> ``[B, head]`` and
        None.
    """

    def __init__(
        self,
        config: FingerprintConfig,
        task: Task,
        in_channels: int,
        out_channels: int,
        edge_channels: int = 0,
    ) -> None:
        super().__init__()
        self.fingerprint = NeuralFingerprint(
            in_channels,
            config.hidden_channels,
            config.length,
            config.num_layers,
            config.max_degree,
            edge_dim=edge_channels if edge_channels and config.variant != "pyg" else None,
            variant=config.variant,
        )
        self.takes_bonds = bool(edge_channels) and config.variant != "pyg"
        self.input_dropout = config.input_dropout_for(task)
        self.lin = Linear(config.length, config.head_channels)
        self.out_channels = config.head_channels

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None,
        batch_size: int | None,
        edge_attr: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, head]``."""
        x = dropout(x, self.input_dropout, self.training)
        bonds = edge_attr if self.takes_bonds else None
        code = self.fingerprint(x, edge_index, batch, 1 if batch is None else batch_size, edge_attr=bonds)
        out: Tensor = self.lin(code).relu()
        return out, None


MODELS: dict[str, Entry] = {
    "fingerprint": Entry(FingerprintConfig, FingerprintEncoder, frozenset({"graph"}), edges=True)
}
