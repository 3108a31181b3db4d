"""Networks of directed graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.models.basic import stack
from gnnlib.models.configs import Act, Jump, ModelConfig, StackConfig, Task
from gnnlib.models.encoders import Encoder, MakeConv
from gnnlib.models.entry import Entry
from gnnlib.nn import (
    ComplexFaberConv,
    DGCNConv,
    DiGCNConv,
    DiGCNInceptionConv,
    DirGCNConv,
    DirGNNConv,
    DirResolvConv,
    FaberConv,
    GATConv,
    Linear,
    MagNetConv,
    SAGEConv,
)
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.conv.complex import modulus_relu
from gnnlib.sparse.dropout import dropout


@dataclass(frozen=True, kw_only=True)
class DirectedConfig(StackConfig):
    """What the stacks of directed convolutions have in common.

    Args:
        alpha: share of the direction against the edges, in [0, 1].
        unit_rows: divide each hidden row by its L2 norm.
    """

    alpha: float = 0.5
    unit_rows: bool = False
    num_layers: int = 3
    jk: Jump = "max"


@dataclass(frozen=True, kw_only=True)
class DirGNNConfig(DirectedConfig):
    """Dir-GNN: a convolution for each direction of the edges.

    Args:
        conv: the convolution; ``"gcn"`` has the directed normalisation and no root term.
    """

    conv: Literal["gcn", "sage", "gat"] = "gcn"


@dataclass(frozen=True, kw_only=True)
class FaberNetConfig(DirectedConfig):
    """FaberNet: powers of the directed operator and of its reverse.

    Args:
        K: highest power, at least 1.
        exponent: of both degrees in the operator.
        zero_order: begin with the power 0.
        penalty: what divides the powers, see :class:`gnnlib.nn.FaberConv`.
        complex_weights: maps, hidden layers and their activations are complex; the last map sees both parts.
        act: ``"abs"`` is the paper's.
    """

    K: int = 2
    exponent: float = -0.25
    zero_order: bool = False
    penalty: Literal["exp", "lin"] = "exp"
    complex_weights: bool = False
    act: Act = "abs"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("K", self.K >= 1, "1 or more")

    @property
    def width(self) -> int:
        """Width of a hidden layer, both parts of complex ones."""
        return self.hidden_channels * (2 if self.complex_weights else 1)


@dataclass(frozen=True, kw_only=True)
class DirResolvNetConfig(DirectedConfig):
    """Dir-ResolvNet: powers of the resolvent of the directed Laplacian.

    Args:
        K: highest power, at least 1.
        act: ``"abs"`` is the paper's.
    """

    K: int = 1
    num_layers: int = 2
    act: Act = "abs"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("K", self.K >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class MagNetConfig(ModelConfig):
    """MagNet: complex Chebyshev filters of the magnetic Laplacian, then a map of both parts.

    Args:
        hidden_channels: complex width of the hidden layers.
        num_layers: number of filters.
        K: order of the polynomials, at least 0.
        q: the charge, in [0, 0.25].
        act: the complex ReLU, whatever it says.
    """

    hidden_channels: int = 16
    K: int = 1
    q: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("q", 0 <= self.q <= 0.25, "a number from 0 to 0.25")


@dataclass(frozen=True, kw_only=True)
class DiGCNConfig(StackConfig):
    """DiGCN: convolutions over the operator of a personalised PageRank.

    Args:
        alpha: teleport probability in (0, 1).
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("alpha", 0 < self.alpha < 1, "a number between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class DiGCNIBConfig(DiGCNConfig):
    """DiGCN with inception blocks, which add the node itself and the nodes that it meets.

    Args:
        cap: leave out meeting points with more edges than this; None: none.
    """

    cap: int | None = None


@dataclass(frozen=True, kw_only=True)
class DGCNConfig(StackConfig):
    """DGCN: convolutions over the undirected graph, common sources and common targets.

    Args:
        cap: leave out meeting points with more edges than this; None: none.
    """

    cap: int | None = None


class UnitRows(nn.Module):
    """A convolution whose output rows have length 1.

    Args:
        conv: the convolution.

    Shapes: those of the convolution.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.takes_edge_weight = getattr(conv, "takes_edge_weight", False)

    def forward(self, *args: Any) -> Tensor:
        """Call the convolution and divide each row by its length."""
        return F.normalize(self.conv(*args), dim=1)


class Widened(nn.Module):
    """Several convolutions side by side, mapped to one width.

    Args:
        conv: the convolution.
        wide: width of its output.
        out_channels: width of the map.

    Shapes: x ``[N, in]`` -> ``[N, out_channels]``.
    """

    takes_edge_weight = True

    def __init__(self, conv: nn.Module, wide: int, out_channels: int) -> None:
        super().__init__()
        self.conv = conv
        self.lin = Linear(wide, out_channels)

    def forward(self, *args: Any) -> Tensor:
        """Call the convolution and map its output."""
        return cast(Tensor, self.lin(self.conv(*args)))


class MagNetEncoder(Encoder):
    """Complex filters with complex ReLU, and a linear map of real and imaginary parts.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out_channels]``.
    """

    def __init__(self, config: MagNetConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__(config, task)
        hidden = config.hidden_channels
        self.convs = nn.ModuleList(
            MagNetConv(hidden if i else in_channels, hidden, config.K, q=config.q)
            for i in range(config.num_layers)
        )
        self.out_channels = config.hidden_channels if task == "graph" else out_channels
        self.lin = Linear(2 * hidden, self.out_channels)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out_channels]``."""
        h = self.hidden(x, edge_index, edge_weight)
        return cast(Tensor, self.lin(dropout(h, self.dropout, self.training)))

    def hidden(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Real and imaginary parts of the last layer, ``[N, 2 hidden]``."""
        h = self._drop_input(x)
        for conv in self.convs:
            h = modulus_relu(conv(h, edge_index, edge_weight))
        return h


def _unit(make: Callable[[int, int], nn.Module], config: DirectedConfig) -> MakeConv:
    """The convolutions, whose hidden rows have length 1 where the config says so."""

    def made(i: int, o: int, last: bool) -> nn.Module:
        conv = make(i, o)
        return UnitRows(conv) if config.unit_rows and not last else conv

    return made


def _dirgnn(c: DirGNNConfig) -> MakeConv:
    if c.conv == "gcn":
        return _unit(lambda i, o: DirGCNConv(i, o, alpha=c.alpha), c)
    if c.conv == "sage":
        return _unit(lambda i, o: DirGNNConv(SAGEConv(i, o, root_weight=False), c.alpha), c)
    return _unit(lambda i, o: DirGNNConv(GATConv(i, o), c.alpha, root_weight=False), c)


def _fabernet(c: FaberNetConfig) -> MakeConv:
    options: dict[str, Any] = {
        "alpha": c.alpha,
        "exponent": c.exponent,
        "zero_order": c.zero_order,
        "penalty": c.penalty,
    }
    if not c.complex_weights:
        return _unit(lambda i, o: FaberConv(i, o, c.K, **options), c)

    def make(i: int, o: int, last: bool) -> nn.Module:
        inside = c.hidden_channels if i == c.width else i
        conv = ComplexFaberConv(inside, c.hidden_channels, c.K, **options)
        if o != c.width or last:  # a plain last layer maps both parts to scores
            return Widened(conv, c.width, o)
        return UnitRows(conv) if c.unit_rows else conv

    return make


def _dirresolvnet(c: DirResolvNetConfig) -> MakeConv:
    return _unit(lambda i, o: DirResolvConv(i, o, c.K, alpha=c.alpha), c)


def _digcn(c: DiGCNConfig) -> MakeConv:
    return lambda i, o, last: DiGCNConv(i, o, alpha=c.alpha)


def _digcnib(c: DiGCNIBConfig) -> MakeConv:
    return lambda i, o, last: DiGCNInceptionConv(i, o, alpha=c.alpha, cap=c.cap)


def _dgcn(c: DGCNConfig) -> MakeConv:
    return lambda i, o, last: Widened(DGCNConv(i, o, cap=c.cap), 3 * o, o)


MODELS: dict[str, Entry] = {
    "dgcn": Entry(DGCNConfig, stack(_dgcn)),
    "digcn": Entry(DiGCNConfig, stack(_digcn)),
    "digcnib": Entry(DiGCNIBConfig, stack(_digcnib)),
    "dirgnn": Entry(DirGNNConfig, stack(_dirgnn)),
    "dirresolvnet": Entry(DirResolvNetConfig, stack(_dirresolvnet)),
    "fabernet": Entry(FaberNetConfig, stack(_fabernet)),
    "magnet": Entry(MagNetConfig, MagNetEncoder),
}
