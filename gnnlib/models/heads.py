"""One model for each task, around any encoder."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig
from gnnlib.models.encoders import CategoryEncoder, Encoder, GraphEncoder, Part
from gnnlib.nn import MLP, Linear, global_add_pool, global_max_pool, global_mean_pool
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.init import reset
from gnnlib.sparse import as_hypergraph, spmm
from gnnlib.sparse.dropout import dropout

READOUTS = {"sum": global_add_pool, "mean": global_mean_pool, "max": global_max_pool}


def _edges(edge_attr: Tensor | None, categories: CategoryEncoder | None) -> tuple[Tensor, ...]:
    """Edge features as the encoder takes them; nothing where there are none."""
    if edge_attr is None:
        return ()
    return (edge_attr.float() if categories is None else categories(edge_attr),)


class NodeModel(nn.Module):
    """Scores of nodes.

    Args:
        config: the options it was built from.
        encoder: from features (or codes of their categories) to scores.
        categories: embeds integer node features first.
        edge_categories: embeds integer edge features first.

    Shapes: x ``[N, in]``, or integers ``[N, columns]`` with ``categories``; edge_index ``[2, E]`` or any form
        that :func:`as_csr` takes, edge_weight ``[E]`` or None (layers that know no weights take the edges
        alone), edge_attr ``[E, D]`` for an encoder that was built for it -> logits ``[N, out]``.
    """

    def __init__(
        self,
        config: ModelConfig,
        encoder: Encoder,
        categories: CategoryEncoder | None = None,
        edge_categories: CategoryEncoder | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.categories = categories
        self.edge_categories = edge_categories
        self.encoder = encoder

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        *,
        part: Part | None = None,
    ) -> Tensor:
        """Logits ``[N, out]``; of the targets of a part, for models that remember all nodes, ``[T, out]``."""
        x = x if self.categories is None else self.categories(x)
        if part is not None:
            encoder: Any = self.encoder
            return cast(Tensor, encoder.part(x, edge_index, edge_weight, part))
        return cast(
            Tensor, self.encoder(x, edge_index, edge_weight, *_edges(edge_attr, self.edge_categories))
        )

    def embed(
        self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> Tensor:
        """The last hidden layer ``[N, hidden]``."""
        x = x if self.categories is None else self.categories(x)
        return self.encoder.hidden(x, edge_index, edge_weight, *_edges(edge_attr, self.edge_categories))


class GraphModel(nn.Module):
    """Scores of whole graphs: node codes, their readout, one linear map.

    Args:
        config: the options it was built from.
        encoder: from node features (or codes of their categories) to node codes, or to codes of graphs.
        out_channels: number of scores of a graph.
        categories: embeds integer node features first.
        edge_categories: embeds integer edge features first.

    Shapes: x ``[N, in]``, or integers ``[N, columns]`` with ``categories``; edge_index ``[2, E]``,
        batch ``[N]`` or None for one graph, edge_attr ``[E, D]`` for an encoder that was built for it ->
        logits ``[B, out]``.
    """

    def __init__(
        self,
        config: ModelConfig,
        encoder: Encoder | GraphEncoder,
        out_channels: int,
        categories: CategoryEncoder | None = None,
        edge_categories: CategoryEncoder | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.categories = categories
        self.edge_categories = edge_categories
        self.encoder = encoder
        width, maps = encoder.out_channels, getattr(config, "head_layers", 1)
        self.lin: nn.Module = Linear(width, out_channels, bias=getattr(config, "head_bias", True))
        if maps > 1:
            self.lin = MLP([width] * maps + [out_channels], norm=None)

    @property
    def has_auxiliary(self) -> bool:
        """Whether the encoder adds a loss to that of the task."""
        return getattr(self.encoder, "has_auxiliary", False)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        edge_attr: Tensor | None = None,
        *,
        auxiliary: bool = False,
    ) -> Any:
        """Logits ``[B, out]``; with ``auxiliary`` also the loss that the encoder adds to that of the task."""
        code, loss = self._codes(x, edge_index, batch, batch_size, edge_attr)
        config = self.config
        drop = config.dropout if config.readout_dropout is None else config.readout_dropout
        out = self.lin(dropout(code, drop, self.training))
        return (out, loss) if auxiliary else out

    def embed(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """The code of each graph ``[B, hidden]``."""
        return self._codes(x, edge_index, batch, batch_size, edge_attr)[0]

    def _codes(
        self,
        x: Tensor,
        edge_index: Adj,
        batch: Tensor | None,
        batch_size: int | None,
        edge_attr: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        if self.categories is not None:
            x = self.categories(x)
        edges = _edges(edge_attr, self.edge_categories)
        if isinstance(self.encoder, GraphEncoder):
            code, loss = self.encoder(x, edge_index, batch, batch_size, *edges)
            return code, loss
        codes = self.encoder(x, edge_index, None, *edges) if edges else self.encoder(x, edge_index)
        return READOUTS[self.config.readout](codes, batch, batch_size), None


class LinkModel(nn.Module):
    r"""Scores of node pairs from the codes z of their nodes.

    .. math:: s_{uv} = \langle z_u, z_v \rangle \quad\text{or}\quad \mathrm{MLP}(z_u \odot z_v)

    A subclass whose ``decode`` looks at the graph says so by ``uses_graph = True``.

    Args:
        config: the options it was built from.
        encoder: from features (or codes of their categories) to codes z.
        categories: embeds integer node features first.
        edge_categories: embeds integer edge features first.

    Shapes: x ``[N, in]``, or integers ``[N, columns]`` with ``categories``; edge_index ``[2, E]`` (the edges
        that may be seen), edge_attr ``[E, D]`` for an encoder that was built for it, pairs ``[2, P]`` ->
        scores ``[P]``, logits of a link.
    """

    uses_graph: ClassVar[bool] = False
    #: Pairs that evaluation hands to ``decode`` at once; None: all, for a decoder that bounds its own memory.
    pairs_at_once: int | None = 1 << 18

    def __init__(
        self,
        config: ModelConfig,
        encoder: Encoder,
        categories: CategoryEncoder | None = None,
        edge_categories: CategoryEncoder | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.categories = categories
        self.edge_categories = edge_categories
        self.encoder = encoder
        width = encoder.out_channels
        self.mlp = MLP([width, width, 1], norm=None) if config.decoder == "mlp" else None

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)

    def encode(self, x: Tensor, edge_index: Adj, edge_attr: Tensor | None = None) -> Tensor:
        """Codes ``[N, hidden]``."""
        x = x if self.categories is None else self.categories(x)
        if edge_attr is None:
            return cast(Tensor, self.encoder(x, edge_index))
        return cast(Tensor, self.encoder(x, edge_index, None, *_edges(edge_attr, self.edge_categories)))

    def decode(self, z: Tensor, pairs: Tensor, graph: Adj | None = None) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]`` from codes z ``[N, hidden]``, not looking at the graph."""
        product = z.index_select(0, pairs[0]) * z.index_select(0, pairs[1])
        return product.sum(-1) if self.mlp is None else self.mlp(product).squeeze(-1)

    def forward(self, x: Tensor, edge_index: Adj, pairs: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]``."""
        return self.decode(self.encode(x, edge_index, edge_attr), pairs, edge_index)


class IncidenceModel(LinkModel):
    r"""Scores of a node and a hyperedge, whose code is the mean of its members' codes z.

    .. math:: s_{ve} = \langle z_v, u_e \rangle \quad\text{or}\quad \mathrm{MLP}(z_v \odot u_e), \qquad
        u_e = \operatorname{mean}_{w \in e} z_w

    Args:
        config: the options it was built from.
        encoder: from features to codes z.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` (the incidences
        that may be seen), pairs ``[2, P]`` of a node and N plus a hyperedge -> scores ``[P]``.
    """

    def encode(self, x: Tensor, edge_index: Adj, edge_attr: Tensor | None = None) -> Tensor:
        """Codes of the nodes, then of the hyperedges, ``[N + M, hidden]``."""
        h = as_hypergraph(edge_index, x.size(0))
        z = cast(Tensor, self.encoder(x, h))
        return torch.cat([z, spmm(h.v2e, z, None, "mean")])
