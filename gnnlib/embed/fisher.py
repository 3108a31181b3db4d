"""Fisher information embedding, unsupervised: neighbourhoods as displacements of a shared mixture."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.graph import as_graph
from gnnlib.names import choose
from gnnlib.sparse import CSR, spmm

__all__ = ["FisherInformationEmbedding"]

#: Added to the roots of eigenvalues before they are inverted, as in the authors' code.
SHIFT = 1e-2


def spherical_kmeans(x: Tensor, count: int, generator: torch.Generator, steps: int = 100) -> Tensor:
    """Centres of length 1 that the rows of x are nearest to by cosine; an empty one takes the worst fitted
    row.

    Shapes: ``[N, D]`` -> ``[count, D]``; with fewer rows than centres rows repeat.
    """
    rows = normalize(x, dim=1)
    order = torch.randperm(rows.shape[0], generator=generator)
    centres = rows[order.repeat(-(-count // max(len(order), 1)))[:count]]
    before = -float("inf")
    for _ in range(steps):
        fit, owner = (rows @ centres.t()).max(1)
        sums = torch.zeros_like(centres).index_add_(0, owner, rows)
        empty = (owner.bincount(minlength=count) == 0).nonzero().view(-1)
        worst = fit.topk(min(len(empty), len(fit)), largest=False).indices
        sums[empty] = rows[worst.repeat(-(-len(empty) // max(len(worst), 1)))[: len(empty)]]
        centres = normalize(sums, dim=1)
        total = float(fit.sum())
        if abs(total - before) <= 1e-6 * abs(total):
            break
        before = total
    return centres


class _InverseRoot(torch.autograd.Function):
    r"""V diag(1 / e) V^T of a kernel matrix K = V diag(lambda) V^T, with e = sqrt(lambda) + shift.

    .. math:: dK = - V \big[ F \circ (V^\top G V) \big] V^\top, \qquad
        F_{ij} = \frac{1}{(\sqrt{\lambda_i} + \sqrt{\lambda_j})\, e_i e_j}

    Autograd would divide by differences of eigenvalues, which repeat where anchors do. The sum of roots is
    not let under the shift: there the formula has no bound, and neither has the function's slope.
    """

    @staticmethod
    def forward(ctx: Any, gram: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(gram)
        root = values.clamp(min=0).sqrt()
        ctx.save_for_backward(root, vectors)
        found: Tensor = vectors / (root + SHIFT) @ vectors.t()
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        root, vectors = ctx.saved_tensors
        e = root + SHIFT
        factor = 1 / ((root[:, None] + root).clamp(min=SHIFT) * e[:, None] * e)
        found: Tensor = -vectors @ (factor * (vectors.t() @ grad @ vectors)) @ vectors.t()
        return found


def inverse_root(gram: Tensor) -> Tensor:
    """K^(-1/2) of a symmetric positive matrix ``[q, q]``, its eigenvalues' roots shifted by ``SHIFT``."""
    found: Tensor = _InverseRoot.apply(gram)  # type: ignore[no-untyped-call]
    return found


def nystroem(x: Tensor, anchors: Tensor, sigma: float) -> Tensor:
    r"""The map of the kernel |x| |y| exp((cos(x, y) - 1) / sigma^2) on anchors of length 1.

    Shapes: x ``[N, D]``, anchors ``[q, D]`` -> ``[N, q]``.
    """
    root = inverse_root(((anchors @ anchors.t() - 1) / sigma**2).exp())
    length = x.norm(dim=1, keepdim=True)
    found: Tensor = length * ((normalize(x, dim=1) @ anchors.t() - 1) / sigma**2).exp() @ root
    return found


def fisher_step(
    adj: CSR,
    x: Tensor,
    means: Tensor,
    norm: Literal["softmax", "sum"],
    bias: Tensor | None = None,
    n_heads: int = 1,
) -> Tensor:
    r"""One EM step of each neighbourhood from a shared mixture, as displacements of its means.

    .. math:: \gamma_{uj} = \operatorname{softmax}_j((\hat x_u \cdot \mu_j + b_j) / d), \qquad
        \phi(v)_j = \sum_u \frac{a_{uj}}{\sum_{u'} a_{u'j}} x_u - \mu_j

    over the sources u of v, with a = gamma (``"sum"``, EM) or exp(gamma) (``"softmax"``, the authors'
    code). The weights belong to sources, so two sums over the graph are all; no edge array.

    Each of h heads has a mixture of its own over its d / h columns; the displacements of one mean stay
    together, head by head.

    Shapes: x ``[N, d]``, means ``[p, d]``, of length 1 in each head, bias ``[p h]`` or none -> ``[N, p d]``;
        a node without neighbours gets 0.
    """
    n, p = x.shape[0], means.shape[0]
    width = x.shape[1] // n_heads
    parts, centres = x.view(n, n_heads, width), means.view(p, n_heads, width)
    near = torch.einsum("nhd,phd->nph", normalize(parts, dim=2), centres)
    gamma = ((near if bias is None else near + bias.view(p, n_heads)) / width).softmax(1)
    a = gamma.exp() if norm == "softmax" else gamma
    mass = spmm(adj, a.reshape(n, -1)).view(n, p, n_heads, 1)
    total = spmm(adj, (a[..., None] * parts[:, None]).reshape(n, -1)).view(n, p, n_heads, width)
    return torch.where(mass > 0, total / mass.clamp(min=1e-30) - centres, 0).view(n, -1)


