"""Neo-GNN: link prediction from the overlap of neighbourhoods whose nodes have learned weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.models.configs import Decoder, StackConfig, Task
from gnnlib.models.encoders import ConvStack, Encoder
from gnnlib.models.entry import Entry
from gnnlib.models.heads import LinkModel
from gnnlib.nn import MLP, GCNConv
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.init import reset
from gnnlib.nn.link.heuristics import pair_graph
from gnnlib.sparse import as_csr, common_neighbors, segment_reduce, spgemm, spmm
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.symmetric import keys


@dataclass(frozen=True, kw_only=True)
class NeoGNNConfig(StackConfig):
    """Neo-GNN: a GCN's scores mixed with those of weighted overlaps of neighbourhoods.

    Args:
        beta: weight of two steps beside one, at least 0.
        edge_channels: hidden width of the network of an entry of the adjacency.
        node_channels: hidden width of the network of a node's sum of them.
        overlap_channels: hidden width of the network of an overlap.
    """

    hidden_channels: int = 256
    dropout: float = 0.0
    decoder: Decoder = "mlp"
    beta: float = 0.1
    edge_channels: int = 8
    node_channels: int = 128
    overlap_channels: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("beta", self.beta >= 0, "0 or more")
        for name in ("edge_channels", "node_channels", "overlap_channels"):
            self._require(name, getattr(self, name) >= 1, "1 or more")


class NeighborhoodOverlap(nn.Module):
    r"""Logits of node pairs from the overlap of their weighted neighbourhoods.

    .. math:: s_i = f_{\text{node}}\Big(\sum_j f_{\text{edge}}(\tilde A_{ij})\Big), \qquad
        g_{uv} = g_\phi\Big(\sum_k \tilde A_{uk} s_k \cdot \tilde A_{vk} s_k\Big), \qquad
        \tilde A = A + \beta A^2

    with networks f and g of one hidden layer; the sums go over the entries of the matrix. Yun et al.,
    Neo-GNNs: Neighborhood Overlap-aware Graph Neural Networks for Link Prediction, NeurIPS 2021.

    Args:
        config: beta and the widths.

    Shapes: graph ``[N, N]``, pairs ``[2, P]`` -> ``[P]``.
    Cost: A squared once for a graph; then the overlaps of the pairs.
    """

    def __init__(self, config: NeoGNNConfig) -> None:
        super().__init__()
        self.beta = config.beta
        self.edge = MLP([1, config.edge_channels, 1], norm=None)
        self.node = MLP([1, config.node_channels, 1], norm=None)
        self.overlap = MLP([1, config.overlap_channels, 1], norm=None)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def forward(self, graph: CSR, pairs: Tensor) -> Tensor:
        """Logits ``[P]`` of pairs ``[2, P]``."""
        dtype = next(self.parameters()).dtype
        near = two_steps(pair_graph("NeighborhoodOverlap", graph, pairs), self.beta, dtype)
        assert near.value is not None
        value, place = near.value.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        entry = self.edge(value[:, None]).index_select(0, place)  # few values are different
        s = self.node(segment_reduce(entry, near.indptr))
        both = common_neighbors(near, pairs)
        known, start = near.derive("keys", keys), pairs * near.num_cols
        found = [torch.searchsorted(known, first[both.rows] + both.indices) for first in start]
        weight = near.value[found[0]] * near.value[found[1]]
        return cast(Tensor, self.overlap(spmm(both, s.square(), weight)).squeeze(1))


def two_steps(adj: CSR, beta: float, dtype: torch.dtype = torch.float32) -> CSR:
    """``A + beta A^2`` of a graph without duplicates, kept with it.

    Shapes: ``[N, N]`` -> ``[N, N]`` with values, at the places of A and, unless beta is 0, of its square.
    """

    def make(a: CSR) -> CSR:
        ones = torch.ones(a.num_edges, dtype=dtype, device=a.device)
        if beta == 0:
            return a.with_value(ones)
        looped = a.add_self_loops()
        value = torch.full((looped.num_values,), beta, dtype=dtype, device=a.device)
        value[a.num_values :] = 1.0
        return spgemm(a.with_value(ones), looped.with_value(value))

    return adj.derive(("two steps", beta, dtype), make)


class NeoGNNModel(LinkModel):
    r"""Scores of node pairs from a mixture of two probabilities, of structure and of features.

    .. math:: p_{uv} = a_1\, \sigma(g_{uv}) + a_2\, \sigma(f(z_u \odot z_v)), \qquad
        a = \operatorname{softmax}(\theta), \qquad s_{uv} = \ln p_{uv} - \ln(1 - p_{uv})

    Yun et al., NeurIPS 2021. The authors add a loss of each part to that of the mixture; here the task's loss
    of the mixture is all, and both parts learn from it.

    Args:
        config: the options it was built from.
        encoder: from features to codes z.

    Shapes: as :class:`LinkModel`; decode takes the graph that codes were made on.
    Raises: ValueError when decode is called without the graph.
    """

    uses_graph = True

    def __init__(self, config: NeoGNNConfig, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        self.structure = NeighborhoodOverlap(config)
        self.mixture = nn.Parameter(torch.zeros(2))

    def reset_parameters(self) -> None:
        """Draw new parameters; the mixture starts even."""
        super().reset_parameters()
        nn.init.zeros_(self.mixture)

    def decode(self, z: Tensor, pairs: Tensor, graph: Adj | None = None) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]`` from codes z ``[N, hidden]`` and the graph."""
        if graph is None:
            raise ValueError("NeoGNNModel: decode needs the graph; pass decode(z, pairs, edge_index)")
        parts = torch.stack([self.structure(as_csr(graph, z.size(0)), pairs), super().decode(z, pairs)])
        share = self.mixture.log_softmax(0)[:, None]
        linked, unlinked = ((share + F.logsigmoid(sign * parts)).logsumexp(0) for sign in (1, -1))
        return linked - unlinked


def _neognn(config: NeoGNNConfig, task: Task, in_channels: int, out_channels: int) -> nn.Module:
    width = config.hidden_channels
    return NeoGNNModel(config, ConvStack(config, task, in_channels, width, lambda i, o, last: GCNConv(i, o)))


MODELS: dict[str, Entry] = {"neognn": Entry(NeoGNNConfig, None, frozenset({"link"}), _neognn)}
