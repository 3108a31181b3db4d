"""Graph Multiset Transformer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.aggr.attention_blocks import Seeds, SelfAttention
from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.check import check_whole
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.conv.gcn import GCNConv
from gnnlib.nn.init import reset
from gnnlib.sparse import segment_softmax
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.sets import Sets


class GraphMultisetTransformer(Aggregation):
    r"""Attention of k learned seeds over the nodes, among the seeds, and of one seed over those.

    .. math:: r = \mathrm{GMPool}_1\big(\mathrm{SelfAtt}^L(\mathrm{GMPool}_k(X, A))\big), \quad
        \mathrm{GMPool}_k(X, A) = \mathrm{MAB}(S, X), \quad
        O_h = \operatorname{softmax}\!\Big(\frac{Q_h\, K_h^\top}{\sqrt d}\Big) V_h

    Baek et al., Accurate Learning of Graph Representations with Graph Multiset Pooling, ICLR 2021. In the
    paper the keys and values of the first pooling come from convolutions over the graph: with ``gnn_kv`` they
    are :math:`K = \mathrm{GCN}_K(X, A)`, :math:`V = \mathrm{GCN}_V(X, A)` and ``forward`` needs
    ``edge_index``. Without it, as in PyG, they are linear maps of the nodes, which leaves the pooling of the
    Set Transformer; the results and the parameters are then PyG's. An index need not be sorted here.

    Args:
        channels: width of x.
        k: number of seeds of the first pooling; the paper takes a quarter of the mean number of nodes.
        num_encoder_blocks: number of blocks L among the seeds.
        heads: number of heads; divides ``channels``.
        layer_norm: apply layer normalisation.
        dropout: probability in [0, 1] of dropping an attention weight in training.
        gnn_kv: keys and values by graph convolutions.

    Shapes: x ``[N, channels]``, with ``gnn_kv`` also edge_index ``[2, E]`` -> ``[R, channels]``. An empty set
        gives 0.
    Cost: N k scores a head, without padding: O(N k F) time, at most 2 N rows of memory; two SpMM with
        ``gnn_kv``. Reads the sizes of the sets, so it does not compile into one graph.
    Raises: ValueError for k below 1, heads that do not divide channels, elements that are not vectors of
        width ``channels``, or ``gnn_kv`` without an edge_index and the reverse.
    """

    def __init__(
        self,
        channels: int,
        k: int,
        num_encoder_blocks: int = 1,
        heads: int = 1,
        layer_norm: bool = False,
        dropout: float = 0.0,
        *,
        gnn_kv: bool = False,
    ) -> None:
        super().__init__()
        check_whole(self._who, k=k, heads=heads)
        if channels % heads:
            raise ValueError(
                f"GraphMultisetTransformer: channels={channels} is not divisible by heads={heads}; choose a "
                "divisor"
            )
        self.channels = channels
        self.k = k
        self.heads = heads
        self.layer_norm = layer_norm
        self.dropout = dropout
        block = (channels, heads, layer_norm, dropout)
        self.pma1 = Seeds(k, *block, mapped=not gnn_kv)
        self.encoders = nn.ModuleList(SelfAttention(*block) for _ in range(num_encoder_blocks))
        self.pma2 = Seeds(1, *block)
        self.key_conv = GCNConv(channels, channels) if gnn_kv else None
        self.value_conv = GCNConv(channels, channels) if gnn_kv else None

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for part in self.children():
            for one in part if isinstance(part, nn.ModuleList) else (part,):
                reset(one)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
        *,
        edge_index: Adj | None = None,
    ) -> Tensor:
        """Pool each set; ``edge_index`` are edges among elements, the rest is as in :class:`Aggregation`."""
        rows, sets, dim = self._door(x, index, ptr, dim_size, dim, max_num_elements)
        return self._pool(rows, sets, edge_index).movedim(0, dim)

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Pool x ``[N, channels]`` set by set -> ``[R, channels]``."""
        return self._pool(x, sets, None)

    def _pool(self, x: Tensor, sets: Sets, edge_index: Adj | None) -> Tensor:
        if self._matrix(x).shape[1] != self.channels:
            raise ValueError(
                f"{self._who}: x has {x.shape[1]} features but channels={self.channels}; pass "
                f"{self.channels} features"
            )
        if (self.key_conv is None) != (edge_index is None):
            raise ValueError(
                f"{self._who}: gnn_kv={self.key_conv is not None} but edge_index "
                f"{'did not come' if edge_index is None else 'came'}; pass both or neither"
            )
        seeds = self.pma1.mab.after(
            self.pma1.seed.expand(sets.num_sets, -1, -1), self._gather(x, sets, edge_index)
        )
        for encoder in self.encoders:
            seeds = encoder(seeds)
        out: Tensor = self.pma2(seeds).squeeze(1)
        return torch.where((sets.count > 0)[:, None], out, 0)

    def _gather(self, x: Tensor, sets: Sets, edge_index: Adj | None) -> Tensor:
        """Multi-head attention of the seeds over the elements of each set, ``[R, k, channels]``."""
        attn, heads = self.pma1.mab.attn, self.heads
        query = _by_head(F.linear(self.pma1.seed[0], *self._part(0)), heads)  # [k, H, d]
        if self.key_conv is not None and self.value_conv is not None:
            key, value = self.key_conv(x, edge_index), self.value_conv(x, edge_index)
        else:
            assert self.pma1.lin is not None
            mapped = self.pma1.lin(x).relu()
            key, value = F.linear(mapped, *self._part(1)), F.linear(mapped, *self._part(2))
        key, value = (_by_head(sets.take(t), heads) for t in (key, value))  # [E, H, d]
        score = torch.einsum("ehd,khd->ehk", key, query) / math.sqrt(query.shape[-1])
        alpha = _by_head(segment_softmax(score.flatten(1), sets.indptr), heads)
        alpha = dropout(alpha, self.dropout, self.training)
        own = sets.of_slots()
        from gnnlib.nn.pool.grouped import gram  # here, so that the aggregations do not load the poolings

        seen = [gram(alpha[:, h], value[:, h], own) for h in range(heads)]  # each [R, k, d]
        out: Tensor = attn.out_proj(torch.cat(seen, dim=-1))
        return out

    def _part(self, place: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of the map of queries, keys or values."""
        attn = self.pma1.mab.attn
        return attn.in_proj_weight.chunk(3)[place], attn.in_proj_bias.chunk(3)[place]

    def __repr__(self) -> str:
        return (
            f"{self._who}({self.channels}, k={self.k}, heads={self.heads}, layer_norm={self.layer_norm}, "
            f"dropout={self.dropout})"
        )


def _by_head(x: Tensor, heads: int) -> Tensor:
    """Rows ``[N, H d]`` -> ``[N, H, d]``."""
    return x.reshape(x.shape[0], heads, x.shape[1] // heads)
