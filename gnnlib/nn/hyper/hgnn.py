"""HGNN and HGNN+: linear hypergraph convolutions with symmetric and random-walk normalisation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gnnlib.nn.hyper.base import (
    HyperConv,
    Incidences,
    OutLinear,
    apply_linear,
    inverse,
    inverse_root,
    two_stage,
)
from gnnlib.sparse import Hypergraph
from gnnlib.sparse.hypergraph import check_parts
from gnnlib.sparse.sets import check_index

Fusion = Literal["adaptive", "coequal"]


class _Linear(HyperConv):
    """A linear map and a linear propagation, in the cheaper order."""

    takes_weights = True

    def __init__(self, in_channels: int, out_channels: int, bias: bool, bias_before: bool) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.bias_before = bias_before
        self.lin = OutLinear(in_channels, out_channels, bias=bias)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin.reset_parameters()

    def _propagate(self, h: Hypergraph, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _run(self, h: Hypergraph, x: Tensor) -> Tensor:
        lin = self.lin
        lin.expect(x.size(-1))
        before = self.bias_before and lin.bias is not None
        if before or self.out_channels <= x.size(-1):
            out = self._propagate(h, apply_linear(lin, x, bias=before))
        else:
            out = apply_linear(lin, self._propagate(h, x), bias=False)
        return out if before or lin.bias is None else out + lin.bias


class HGNNConv(_Linear):
    r"""Hypergraph convolution with symmetric normalisation.

    .. math:: X' = D_v^{-1/2} H W D_e^{-1} H^\top D_v^{-1/2} X \Theta + b

    Feng et al., Hypergraph Neural Networks, AAAI 2019, with :math:`d_v = \sum_e w_e H_{ve}` and
    :math:`\delta_e = \sum_v H_{ve}`. Inverse degrees of 0 are 0, so an isolated node gives b; the authors'
    code has no guard there. Weight and bias start uniform in ±1/sqrt(out), as theirs. On a graph, whose edges
    are hyperedges of two, it is the lazy GCN :math:`(I + D^{-1/2} A D^{-1/2}) X \Theta / 2 + b`.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        bias: learn b.
        bias_before: add b to :math:`X \Theta`, before it spreads, as the authors' code does.
        learn_weights: learn W: the number of hyperedges M of the one hypergraph that the layer is for;
            None: W is what the hypergraph says, or 1.

    Shapes: x ``[N, in]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph`,
        hyperedge_weight ``[M]``, incidence_value ``[nnz]`` -> ``[N, out]``.
    Cost: two SpMMs on the narrower side of the map; no N x N matrix and no array of nnz x out.
    Raises: ValueError when x and hypergraph disagree.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool = True,
        bias_before: bool = False,
        learn_weights: int | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, bias, bias_before)
        self.hyperedge_weight = None if learn_weights is None else nn.Parameter(torch.empty(learn_weights))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        if self.hyperedge_weight is not None:
            nn.init.ones_(self.hyperedge_weight)

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Incidences,
        hyperedge_weight: Tensor | None = None,
        incidence_value: Tensor | None = None,
        num_hyperedges: int | None = None,
    ) -> Tensor:
        """Convolve x over the hypergraph -> ``[N, out]``.

        Args:
            x: node features.
            hyperedge_index: the incidences.
            hyperedge_weight: w, a number >= 0 for each hyperedge.
            incidence_value: H, a number >= 0 for each incidence; 1 when omitted.
            num_hyperedges: M, where the last hyperedges are empty.
        """
        if self.hyperedge_weight is not None:
            if hyperedge_weight is not None:
                raise ValueError("HGNNConv: hyperedge_weight came but the layer learns its own; pass none")
            hyperedge_weight = self.hyperedge_weight
        h = self._hypergraph(
            x,
            hyperedge_index,
            num_hyperedges,
            hyperedge_weight=hyperedge_weight,
            incidence_value=incidence_value,
        )
        return self._run(h, x)

    def _propagate(self, h: Hypergraph, x: Tensor) -> Tensor:
        left, inner = symmetric_scales(h, x.dtype)
        return two_stage(h, x, node=left, hyperedge=inner, weight=h.hyperedge_weight, out=left)


class HGNNPlusConv(_Linear):
    r"""Mean over the members of each hyperedge, then weighted mean over the hyperedges of each node.

    .. math:: X' = D_v^{-1} H W D_e^{-1} H^\top X \Theta + b

    Gao et al., HGNN+: General Hypergraph Neural Networks, IEEE TPAMI 2022. Hyperedges may come from
    several relations, the groups :math:`H = [H_1 \Vert \dots \Vert H_K]`; adaptive fusion gives the
    hyperedges of group k the learned weight :math:`\sigma(\omega_k)`, coequal fusion the weight 1. Inverse
    degrees of 0 are 0.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        bias: learn b.
        bias_before: add b to :math:`X \Theta`, before it spreads.
        fusion: ``"adaptive"``, ``"coequal"`` or None, which is the same as coequal.
        num_groups: K, for adaptive fusion; :math:`\omega` starts at 0.

    Shapes: as :class:`HGNNConv`; hyperedge_group integers ``[M]`` from 0 to K - 1.
    Cost: two SpMMs on the narrower side of the map.
    Raises: ValueError when x, hypergraph and groups disagree, or adaptive fusion lacks its groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool = True,
        bias_before: bool = False,
        fusion: Fusion | None = None,
        num_groups: int | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, bias, bias_before)
        if fusion not in (None, "adaptive", "coequal") or (fusion == "adaptive") != (num_groups is not None):
            raise ValueError(
                f"HGNNPlusConv: fusion={fusion!r} with num_groups={num_groups}; adaptive fusion takes the "
                "number of groups, coequal fusion and None take none"
            )
        self.fusion = fusion
        self.omega = None if num_groups is None else nn.Parameter(torch.empty(num_groups))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        super().reset_parameters()
        if self.omega is not None:
            nn.init.zeros_(self.omega)

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Incidences,
        hyperedge_weight: Tensor | None = None,
        incidence_value: Tensor | None = None,
        num_hyperedges: int | None = None,
        hyperedge_group: Tensor | None = None,
    ) -> Tensor:
        """Convolve x over the hypergraph -> ``[N, out]``; arguments as in :class:`HGNNConv`."""
        if self.omega is not None:
            if hyperedge_group is None:
                raise ValueError(
                    "HGNNPlusConv: fusion='adaptive' needs hyperedge_group; pass [M] group numbers"
                )
            check_index("hyperedge_group", hyperedge_group, x, self._who)
            check_parts("hyperedge_group", hyperedge_group, self.omega.shape[0], "group")
            own = self.omega.sigmoid()[hyperedge_group]
            hyperedge_weight = own if hyperedge_weight is None else own * hyperedge_weight
        h = self._hypergraph(
            x,
            hyperedge_index,
            num_hyperedges,
            hyperedge_weight=hyperedge_weight,
            incidence_value=incidence_value,
        )
        return self._run(h, x)

    def _propagate(self, h: Hypergraph, x: Tensor) -> Tensor:
        out, inner = walk_scales(h, x.dtype)
        return two_stage(h, x, hyperedge=inner, weight=h.hyperedge_weight, out=out)


def symmetric_scales(h: Hypergraph, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """:math:`d_v^{-1/2}` ``[N]`` and :math:`1 / δ_e` ``[M]``, in at least single precision."""
    wide = torch.promote_types(dtype, torch.float32)
    return h.derive(("symmetric", wide), lambda h: (inverse_root(h.degrees(wide)), inverse(h.sizes(wide))))


def walk_scales(h: Hypergraph, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """:math:`1 / d_v` ``[N]`` and :math:`1 / δ_e` ``[M]``, in at least single precision."""
    wide = torch.promote_types(dtype, torch.float32)
    return h.derive(("walk", wide), lambda h: (inverse(h.degrees(wide)), inverse(h.sizes(wide))))
