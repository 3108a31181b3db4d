"""Graph Multiset Transformer: convolutions, and attention of learned seeds as the readout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gnnlib.models.configs import Norm, StackConfig, Task
from gnnlib.models.encoders import ConvStack, GraphEncoder
from gnnlib.models.entry import Entry
from gnnlib.nn import GCNConv, GraphMultisetTransformer, Linear
from gnnlib.nn.conv.base import Adj


@dataclass(frozen=True, kw_only=True)
class GMTConfig(StackConfig):
    """GCN layers, and a readout by GMPool_k, self-attention among the seeds and GMPool_1.

    Baek et al., Accurate Learning of Graph Representations with Graph Multiset Pooling, ICLR 2021. The nodes
    that the readout sees are a linear map of the input and all layers, side by side; ``readout`` is not
    looked at.

    Args:
        hidden_channels: width of the layers and of the readout, a multiple of ``heads``.
        num_layers: convolutions.
        dropout: between convolutions and, without ``readout_dropout``, before the head.
        num_seeds: seeds k of the first pooling; the paper takes a quarter of the mean number of nodes.
        encoder_blocks: blocks of self-attention among the seeds.
        heads: heads of every attention.
        layer_norm: normalise after attention and after its linear map, as in the paper.
        attention_dropout: probability in [0, 1) of dropping an attention weight.
        gnn_kv: keys and values of the first pooling by graph convolutions, as in the paper; otherwise by
            linear maps, which leaves the pooling of the Set Transformer.
        head_layers: linear maps from the code of a graph to its scores.
    """

    hidden_channels: int = 128
    num_layers: int = 3
    norm: Norm = "none"
    num_seeds: int = 8
    encoder_blocks: int = 1
    heads: int = 4
    layer_norm: bool = True
    attention_dropout: float = 0.0
    gnn_kv: bool = True
    head_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_seeds", "head_layers"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("encoder_blocks", self.encoder_blocks >= 0, "0 or more")
        self._require("hidden_channels", self.hidden_channels % self.heads == 0, "a multiple of heads")

    def jk_for(self, task: Task) -> Literal["last", "cat", "max", "lstm"]:
        """All layers side by side unless another choice is made."""
        return "cat" if self.jk == "auto" else self.jk


class GMTEncoder(GraphEncoder):
    """Convolutions, a linear map of all of them and a :class:`gnnlib.nn.GraphMultisetTransformer`.

    Args:
        config: the options.
        task: graph.
        in_channels: width of x.
        out_channels: not looked at; the head maps the code.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, batch ``[N]`` -> ``[B, hidden]`` and None.
    """

    def __init__(self, config: GMTConfig, task: Task, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = self.out_channels = config.hidden_channels
        self.stack = ConvStack(config, task, in_channels, width, lambda i, o, last: GCNConv(i, o))
        self.lin = Linear(self.stack.out_channels, width)
        self.pool = GraphMultisetTransformer(
            width,
            config.num_seeds,
            config.encoder_blocks,
            config.heads,
            config.layer_norm,
            config.attention_dropout,
            gnn_kv=config.gnn_kv,
        )

    def forward(
        self, x: Tensor, edge_index: Adj, batch: Tensor | None, batch_size: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Codes ``[B, hidden]``."""
        if batch is None:
            batch, batch_size = torch.zeros(x.size(0), dtype=torch.int64, device=x.device), 1
        h = self.lin(self.stack(x, edge_index))
        edges = edge_index if self.pool.key_conv is not None else None
        out: Tensor = self.pool(h, batch, dim_size=batch_size, edge_index=edges)
        return out, None


MODELS: dict[str, Entry] = {"gmt": Entry(GMTConfig, GMTEncoder, frozenset({"graph"}))}
