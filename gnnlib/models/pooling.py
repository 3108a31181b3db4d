"""Hierarchical graph classifiers: convolutions and poolings in turn, a readout of every level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.encoders import GraphEncoder, norm_of
from gnnlib.models.entry import Entry
from gnnlib.nn import (
    ASAPooling,
    DiffPool,
    DMoNPooling,
    EdgePooling,
    GCNConv,
    GraclusPooling,
    GraphConv,
    KMISPooling,
    Linear,
    MinCutPooling,
    NDPPooling,
    SAGEConv,
    SAGPooling,
    TopKPooling,
)
from gnnlib.nn.act import activation
from gnnlib.nn.aggr.reduce import reduce_sets
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.pool import Pooling
from gnnlib.sparse import as_csr, spmm
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.sets import as_sets

Pool: TypeAlias = Literal["asap", "diff", "dmon", "edge", "graclus", "kmis", "mincut", "ndp", "sag", "topk"]
Conv: TypeAlias = Literal["gcn", "graphconv", "mean-skip", "sage"]


@dataclass(frozen=True, kw_only=True)
class PooledConfig(ModelConfig):
    """Convolution, pooling and readout at every level; the readouts of the levels are added up.

    A readout is the mean beside the maximum of the nodes, so its width is twice ``hidden_channels``; a hidden
    layer follows, and the linear map of every graph model.

    Args:
        num_layers: number of levels, each a convolution and a pooling.
        pooling: the pooling, by name.
        conv: the convolution; ``mean-skip`` is that of Cangea et al., the mean of a node and its neighbours
            through one map, and the node through another one.
        ratio: share of the nodes that topk, sag and asap keep, in (0, 1].
        clusters: clusters of a graph in diff, mincut and dmon; a level has half of those of the one before.
        steps: how far apart the centres of kmis are, less 1.
        auxiliary: weight of the losses that diff, mincut and dmon add to the training loss.
    """

    num_layers: int = 3
    dropout: float = 0.0
    pooling: Pool = "kmis"
    conv: Conv = "graphconv"
    ratio: float = 0.5
    clusters: int = 16
    steps: int = 1
    auxiliary: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("ratio", 0 < self.ratio <= 1, "a share of the nodes, above 0 and at most 1")
        self._require("clusters", self.clusters >= 1, "1 or more")
        self._require("steps", self.steps >= 0, "0 or more")
        self._require("auxiliary", self.auxiliary >= 0, "0 or more")


@dataclass(frozen=True, kw_only=True)
class HierarchicalConfig(PooledConfig):
    """The sparse hierarchical classifier of Cangea et al.: mean-skip convolutions and TopK, three levels.

    Towards Sparse Hierarchical Graph Classifiers, NeurIPS R2L workshop 2018: ratio 0.8, hidden 64.
    """

    norm: Literal["auto", "none", "batch", "layer"] = "none"
    pooling: Pool = "topk"
    conv: Conv = "mean-skip"
    ratio: float = 0.8


class MeanSkipConv(nn.Module):
    r"""The convolution :math:`\hat D^{-1} \hat A X \Theta + X \Theta'` with :math:`\hat A = A + I`.

    Cangea et al., Towards Sparse Hierarchical Graph Classifiers, 2018, Eq. 1.

    Args:
        in_channels: width of x.
        out_channels: width of the output.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` or None -> ``[N, out]``.
    """

    takes_edge_weight = True

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin = Linear(in_channels, out_channels, bias=False)
        self.skip = Linear(in_channels, out_channels, bias=False)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()
        self.skip.reset_parameters()

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Convolve x ``[N, in]`` -> ``[N, out]``."""
        adj = as_csr(edge_index, x.size(0)).add_self_loops()
        if edge_weight is None:
            mean = spmm(adj, x, None, "mean")
        else:
            weight = torch.cat([edge_weight, edge_weight.new_ones(x.size(0))])
            mean = spmm(adj, x, weight) / spmm(adj, x.new_ones(x.size(0), 1), weight)
        return cast(Tensor, self.lin(mean) + self.skip(x))


_CONVS: dict[str, Callable[[int, int], nn.Module]] = {
    "gcn": GCNConv,
    "graphconv": GraphConv,
    "mean-skip": MeanSkipConv,
    "sage": SAGEConv,
}


def _pooling(config: PooledConfig, level: int) -> Pooling:
    width, k = config.hidden_channels, max(config.clusters >> level, 1)
    make: dict[str, Callable[[], Pooling]] = {
        "asap": lambda: ASAPooling(width, config.ratio),
        "diff": lambda: DiffPool(width, k, GNN=GraphConv),
        "dmon": lambda: DMoNPooling(width, k),
        "edge": lambda: EdgePooling(width),
        "graclus": GraclusPooling,
        "kmis": lambda: KMISPooling(width, config.steps, score="linear"),
        "mincut": lambda: MinCutPooling(width, k),
        "ndp": NDPPooling,
        "sag": lambda: SAGPooling(width, config.ratio, GNN=GCNConv),
        "topk": lambda: TopKPooling(width, config.ratio),
    }
    return make[config.pooling]()


class PooledEncoder(GraphEncoder):
    """Levels of convolution, normalisation, activation and pooling; the sum of readouts; a hidden layer.

    Args:
        config: the options.
        task: graph.
        in_channels: width of x.
        out_channels: not looked at; the head maps the hidden layer.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]`` -> ``[B, hidden]`` and a scalar or None.
    """

    def __init__(self, config: PooledConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = config.hidden_channels
        widths = [in_channels] + [width] * config.num_layers
        self.out_channels = width
        self.dropout = config.dropout
        self.input_dropout = config.input_dropout_for(task)
        self.auxiliary = config.auxiliary
        self.has_auxiliary = config.pooling in ("diff", "dmon", "mincut")
        self.act = None if config.act == "none" else activation(config.act)
        self.convs = nn.ModuleList(_CONVS[config.conv](i, o) for i, o in pairwise(widths))
        kind = config.norm_for(task)
        self.norms = nn.ModuleList(norm_of(kind, width) for _ in self.convs)
        self.pools = nn.ModuleList(_pooling(config, level) for level in range(config.num_layers))
        self.lin = Linear(2 * width, width)

    def forward(
        self, x: Tensor, edge_index: Adj, batch: Tensor | None, batch_size: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, hidden]`` and the weighted sum of the auxiliary losses."""
        batch = torch.zeros(x.size(0), dtype=torch.int64, device=x.device) if batch is None else batch
        size = int(batch.max()) + 1 if batch_size is None else batch_size
        x = dropout(x, self.input_dropout, self.training)
        weight: Tensor | None = None
        readouts: list[Tensor] = []
        losses: list[Tensor] = []
        for conv, norm, pool in zip(self.convs, self.norms, self.pools, strict=True):
            weighted = weight is not None and getattr(conv, "takes_edge_weight", False)
            x = norm(conv(x, edge_index, weight) if weighted else conv(x, edge_index))
            x = x if self.act is None else self.act(x)
            x = dropout(x, self.dropout, self.training)
            out = cast(Pooling, pool).coarsen(x, edge_index, weight, batch, size)
            x, edge_index, weight, batch = out.x, out.edge_index, out.edge_weight, out.batch
            readouts.append(torch.cat(reduce_sets(as_sets(x, batch, None, size), x, ["mean", "max"]), dim=1))
            losses += out.loss.values()
        code: Tensor = self.lin(torch.stack(readouts).sum(0))
        code = code if self.act is None else self.act(code)
        return code, self.auxiliary * torch.stack(losses).sum() if losses else None


MODELS: dict[str, Entry] = {
    "hierarchical": Entry(HierarchicalConfig, PooledEncoder, frozenset({"graph"})),
    "pooled": Entry(PooledConfig, PooledEncoder, frozenset({"graph"})),
}
