"""PhenomNN: layers that descend a hypergraph energy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.check import check_whole
from gnnlib.nn.hyper.base import HyperConv, Incidences, inverse, inverse_root, two_stage
from gnnlib.sparse import Hypergraph

Prox = Literal["each", "last"]


class PhenomNNSimple(HyperConv):
    r"""K proximal gradient steps on a hypergraph energy, from the input embeddings.

    .. math:: Y \leftarrow (1 - \alpha)\, Y + \alpha\, Q^{-1} \big( \lambda_0 A_C Y + \lambda_1 A_S Y + X
        \big), \qquad Q = I + \lambda_0 D_C + \lambda_1 D_S

    with the clique expansion :math:`A_C = B B^\top + I`, the star expansion :math:`A_S = B D_e^{-1} B^\top +
    I`, each normalised to :math:`D^{-1/2} A D^{-1/2}`, and :math:`D_C, D_S` the row sums of what results; a
    ReLU is the proximal operator of :math:`Y \geq 0`. Wang et al., From Hypergraph Energy Functions to
    Hypergraph Neural Networks, ICML 2023. Without the ReLU the steps converge to :math:`(I +
    \lambda_0 L_C + \lambda_1 L_S)^{-1} X` for every :math:`0 < \alpha \leq 1`, with :math:`L = D - A`.

    Args:
        lam0: weight of the clique energy, >= 0; 0 skips it.
        lam1: weight of the star energy, >= 0; 0 skips it.
        alpha: step size in (0, 1]; None: :math:`1 / (1 + \lambda_0 + \lambda_1)`, which the authors' code
            writes as 0.
        K: number of steps, at least 0.
        prox: the ReLU after ``"each"`` step, as in the paper; after the ``"last"`` one, as in the authors'
            code, which published the numbers; or None.
        normalize: normalise the expansions.
        self_loops: the I of the expansions.

    Shapes: x ``[N, F]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` -> ``[N, F]``.
    Cost: two SpMMs a step and energy, two a step in all where the expansions are not normalised; neither
        expansion is formed.
    Raises: ValueError for a weight or step outside its range, or when x and hypergraph disagree;
        NotImplementedError for weighted hypergraphs.
    """

    def __init__(
        self,
        lam0: float = 20.0,
        lam1: float = 80.0,
        *,
        alpha: float | None = None,
        K: int = 16,
        prox: Prox | None = "each",
        normalize: bool = True,
        self_loops: bool = True,
    ) -> None:
        super().__init__()
        check_whole(self._who, 0, K=K)
        if lam0 < 0 or lam1 < 0 or (alpha is not None and not 0 < alpha <= 1):
            raise ValueError(
                f"{self._who}: lam0={lam0}, lam1={lam1}, alpha={alpha}; pass weights from 0, and "
                "a step in (0, 1] or None"
            )
        if prox not in ("each", "last", None):
            raise ValueError(f"{self._who}: prox={prox!r} is unknown; choose 'each', 'last' or None")
        self.lam0, self.lam1, self.K = float(lam0), float(lam1), K
        self.alpha = 1 / (1 + self.lam0 + self.lam1) if alpha is None else float(alpha)
        self.prox: Prox | None = prox
        self.normalize, self.self_loops = normalize, self_loops

    def reset_parameters(self) -> None:
        """There are none."""

    def forward(self, x: Tensor, hyperedge_index: Incidences, num_hyperedges: int | None = None) -> Tensor:
        """The embeddings after K steps from x ``[N, F]`` -> ``[N, F]``."""
        h = self._hypergraph(x, hyperedge_index, num_hyperedges)
        clique, star, scale = self._operators(h, x.dtype)
        y = x
        for _ in range(self.K):
            y = torch.lerp(y, scale * (self._pull(y, clique, star) + x), self.alpha)
            y = F.relu(y) if self.prox == "each" else y
        return F.relu(y) if self.prox == "last" else y

    def energy(self, y: Tensor, x: Tensor, hyperedge_index: Incidences) -> Tensor:
        r"""What the steps without ReLU descend, a scalar.

        .. math:: \|Y - X\|^2 + \operatorname{tr} Y^\top (\lambda_0 L_C + \lambda_1 L_S) Y
        """
        clique, star, scale = self._operators(self._hypergraph(x, hyperedge_index, None), x.dtype)
        smoothed = (inverse(scale) - 1) * y - self._pull(y, clique, star)
        return (y - x).square().sum() + (y * smoothed).sum()

    def _pull(self, y: Tensor, clique: Expansion | None, star: Expansion | None) -> Tensor:
        r""":math:`(\lambda_0 A_C + \lambda_1 A_S) Y`, through one pass where neither is normalised."""
        if clique is None or star is None:
            only, weight = (star, self.lam1) if clique is None else (clique, self.lam0)
            return torch.zeros_like(y) if only is None else weight * only(y)
        if star.inner is not None and star.side is None:
            both = Expansion(star.h, self.lam0 + self.lam1 * star.inner, None, None, 0.0)
            return both(y) + (self.lam0 + self.lam1) * star.loop * y
        return self.lam0 * clique(y) + self.lam1 * star(y)

    def _operators(
        self, h: Hypergraph, dtype: torch.dtype
    ) -> tuple[Expansion | None, Expansion | None, Tensor]:
        """Both expansions where they count, and :math:`Q^{-1}` ``[N, 1]``."""
        wide = torch.promote_types(dtype, torch.float32)
        found: dict[str, Expansion] = {}
        q = torch.ones(h.num_nodes, dtype=wide, device=h.device)
        for kind, weight in (("clique", self.lam0), ("star", self.lam1)):
            if weight:
                key = ("expansion", kind, self.normalize, self.self_loops, wide)
                found[kind] = h.derive(key, partial(self._expansion, kind, wide))
                q = q + weight * found[kind].degree
        return found.get("clique"), found.get("star"), q.reciprocal().to(dtype)[:, None]

    def _expansion(self, kind: str, dtype: torch.dtype, h: Hypergraph) -> Expansion:
        inner = inverse(h.hyperedge_size.to(dtype)) if kind == "star" else None
        loop = float(self.self_loops)
        plain = Expansion(h.with_values(), inner, None, None, loop)
        ones = torch.ones(h.num_nodes, 1, dtype=dtype, device=h.device)
        degree = plain(ones)[:, 0]
        if not self.normalize:
            return Expansion(plain.h, inner, None, degree, loop)
        side = inverse_root(degree)
        normal = Expansion(plain.h, inner, side, None, loop)
        return Expansion(plain.h, inner, side, normal(ones)[:, 0], loop)


@dataclass(frozen=True)
class Expansion:
    """:math:`S (B E B^T + c I) S` as a map, never as a matrix, and its row sums ``[N]``."""

    h: Hypergraph
    inner: Tensor | None
    side: Tensor | None
    row_sums: Tensor | None
    loop: float

    @property
    def degree(self) -> Tensor:
        """Row sums ``[N]``."""
        assert self.row_sums is not None
        return self.row_sums

    def __call__(self, y: Tensor) -> Tensor:
        """The expansion times y ``[N, F]``."""
        out = two_stage(self.h, y, node=self.side, hyperedge=self.inner, out=self.side)
        if not self.loop:
            return out
        own = y if self.side is None else (self.side * self.side).to(y.dtype)[:, None] * y
        return out + self.loop * own


class PhenomNN(PhenomNNSimple):
    r"""PhenomNN with learned compatibility matrices between the embeddings of neighbours.

    .. math:: Y \leftarrow (1 - \alpha) Y + \alpha Q^{-1} \big( X
        + \lambda_0 (A_C Y (H_0 + H_0^\top) - D_C Y H_0 H_0^\top)
        + \lambda_1 (L_S Y + A_S Y (H_1 + H_1^\top) - D_S Y H_1 H_1^\top) \big)

    with :math:`L_S = D_S - A_S` and all else as in :class:`PhenomNNSimple`. Wang et al., From Hypergraph
    Energy Functions to Hypergraph Neural Networks, ICML 2023. With :math:`H_0 = H_1 = I` and without
    the ReLU the fixed point is :math:`(I + 2 \lambda_0 L_C + \lambda_1 L_S)^{-1} X`: the clique energy
    counts ordered pairs, so this is not PhenomNNSimple, and where :math:`\lambda_0` dominates steps below
    1/2 are sure to converge.

    Args:
        channels: width d of x and of the output.
        lam0, lam1, alpha, K, prox, normalize, self_loops: as in :class:`PhenomNNSimple`.
        identity: the matrices start near I, with normal noise of deviation 1/d; otherwise at normal numbers
            of variance 4/d.

    Shapes: x ``[N, d]``, hyperedge_index ``[2, nnz]`` or a :class:`gnnlib.sparse.Hypergraph` -> ``[N, d]``.
    Cost: as PhenomNNSimple, and up to four d x d products over nodes a step.
    Raises: as :class:`PhenomNNSimple`.
    """

    def __init__(
        self,
        channels: int,
        lam0: float = 20.0,
        lam1: float = 80.0,
        *,
        alpha: float | None = None,
        K: int = 16,
        prox: Prox | None = "each",
        normalize: bool = True,
        self_loops: bool = True,
        identity: bool = True,
    ) -> None:
        super().__init__(lam0, lam1, alpha=alpha, K=K, prox=prox, normalize=normalize, self_loops=self_loops)
        self.in_channels = self.out_channels = channels
        self.identity = identity
        self.compat0 = nn.Parameter(torch.empty(channels, channels)) if lam0 else None
        self.compat1 = nn.Parameter(torch.empty(channels, channels)) if lam1 else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for compat in (self.compat0, self.compat1):
            if compat is None:
                continue
            d = compat.size(0)
            nn.init.normal_(compat, std=1 / d if self.identity else 2 / d**0.5)
            if self.identity:
                with torch.no_grad():
                    compat.diagonal().add_(1)

    def energy(self, y: Tensor, x: Tensor, hyperedge_index: Incidences) -> Tensor:
        """Not offered: the energy of the learned form sums over ordered pairs, which are never formed."""
        raise NotImplementedError("PhenomNN: energy is offered by PhenomNNSimple only; take that")

    def _pull(self, y: Tensor, clique: Expansion | None, star: Expansion | None) -> Tensor:
        if y.size(1) != self.in_channels:
            raise ValueError(
                f"PhenomNN: x has {y.size(1)} features but channels={self.in_channels}; pass as many"
            )
        out = torch.zeros_like(y)
        if clique is not None and self.compat0 is not None:
            c = self.compat0
            degree = clique.degree.to(y.dtype)[:, None]
            out = out + self.lam0 * (clique(y) @ (c + c.t()) - degree * (y @ (c @ c.t())))
        if star is not None and self.compat1 is not None:
            c = self.compat1
            degree, spread = star.degree.to(y.dtype)[:, None], star(y)
            own = torch.eye(c.size(0), dtype=c.dtype, device=c.device)
            mixed = spread @ (c + c.t() - own) + degree * (y @ (own - c @ c.t()))
            out = out + self.lam1 * mixed
        return out
