"""SEAL: a pair of nodes is scored by a graph network on the subgraph that encloses it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.models.configs import Decoder, ModelConfig, Task
from gnnlib.models.entry import Entry
from gnnlib.nn import MLP, GCNConv, SortAggregation
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.init import reset
from gnnlib.sparse import as_csr
from gnnlib.sparse.enclosing import Labelling, enclosing_subgraphs, label_nodes

KERNELS = (16, 32)  # channels of the two convolutions of DGCNN
PAIRS = 512  # in evaluation; only memory depends on it


@dataclass(frozen=True, kw_only=True)
class SEALConfig(ModelConfig):
    """SEAL with the network DGCNN; train it with ``remove_targets=false``, it leaves out a pair's own edge.

    Args:
        hidden_channels: width of the convolutions, and of the embedded labels.
        num_layers: convolutions of that width; one of width 1 follows, by which nodes are sorted.
        head_channels: width of the hidden layer of the last network.
        hops: radius of the subgraphs, at least 1.
        most: nodes that are drawn of more at one distance from the nearer end; None: all are kept.
        label: the labelling of nodes, see :func:`gnnlib.sparse.enclosing.label_nodes`.
        labels: how many labels are embedded; larger ones count as the largest.
        sort_k: nodes that are kept of a subgraph, at least 10;
            :meth:`gnnlib.loader.EnclosingSubgraphs.size_quantile` counts what the authors take.
    """

    hidden_channels: int = 32
    num_layers: int = 3
    decoder: Decoder = "mlp"
    head_channels: int = 128
    hops: int = 1
    most: int | None = None
    label: Labelling = "drnl"
    labels: int = 1000
    sort_k: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("decoder", self.decoder == "mlp", "mlp: a network looks at the subgraph")
        self._require("sort_k", self.sort_k >= 10, "10 or more: two convolutions go over the sorted nodes")
        for name in ("hops", "labels", "head_channels"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("most", self.most is None or self.most >= 1, "1 or more, or None")


class DGCNN(nn.Module):
    r"""Deep graph convolutional network: convolutions, the nodes of largest last channel in order, a CNN.

    .. math:: H^{(l+1)} = \tanh(\mathrm{GCN}(H^{(l)})), \qquad
        r_g = \mathrm{MLP}\big(\mathrm{CNN}(\mathrm{SortPool}_k(H^{(1)} \,\|\, \dots \,\|\, H^{(L+1)}))\big)

    with L layers of the hidden width and one of width 1. Zhang et al., An End-to-End Deep Learning
    Architecture for Graph Classification, AAAI 2018.

    Args:
        in_channels: width of x.
        hidden_channels: width of the convolutions.
        num_layers: L.
        k: nodes that are kept, at least 10.
        head_channels: width of the hidden layer of the MLP.
        dropout: in the MLP.

    Shapes: x ``[n, in]``, edge_index ``[2, e]``, ptr ``[B + 1]`` -> ``[B]``.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        k: int,
        head_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        widths = [in_channels, *[hidden_channels] * num_layers, 1]
        self.convs = nn.ModuleList(GCNConv(i, o) for i, o in pairwise(widths))
        self.sort = SortAggregation(k)
        self.width = sum(widths[1:])
        self.first = nn.Conv1d(1, KERNELS[0], self.width, self.width)
        self.second = nn.Conv1d(KERNELS[0], KERNELS[1], 5)
        self.mlp = MLP([KERNELS[1] * (k // 2 - 4), head_channels, 1], norm=None, dropout=dropout)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def forward(self, x: Tensor, edge_index: Adj, ptr: Tensor) -> Tensor:
        """Logits ``[B]``."""
        layers = [x]
        for conv in self.convs:
            layers.append(conv(layers[-1], edge_index).tanh())
        h = self.sort(torch.cat(layers[1:], dim=1), ptr=ptr)
        h = F.max_pool1d(self.first(h.unsqueeze(1)).relu(), 2)
        return cast(Tensor, self.mlp(self.second(h).relu().flatten(1)).squeeze(1))


class SEALModel(nn.Module):
    r"""Scores of node pairs from the subgraphs that enclose them.

    .. math:: s_{uv} = \mathrm{DGCNN}\big([e(z_w) \,\|\, x_w]_{w \in G_{uv}}, G_{uv}\big)

    with e an embedding of the structural labels z, added up where a node has two. Zhang and Chen, Link
    Prediction Based on Graph Neural Networks, NeurIPS 2018. Nothing is computed for all nodes at once, so
    ``encode`` gives the features back.

    Args:
        config: the options it was built from.
        in_channels: width of x.

    Shapes: as :class:`gnnlib.models.LinkModel`; decode takes the graph.
    Raises: ValueError when decode is called without the graph.
    """

    uses_graph = True

    def __init__(self, config: SEALConfig, in_channels: int) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_channels
        self.embedding = nn.Embedding(config.labels, width)
        self.network = DGCNN(
            width + in_channels, width, config.num_layers, config.sort_k, config.head_channels, config.dropout
        )

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def encode(self, x: Tensor, edge_index: Adj) -> Tensor:
        """The features ``[N, in]`` themselves."""
        return x

    def decode(self, z: Tensor, pairs: Tensor, graph: Adj | None = None) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]`` from features z ``[N, in]`` and the graph."""
        if graph is None:
            raise ValueError("SEALModel: decode needs the graph; pass decode(z, pairs, edge_index)")
        size = pairs.size(1) if self.training else PAIRS
        return torch.cat([self._scores(z, chunk, graph) for chunk in torch.split(pairs, max(size, 1), dim=1)])

    def forward(self, x: Tensor, edge_index: Adj, pairs: Tensor) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]``."""
        return self.decode(self.encode(x, edge_index), pairs, edge_index)

    def _scores(self, x: Tensor, pairs: Tensor, graph: Adj) -> Tensor:
        c, device = self.config, x.device
        seed = int(torch.empty((), dtype=torch.int64).random_()) if self.training and c.most else 0
        adj = as_csr(graph, x.size(0))
        found = enclosing_subgraphs(adj, pairs, c.hops, apart=c.label == "drnl", most=c.most, seed=seed)
        label = label_nodes(found, c.label).clamp(max=c.labels - 1).to(device)
        x = torch.cat([self.embedding(label).sum(1), x.index_select(0, found.node.to(device))], dim=1)
        adj = as_csr(found.edge_index.to(device), x.size(0))
        return cast(Tensor, self.network(x, adj, found.ptr.to(device)))


def _seal(config: SEALConfig, task: Task, in_channels: int, out_channels: int) -> nn.Module:
    return SEALModel(config, in_channels)


MODELS: dict[str, Entry] = {"seal": Entry(SEALConfig, None, frozenset({"link"}), _seal)}
