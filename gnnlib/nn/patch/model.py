"""Graph ViT and Graph MLP-Mixer."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from gnnlib.names import choose
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.encode.base import PlaceEncoding
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.nn.patch.blocks import Attention, MixerBlock, PatchTransformer
from gnnlib.nn.patch.encoder import PatchEncoder
from gnnlib.nn.patch.partition import GraphPartition
from gnnlib.nn.patch.structure import GraphPatches
from gnnlib.sparse import as_csr
from gnnlib.sparse.graphs import Graphs

Kind: TypeAlias = Literal["mixer", "vit", "standard", "graph", "kernel"]
_ATTENTION: dict[str, Attention] = {
    "vit": "hadamard",
    "standard": "standard",
    "graph": "graph",
    "kernel": "graph",
}


class GraphViTMixer(nn.Module):
    r"""A code of each graph from its patches: cut, encode each patch, mix the codes, average.

    .. math:: T_s = \mathrm{encoder}(\text{patch } s) + \mathrm{ReLU}(\mathrm{BN}(W p_s + b)), \qquad
        p_{s, t} = \big((D^{-1} A^P)^t\big)_{ss}, \qquad A^P = M M^\top

    .. math:: h_G = \operatorname{mean}_{s \text{ not empty}}
        \mathrm{LN}\big(\mathrm{block}_L \circ \dots \circ \mathrm{block}_1 (T)\big)_s

    He et al., A Generalization of ViT/MLP-Mixer to Graphs, ICML 2023. METIS goes by the numbers of the nodes:
    another numbering may give other patches, and so another code. With one patch the model is an ordinary
    graph network with an MLP on top.

    Args:
        in_channels: width of x; where it is ``hidden_channels``, x is taken as it is, without a first map.
        hidden_channels: width of states and tokens.
        out_channels: width of a last linear map; None gives the code itself.
        kind: ``"mixer"``; ``"vit"``, Hadamard attention; ``"standard"``, ``"graph"`` or ``"kernel"``
            attention, see :class:`PatchAttention`.
        partition: how graphs are cut; 32 patches as published when omitted.
        encoding: :class:`RandomWalkPE`, :class:`LaplacianPE` or None, added to the nodes.
        encoder: of the patches; four GIN layers when omitted.
        num_layers: number of blocks.
        heads: of attention.
        walk: attention sees :math:`(D^{-1} A^P)^t` with this t; 0: :math:`A^P` itself. Kernel attention
            wants 1 or more.
        patch_steps: steps of the walks that encode a patch's place, 0 for none.
        dropout: of the blocks.
        partitions: in evaluation, average the results of so many cuts.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, batch ``[N]`` or None
        for one graph, edge_attr ``[E, D]`` for an encoder that was built for it -> ``[G, hidden]``, or
        ``[G, out]``.
    Cost: METIS for each graph of at least p nodes in each training step; then a convolution over the copies
        of nodes for each layer of the encoder and dense products of G p tokens for each block.
    Raises: ImportError without pymetis; ValueError for options or inputs that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int | None = None,
        kind: Kind = "mixer",
        *,
        partition: GraphPartition | None = None,
        encoding: PlaceEncoding | None = None,
        encoder: PatchEncoder | None = None,
        num_layers: int = 4,
        heads: int = 8,
        walk: int = 0,
        patch_steps: int = 8,
        dropout: float = 0.0,
        partitions: int = 1,
    ) -> None:
        super().__init__()
        self.kind = choose("kind", kind, ("mixer", *_ATTENTION))
        if self.kind == "kernel" and walk < 1:
            raise ValueError(f"GraphViTMixer: kind='kernel' with walk={walk}; pass its steps, 1 or more")
        if num_layers < 1 or partitions < 1:
            raise ValueError(
                f"GraphViTMixer: num_layers={num_layers}, partitions={partitions}; pass 1 or more of each"
            )
        width = hidden_channels
        self.in_channels, self.hidden_channels, self.walk = in_channels, width, walk
        self.patch_steps, self.partitions = patch_steps, partitions
        self.partition = GraphPartition() if partition is None else partition
        self.lin = None if in_channels == width else Linear(in_channels, width)
        self.encoding = encoding
        self.encoder = PatchEncoder(width) if encoder is None else encoder
        self.place = Linear(patch_steps, width) if patch_steps else None
        self.place_norm = nn.BatchNorm1d(width) if patch_steps else None
        self.blocks = nn.ModuleList(self._block(width, heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.out = None if out_channels is None else Linear(width, out_channels)

    def _block(self, width: int, heads: int, dropout: float) -> nn.Module:
        if self.kind == "mixer":
            return MixerBlock(self.partition.num_patches, width, dropout=dropout)
        return PatchTransformer(width, heads, _ATTENTION[self.kind], dropout)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            for part in child if isinstance(child, nn.ModuleList) else (child,):
                reset(part)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """Codes of the graphs ``[G, hidden]``, or ``[G, out]``."""
        if x.dim() != 2 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"GraphViTMixer: x has shape {list(x.shape)}, {x.shape[-1]} features, but "
                f"in_channels={self.in_channels}; pass x [N, {self.in_channels}]"
            )
        as_csr(edge_index, x.shape[0])  # checks it
        graphs = Graphs.of(edge_index, x.shape[0], batch, 1 if batch is None else batch_size)
        x = x if self.lin is None else self.lin(x)
        x = x if self.encoding is None else self.encoding(x, edge_index, batch, graphs=graphs)
        count = 1 if self.training else self.partitions
        codes = [
            self._code(x, self.partition.patches(graphs, training=self.training, number=k), edge_attr)
            for k in range(count)
        ]
        code = codes[0] if count == 1 else torch.stack(codes).mean(0)
        return code if self.out is None else cast(Tensor, self.out(code))

    def _code(self, x: Tensor, patches: GraphPatches, edge_attr: Tensor | None) -> Tensor:
        patches = patches.to(x.device)
        rows = self.encoder(x, patches, edge_attr)
        if self.place is not None and self.place_norm is not None:
            place = self.place(patches.returns(self.patch_steps).to(x.dtype))
            rows = rows + self.place_norm(place).relu()
        tokens, mask = patches.slotted(rows), patches.mask
        adjacency = None
        if self.kind not in ("mixer", "standard"):
            adjacency = patches.walk(self.walk) if self.walk else patches.adjacency
        for block in self.blocks:
            tokens = block(tokens, mask, adjacency)
        kept = self.norm(tokens) * mask[..., None]
        return cast(Tensor, kept.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))

    def __repr__(self) -> str:
        return (
            f"GraphViTMixer({self.in_channels}, {self.hidden_channels}, kind={self.kind!r}, "
            f"partition={self.partition})"
        )
