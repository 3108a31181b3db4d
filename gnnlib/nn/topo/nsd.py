"""Neural sheaf diffusion: the maps of the sheaf are learned from the features they act on."""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.sums import SumConv
from gnnlib.nn.linear import Linear
from gnnlib.nn.topo.maps import KINDS, ORTHS, Kind, Orth, make_maps, num_parameters
from gnnlib.nn.topo.sheaf import SheafLaplacian, laplacian, undirected
from gnnlib.nn.topo.sheaf_conv import check_width, stalks
from gnnlib.sparse import CSR
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.ops.sddmm import sddmm_slots


class NSDConv(SumConv):
    r"""One step of diffusion along a sheaf that is learned from the features.

    .. math:: X' = (1 + \tanh \epsilon) \odot X - \sigma\big(\Delta_{F(X)} (I_N \otimes W_1)\, X W_2\big),
        \qquad F_{v \trianglelefteq e} = \Phi\big(\tanh V [x_v \Vert x_u]\big)

    Bodnar et al., Neural Sheaf Diffusion: A Topological Perspective on Heterophily and Oversmoothing in GNNs,
    NeurIPS 2022, sigma the ELU. :math:`\Delta_F` is augmented, :math:`(D + I)^{-1/2} L_F
    (D + I)^{-1/2}`. Phi makes the maps: diagonal, orthogonal (a vector bundle, whose edges may be weighed by
    :math:`w_e = s_{vu} s_{uv}` with s a logistic function of both ends) or general. The inverse root of
    general blocks has an exact gradient also where eigenvalues agree, so no noise and no clamp is needed.

    Args:
        channels: width of x and of the output, d coordinates of f channels each.
        stalk_dim: d, dimension of the space at each node and edge.
        kind: ``"diagonal"``, ``"orthogonal"`` or ``"general"`` maps.
        orth: how orthogonal maps are made: ``"householder"``, ``"cayley"``, ``"matrix_exp"``, or ``"euler"``
            with d of 2 or 3.
        normalised: use :math:`\Delta_F`, else :math:`L_F`.
        edge_weights: weigh the edges of orthogonal maps.
        sparse_learner: learn the maps from the sum of a node's coordinates.
        left_weights: learn W_1, else the identity.
        right_weights: learn W_2, else the identity.
        dropout: probability of dropping a feature before diffusion.
        map_dropout: the same before maps are learned.
        learn_maps: have parameters for the maps; without them each call is given its sheaf.
        **kwargs: ``flow`` of PyG's base class, which changes nothing: the graph is taken as undirected.

    Shapes: x ``[N, channels]``, coordinate by coordinate; edge_index ``[2, E]`` or any form that
        :func:`as_csr` takes; loops, parallel edges and directions do not count -> ``[N, channels]``.
    Cost: d SpMMs, one for diagonal maps; O(d^2) numbers an edge; the pairs [x_v || x_u] are never formed.
    Raises: ValueError for channels that stalk_dim does not divide, an unknown kind, a stalk_dim that the maps
        do not have, or x that is a pair.
    """

    def __init__(
        self,
        channels: int,
        stalk_dim: int = 2,
        *,
        kind: Kind = "diagonal",
        orth: Orth = "householder",
        normalised: bool = True,
        edge_weights: bool = True,
        sparse_learner: bool = False,
        left_weights: bool = True,
        right_weights: bool = True,
        dropout: float = 0.0,
        map_dropout: float = 0.0,
        learn_maps: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        check_width("NSDConv", "channels", channels, stalk_dim)
        if kind not in KINDS or orth not in ORTHS:
            raise ValueError(
                f"NSDConv: kind={kind!r}, orth={orth!r}; choose one of {', '.join(KINDS)} and one of "
                f"{', '.join(ORTHS)}"
            )
        if kind == "orthogonal" and (stalk_dim < 2 or (orth == "euler" and stalk_dim > 3)):
            raise ValueError(
                f"NSDConv: stalk_dim={stalk_dim} has no orthogonal maps by {orth!r}; pass 2 or more, and 2 "
                "or 3 for 'euler'"
            )
        self.in_channels = self.out_channels = channels
        self.stalk_dim = stalk_dim
        self.kind: Kind = kind
        self.orth: Orth = orth
        self.normalised = normalised
        self.sparse_learner = sparse_learner
        self.dropout = dropout
        self.map_dropout = map_dropout
        seen = channels // stalk_dim if sparse_learner else channels
        count = num_parameters(kind, stalk_dim)
        self.target = Linear(seen, count, bias=False) if learn_maps else None
        self.source = Linear(seen, count, bias=False) if learn_maps else None
        weighed = learn_maps and kind == "orthogonal" and edge_weights
        self.weight_target = Linear(seen, 1) if weighed else None
        self.weight_source = Linear(seen, 1, bias=False) if weighed else None
        width = channels // stalk_dim
        self.left = nn.Parameter(torch.empty(stalk_dim, stalk_dim)) if left_weights else None
        self.right = nn.Parameter(torch.empty(width, width)) if right_weights else None
        self.epsilon = nn.Parameter(torch.empty(stalk_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters: W_1 the identity, W_2 orthogonal, epsilon zero."""
        for lin in (self.target, self.source, self.weight_target, self.weight_source):
            if lin is not None:
                lin.reset_parameters()
        if self.left is not None:
            with torch.no_grad():
                self.left.copy_(torch.eye(self.stalk_dim))
        if self.right is not None:
            nn.init.orthogonal_(self.right)
        nn.init.zeros_(self.epsilon)

    def forward(self, x: Tensor, edge_index: Adj, sheaf: SheafLaplacian | None = None) -> Tensor:
        """Diffuse x ``[N, channels]`` along its own sheaf, or along a given one -> ``[N, channels]``."""
        x = self._one(x)
        state = stalks(x, self.stalk_dim, self.in_channels, "NSDConv")
        sheaf = self.sheaf(x, edge_index) if sheaf is None else sheaf
        h = dropout(state, self.dropout, self.training)
        h = h if self.left is None else self.left @ h
        h = h if self.right is None else h @ self.right
        return ((1 + self.epsilon.tanh())[:, None] * state - F.elu(sheaf(h))).flatten(1)

    def sheaf(self, x: Tensor, edge_index: Adj) -> SheafLaplacian:
        """The Laplacian of the sheaf that is learned from x ``[N, channels]``."""
        if self.target is None or self.source is None:
            raise ValueError("NSDConv: learn_maps=False has no maps of its own; pass another layer's sheaf")
        x = self._one(x)
        state = stalks(x, self.stalk_dim, self.in_channels, "NSDConv")
        graph = undirected(self._graph(edge_index, x, x))
        seen = dropout(state.sum(1) if self.sparse_learner else x, self.map_dropout, self.training)
        parameters = _on_edges(graph, self.target(seen), self.source(seen)).tanh()
        maps = make_maps(parameters, self.kind, self.stalk_dim, self.orth)
        weight = None
        if self.weight_target is not None and self.weight_source is not None:
            score = _on_edges(graph, self.weight_target(seen), self.weight_source(seen))[:, 0].sigmoid()
            weight = score * score.index_select(0, graph.transpose_perm)
        return laplacian(
            graph, maps, normalised=self.normalised, orthogonal=self.kind == "orthogonal", weight=weight
        )

    def __repr__(self) -> str:
        return f"NSDConv({self.in_channels}, stalk_dim={self.stalk_dim}, kind={self.kind!r})"


def _on_edges(graph: CSR, target: Tensor, source: Tensor) -> Tensor:
    """The sum of both ends' values on each slot, ``[E, P]``: V [x_v || x_u] = V_1 x_v + V_2 x_u."""
    return sddmm_slots(graph, target.unsqueeze(1), source.unsqueeze(1), "add").squeeze(1)
