"""Path neural networks: node states updated from the paths that end at them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.names import choose
from gnnlib.nn.act import Activation, activation
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.nn.mlp import MLP
from gnnlib.nn.norm import normalization
from gnnlib.nn.path.encoders import Part, PathEncoder, path_encoder
from gnnlib.sparse import CSR, PathQuery, Paths, as_csr, scatter
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.ops.enumerate_paths import PathKind

Variant: TypeAlias = Literal["sp", "sp+", "ap", "p"]
#: The paths of each variant; None: those that are passed.
KINDS: dict[str, PathKind | None] = {"sp": "shortest", "sp+": "all_shortest", "ap": "simple", "p": None}


class PathConv(nn.Module):
    r"""Adds to each node the codes of the paths of one length that end there.

    .. math:: x'_v = \sigma\Big(\mathrm{norm}\Big(x_v + \sum_{p \in \mathcal{P}_v}
        \mathrm{enc}(x_{p_k}, \dots, x_{p_0 = v})\Big)\Big)

    Michel et al., Path Neural Networks, ICML 2023. At each place the encoder may also see the
    embedded distance of the node to the centre and the features of the edge that led there.

    Args:
        encoder: a :class:`PathEncoder` that gives codes of width ``channels``; layers may share one.
        norm: name of a normalisation, a module, or None.
        act: name of an activation, a function, or None.
        distance: embeds distances, or None.
        norm_kwargs: arguments of the normalisation.

    Shapes: x ``[N, F]``, paths ``[P, k + 1]`` (far end first), distance ``[P, k + 1]``, edges ``[P, k]`` and
        edge_attr ``[E, D]`` -> ``[N, F]``.
    Cost: that of the encoder, and one sum over the codes ``[P, F]``.
    Raises: ValueError when distances are wanted but missing, or the width is another.
    """

    def __init__(
        self,
        encoder: PathEncoder,
        *,
        norm: str | None = None,
        act: Activation = "relu",
        distance: nn.Embedding | None = None,
        norm_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.distance = distance
        made = None if norm is None else normalization(norm, encoder.out_channels, **(norm_kwargs or {}))
        self.norm: Any = nn.Identity() if made is None else made
        self.act = activation(act)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        reset(self.encoder)
        reset(self.norm)
        if self.distance is not None:
            nn.init.xavier_uniform_(self.distance.weight)

    def forward(
        self,
        x: Tensor,
        paths: Tensor,
        distance: Tensor | None = None,
        edges: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """New states ``[N, F]``."""
        parts: list[Part] = [(x, paths)]
        if self.distance is not None:
            if distance is None:
                raise ValueError(
                    "PathConv: distances to the centre are wanted; pass those of enumerate_paths(..., "
                    "distance=True)"
                )
            parts.append((self.distance.weight, distance.long()))
        if edge_attr is not None and edges is not None:
            nothing = edge_attr.new_zeros(1, edge_attr.shape[1])  # no edge leads to the far end
            first = torch.full_like(edges[:, :1], edge_attr.shape[0])
            parts.append((torch.cat([edge_attr, nothing]), torch.cat([first, edges], 1)))
        codes = self.encoder(parts)
        out = self.norm(x + scatter(codes, paths[:, -1].long(), x.shape[0]))
        return out if self.act is None else self.act(out)


class PathNN(nn.Module):
    r"""Path neural network: layer k reads the paths of exactly k edges.

    .. math:: x^{(k)}_v = \sigma\Big(\mathrm{norm}\Big(x^{(k-1)}_v + \sum_{p \in \mathcal{P}^k_v}
        \mathrm{LSTM}(x^{(k-1)}_{p_k}, \dots, x^{(k-1)}_{p_0 = v})\Big)\Big), \quad
        x^{(0)} = \mathrm{MLP}(x)

    Michel et al., Path Neural Networks: Expressive and Accurate Graph Neural Networks, ICML 2023.

    Args:
        in_channels: width of the input.
        hidden_channels: width of the states.
        out_channels: width of a last linear map; None gives the states themselves.
        K: the most edges of a path, which is the number of layers.
        variant: ``"sp"``, one shortest path of each pair, which depends on the numbers of the nodes where
            there are several; ``"sp+"``, all shortest; ``"ap"``, all simple paths; ``"p"``, those passed.
        encoder: ``"lstm"`` as published, ``"gru"``, ``"cnn"``, ``"sum"`` or ``"transformer"``.
        distance: let the encoder see each node's distance to the centre, which gives ``"ap"`` its power.
        share: one encoder for all layers, as published, or one each.
        norm: normalisation of the input network and of each layer, or None.
        norm_kwargs: its arguments.
        act: activation.
        dropout: probability in [0, 1) of dropping a state after a layer.
        normalize: divide states by their L2 norm before each layer.
        edge_dim: width of edge features that are read along, or None.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_attr
        ``[E, edge_dim]`` -> ``[N, out]``.
    Cost: the paths once for a graph and kept with it; then one encoder step for each node of each path.
    Raises: ValueError for an unknown variant or encoder, missing paths or edge features, or paths, features
        and graph that do not fit each other; TypeError for features that are not floating.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int | None = None,
        K: int = 3,
        variant: Variant = "sp+",
        *,
        encoder: str = "lstm",
        distance: bool = False,
        share: bool = True,
        norm: str | None = "batch_norm",
        norm_kwargs: dict[str, Any] | None = None,
        act: Activation = "relu",
        dropout: float = 0.0,
        normalize: bool = False,
        edge_dim: int | None = None,
    ) -> None:
        super().__init__()
        if K < 1:
            raise ValueError(f"PathNN: K={K}; pass the most edges of a path, 1 or more")
        self.K, self.variant = K, choose("variant", variant, KINDS)
        self.dropout, self.normalize, self.edge_dim = dropout, normalize, edge_dim
        widths = [in_channels, hidden_channels, hidden_channels]
        self.mlp = MLP(widths, norm=norm, norm_kwargs=norm_kwargs, act=act, plain_last=False)
        width = hidden_channels * (2 if distance else 1) + (edge_dim or 0)
        table = nn.Embedding(K + 1, hidden_channels) if distance else None

        def made() -> PathEncoder:
            return path_encoder(encoder, width, hidden_channels, K)

        first = made()
        encoders = [first if share or k == 0 else made() for k in range(K)]
        self.convs = nn.ModuleList(
            PathConv(e, norm=norm, norm_kwargs=norm_kwargs, act=act, distance=table) for e in encoders
        )
        self.lin = None if out_channels is None else Linear(hidden_channels, out_channels)

    @property
    def distance(self) -> bool:
        """Whether the encoder sees distances."""
        return self.convs[0].distance is not None

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for child in self.children():
            reset(child)
        for conv in self.convs:
            reset(conv)

    def forward(
        self, x: Tensor, edge_index: Adj, edge_attr: Tensor | None = None, paths: Paths | None = None
    ) -> Tensor:
        """Codes ``[N, out]``; ``paths`` takes the place of those that the variant names."""
        if x.dim() != 2:
            raise ValueError(f"PathNN: x has shape {list(x.shape)}; expected [N, F], one row a node")
        if not x.is_floating_point():
            raise TypeError(f"PathNN: x is {x.dtype}; pass floating features, for example x.float()")
        adj = as_csr(edge_index, x.size(0))
        found = self.paths(adj) if paths is None else paths
        self._check(adj, found, edge_attr)
        edges = found.edges(adj) if edge_attr is not None else None
        x = self.mlp(x)
        for k, conv in enumerate(self.convs):
            x = F.normalize(x, dim=1) if self.normalize else x
            steps = None if found.distance is None else found.distance[k]
            x = conv(x, found.nodes[k], steps, None if edges is None else edges[k], edge_attr)
            x = dropout(x, self.dropout, self.training)
        return x if self.lin is None else self.lin(x)

    def _check(self, adj: CSR, paths: Paths, edge_attr: Tensor | None) -> None:
        length, nodes = len(paths.nodes), paths.indptr[0].shape[0] - 1 if paths.indptr else adj.num_rows
        if length != self.K or nodes != adj.num_rows:
            raise ValueError(
                f"PathNN: paths of up to {length} edges over {nodes} nodes came but K={self.K} and x has "
                f"{adj.num_rows} rows; pass enumerate_paths(edge_index, {self.K}, ...) of this graph"
            )
        if (edge_attr is None) != (self.edge_dim is None):
            raise ValueError(
                f"PathNN: edge_attr is {'missing' if edge_attr is None else 'given'} but "
                f"edge_dim={self.edge_dim}; build the network with the width of the edge features"
            )
        if edge_attr is not None and edge_attr.shape != (adj.num_values, self.edge_dim):
            raise ValueError(
                f"PathNN: edge_attr has shape {list(edge_attr.shape)} but there are {adj.num_values} edges "
                f"and edge_dim={self.edge_dim}; pass [{adj.num_values}, {self.edge_dim}]"
            )

    def paths(self, adj: CSR) -> Paths:
        """The paths of a graph that the variant names, found once and kept with the graph."""
        kind = KINDS[self.variant]
        if kind is None:
            raise ValueError("PathNN: variant='p' reads given paths; pass paths=enumerate_paths(...)")
        return PathQuery(self.K, kind, self.distance).of(adj)