def mixture_means(x: Tensor, count: int, n_heads: int, generator: torch.Generator) -> Tensor:
    """The means of each head's mixture, by spherical k-means of its columns: ``[N, d]`` -> ``[count, d]``."""
    heads = torch.split(x, x.shape[1] // n_heads, dim=1)
    return torch.cat([spherical_kmeans(part, count, generator) for part in heads], dim=1)


def check_heads(who: str, width: int, n_heads: int) -> None:
    """Refuse heads that do not share the columns evenly."""
    if n_heads < 1 or width % n_heads:
        raise ValueError(
            f"{who}: n_heads={n_heads} does not divide the {width} columns of a layer; choose one that does"
        )


def check_features(who: str, x: Tensor) -> None:
    """Refuse features of no nodes, or that are not finite."""
    if not len(x):
        raise ValueError(f"{who}: the graph has no nodes; pass one with some")
    if wrong := int((~torch.isfinite(x)).any(1).sum()):
        raise ValueError(f"{who}: {wrong} of {len(x)} rows of features hold NaN or infinity; fill them in")


class FisherInformationEmbedding(NodeEmbedding):
    r"""Fisher information embedding without labels: a node is how its neighbourhood moves a shared mixture.

    Layer by layer: anchors of a kernel and means of a mixture by spherical k-means, one EM step for each
    neighbourhood (its own node included), and the kernel's map of the displacement. Chen, Pellizzoni and
    Borgwardt, Fisher Information Embedding for Node and Graph Learning, ICML 2023, Sec. 3 and 4. The
    input of each layer and the last displacement are returned side by side.

    Args:
        n_layers: EM steps.
        hidden: anchors of each kernel.
        n_mixtures: p, means of each mixture.
        n_heads: mixtures side by side, each over its share of the ``hidden`` columns.
        sigma: width of the kernel, above 0.
        neighbor_norm: ``"softmax"`` (the authors' code) or ``"sum"`` (EM).
        concat: all layers side by side, or the last alone.
        seed: of the k-means.

    Shapes: a graph of N nodes with features ``[N, F]`` -> ``embedding_`` float32
        ``[N, n_layers hidden + p hidden]``.
    Cost: a layer sums ``[N, p hidden]`` over the graph once.
    Raises: ValueError without features, when their number is not that of the nodes, or for heads that do not
        divide ``hidden``.
    """

    def __init__(
        self,
        n_layers: int = 2,
        hidden: int = 64,
        n_mixtures: int = 8,
        n_heads: int = 1,
        *,
        sigma: float = 1.0,
        neighbor_norm: Literal["softmax", "sum"] = "softmax",
        concat: bool = True,
        seed: int = 0,
    ) -> None:
        self.n_layers = n_layers
        self.hidden = hidden
        self.n_mixtures = n_mixtures
        self.n_heads = n_heads
        self.sigma = sigma
        self.neighbor_norm = neighbor_norm
        self.concat = concat
        self.seed = seed

    def fit(
        self, graph: Any, y: object = None, *, features: Any = None, num_nodes: int | None = None
    ) -> Self:
        """Embed the nodes of a graph from their features, by default those of a PyG ``Data``; ``y`` is
        ignored."""
        given = getattr(graph, "x", None) if features is None else features
        if given is None:
            raise ValueError(
                "FisherInformationEmbedding: no features came; pass features=x, or a Data that has x"
            )
        self._features = torch.as_tensor(given).float()
        try:
            return super().fit(graph, y, num_nodes=num_nodes)
        finally:
            del self._features

    def fit_transform(self, graph: Any, y: object = None, **options: Any) -> Any:
        """Embed the nodes of a graph and return ``embedding_``; options are those of :meth:`fit`."""
        return self.fit(graph, y, **options).embedding_

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(n_layers=1, hidden=1, n_mixtures=1, n_heads=1)
        check_heads("FisherInformationEmbedding", self.hidden, self.n_heads)
        self._above_0("sigma")
        choose("FisherInformationEmbedding: neighbor_norm", self.neighbor_norm, ("softmax", "sum"))
        if self._features.dim() != 2 or self._features.shape[0] != graph.num_rows:
            raise ValueError(
                f"FisherInformationEmbedding: {self._features.shape[0]} rows of features for "
                f"{graph.num_rows} nodes, of shape {list(self._features.shape)}; pass one row each"
            )
        check_features("FisherInformationEmbedding", self._features)
        x = normalize(self._features, dim=1)
        adj = as_graph(graph).add_self_loops()
        draw = torch.Generator().manual_seed(self.seed & (2**63 - 1))
        found = []
        for layer in range(self.n_layers):
            x = nystroem(x, spherical_kmeans(x, self.hidden, draw), self.sigma)
            found.append(x)
            means = mixture_means(x, self.n_mixtures, self.n_heads, draw)
            x = fisher_step(adj, x, means, self.neighbor_norm, n_heads=self.n_heads)
            self._tell("layers", layer + 1, self.n_layers)
        return torch.cat([*found, x], dim=1) if self.concat else x
