"""The sum-product networks that a graph induces, one rooted at each node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.gspn.emission import CategoricalEmission, Categories, GaussianEmission, Gaussians
from gnnlib.nn.init import reset
from gnnlib.sparse import CSR, spmm
from gnnlib.sparse.ops.spmm import Reduce

Kind = Literal["categorical", "gaussian"]


class GSPN(Conv):
    r"""Mixtures whose weights at a node come from the posteriors of its neighbours, layer over layer.

    .. math:: \pi_v^0 = \operatorname{softmax}(a), \qquad
        \pi_v^\ell(i) = \frac{1}{|N^+(v)|} \sum_{u \in N^+(v)} \sum_j T^\ell_{ij}\, h_u^{\ell - 1}(j), \qquad
        h_v^\ell(i) \propto \pi_v^\ell(i)\, p(x_v \mid \theta_i^\ell)

    .. math:: \log p(x_v) = \log \sum_i \pi_v^{L-1}(i)\, p(x_v \mid \bar\theta_i)

    Errica and Niepert, Tractable Probabilistic Graph Representation Learning with Graph-Induced Sum-Product
    Networks, ICLR 2024. :math:`N^+` are the neighbours and the node itself, the columns of T sum to 1, and
    :math:`\bar\theta` is the mean of the layers' parameters. Every quantity is exact: a missing attribute is
    a factor of 1. T multiplies nodes once, not edges, and products of probabilities are sums of logarithms.
    A node's own attributes reach its :math:`\pi` through the loop, so the sum of the log-likelihoods is a
    pseudo-likelihood; :meth:`query` hides what it asks for from the whole network.

    Args:
        in_channels: width of x.
        num_mixtures: number of components C, at least 1.
        num_layers: number of layers L, at least 1; a node sees its neighbours up to L - 1 edges away.
        emission: ``"categorical"`` for one-hot rows; ``"gaussian"`` for independent real attributes.
        sizes: with categories, the number of values of each attribute, blocks of columns that add up to
            in_channels; one attribute when omitted.
        avg_emission: take the mean of the layers' parameters for the likelihood; otherwise the last layer's.
        min_scale: with Gaussians, added to each scale, at least 0, so that no component shrinks to a point.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, whose values do not
        count; observed ``[N, A]`` bool or None, A the number of attributes -> ``[N, L C]``. Entries of x that
        are not observed may be anything, NaN too.
    Cost: O(L (E C + N C^2 + N C F)) time; with Gaussians N C F numbers a layer in memory, else N (C + F).
    Raises: ValueError for sizes or numbers out of range, x of another width, an observed of another shape, or
        when x is a pair.
    """

    def __init__(
        self,
        in_channels: int,
        num_mixtures: int,
        num_layers: int,
        emission: Kind = "categorical",
        *,
        sizes: Sequence[int] | None = None,
        avg_emission: bool = True,
        min_scale: float = 0.0,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**{"aggr": "mean", **kwargs})  # type: ignore[arg-type]  # the default of this layer
        if in_channels < 1 or num_mixtures < 1 or num_layers < 1 or min_scale < 0:
            raise ValueError(
                f"GSPN: in_channels={in_channels}, num_mixtures={num_mixtures}, num_layers={num_layers}, "
                f"min_scale={min_scale}; pass 1 or more of the first three and a scale of 0 or more"
            )
        if emission not in ("categorical", "gaussian"):
            raise ValueError(f"GSPN: emission={emission!r} is unknown; choose 'categorical' or 'gaussian'")
        if sizes is not None and (emission == "gaussian" or min(sizes, default=0) < 1):
            raise ValueError(f"GSPN: sizes={list(sizes)} with emission={emission!r}; pass sizes of 1 or more")
        blocks = [in_channels] if sizes is None else list(sizes)
        if sum(blocks) != in_channels:
            raise ValueError(
                f"GSPN: sizes={blocks} add up to {sum(blocks)} but in_channels={in_channels}; pass the "
                "number of values of each attribute"
            )
        self.in_channels = in_channels
        self.num_mixtures = num_mixtures
        self.num_layers = num_layers
        self.avg_emission = avg_emission
        self.sizes = [1] * in_channels if emission == "gaussian" else blocks
        self.prior = nn.Parameter(torch.empty(num_mixtures))
        self.transitions = nn.ParameterList(
            nn.Parameter(torch.empty(num_mixtures, num_mixtures)) for _ in range(num_layers - 1)
        )
        self.emission: CategoricalEmission | GaussianEmission
        if emission == "gaussian":
            self.emission = GaussianEmission(num_layers, num_mixtures, in_channels, min_scale)
        else:
            self.emission = CategoricalEmission(num_layers, num_mixtures, blocks)
        self.reset_parameters()

    @property
    def out_channels(self) -> int:
        """Width of an embedding, L C."""
        return self.num_layers * self.num_mixtures

    def reset_parameters(self) -> None:
        """Draw new logits and emissions.

        A component passes mostly to itself at first: columns near the uniform distribution would tell a node
        little of its neighbours.
        """
        nn.init.normal_(self.prior)
        for logits in self.transitions:
            nn.init.normal_(logits)
            with torch.no_grad():
                logits.diagonal().add_(3.0)
        reset(self.emission)

    def initialise(
        self, x: Tensor, observed: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> None:
        """Put the means of Gaussians at k-means' centres of the observed entries, plus normal noise.

        Raises: ValueError for categorical emissions.
        """
        if not isinstance(self.emission, GaussianEmission):
            raise ValueError("GSPN: initialise places the means of emission='gaussian'; this one has none")
        self.emission.initialise(*self._attributes(x, observed), generator)

    def forward(self, x: Tensor, edge_index: Adj, observed: Tensor | None = None) -> Tensor:
        """The posteriors of all layers side by side, ``[N, L C]``."""
        return torch.cat([layer.posterior for layer in self.mixtures(x, edge_index, observed)], dim=1)

    def embed(self, x: Tensor, edge_index: Adj, observed: Tensor | None = None) -> Tensor:
        """The posteriors of all layers side by side, ``[N, L C]``; the same as calling the module."""
        return self(x, edge_index, observed)  # type: ignore[no-any-return]

    def mixtures(self, x: Tensor, edge_index: Adj, observed: Tensor | None = None) -> list[Mixture]:
        """Weights of the components before and after each node's own attributes, layer by layer."""
        values, known = self._attributes(x, observed)
        adj = self._graph(edge_index, x, x).add_self_loops(remaining=True)
        return self._mixtures(values, known, adj)

    def log_likelihood(self, x: Tensor, edge_index: Adj, observed: Tensor | None = None) -> Tensor:
        """Logarithm of the probability of each node's observed attributes, ``[N]``."""
        values, known = self._attributes(x, observed)
        adj = self._graph(edge_index, x, x).add_self_loops(remaining=True)
        log_prior = self._mixtures(values, known, adj)[-1].log_prior
        return (log_prior + self._last().log_prob(values, known)).logsumexp(1)

    def impute(
        self,
        x: Tensor,
        edge_index: Adj,
        observed: Tensor,
        *,
        given: Literal["prior", "posterior"] = "prior",
    ) -> Tensor:
        r"""x with its missing entries replaced by their expectation, ``[N, in]``.

        ``"prior"`` is the paper's :math:`\sum_i \pi_v^{L-1}(i)\, E[x \mid i]`; ``"posterior"`` weighs the
        components by the node's observed attributes as well, the exact conditional expectation. The two agree
        at nodes that observe nothing. Categories are replaced by their probabilities.
        """
        if given not in ("prior", "posterior"):
            raise ValueError(f"GSPN: given={given!r} is unknown; choose 'prior' or 'posterior'")
        values, known = self._attributes(x, observed)
        adj = self._graph(edge_index, x, x).add_self_loops(remaining=True)
        weight, last = self._mixtures(values, known, adj)[-1].log_prior, self._last()
        if given == "posterior":
            weight = weight + last.log_prob(values, known)
        return torch.where(known > 0, values, F.softmax(weight, dim=1) @ last.mean)

    def query(self, x: Tensor, edge_index: Adj, asked: Tensor, observed: Tensor | None = None) -> Tensor:
        r"""Logarithm of the probability of the asked attributes given the observed ones, ``[N]``.

        .. math:: \log p(x_v^{asked} \mid x^{observed}) = \log \sum_i \pi_v(i)\, p(x_v^{asked}, x_v^{observed}
            \mid i) - \log \sum_i \pi_v(i)\, p(x_v^{observed} \mid i)

        What is asked of any node is hidden from all of them; 0 at a node of which nothing is asked.

        Args:
            x: attributes, those that are asked among them.
            edge_index: the graph.
            asked: bool ``[N, A]``.
            observed: bool ``[N, A]``; all that is not asked when omitted.
        """
        _, wanted = self._attributes(x, asked)
        given = ~asked.bool() if observed is None else observed.bool() & ~asked.bool()
        values, known = self._attributes(x, given)
        both, _ = self._attributes(x, given | asked.bool())
        adj = self._graph(edge_index, x, x).add_self_loops(remaining=True)
        log_prior, last = self._mixtures(values, known, adj)[-1].log_prior, self._last()
        joint = (log_prior + last.log_prob(both, known + wanted)).logsumexp(1)
        return joint - (log_prior + last.log_prob(values, known)).logsumexp(1)

    # -- inference --------------------------------------------------------------------------------

    def _attributes(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        """x with 0 where an attribute is missing, and 1 where it is not, both ``[N, in]``."""
        x = self._one(x)
        if x.size(1) != self.in_channels:
            raise ValueError(
                f"GSPN: x has {x.size(1)} features but in_channels={self.in_channels}; pass as many"
            )
        if observed is None:
            return x, torch.ones_like(x)
        if observed.shape != (x.size(0), len(self.sizes)):
            raise ValueError(
                f"GSPN: observed has shape {list(observed.shape)}; expected one column an attribute, "
                f"[{x.size(0)}, {len(self.sizes)}]"
            )
        known = observed.bool()
        if len(self.sizes) != self.in_channels:
            repeats = torch.tensor(self.sizes, device=x.device)
            known = known.repeat_interleave(repeats, dim=1, output_size=self.in_channels)
        return torch.where(known, x, 0), known.to(x.dtype)

    def _mixtures(self, x: Tensor, known: Tensor, adj: CSR) -> list[Mixture]:
        log_prior = F.log_softmax(self.prior, dim=0).expand(x.size(0), -1)
        layers: list[Mixture] = []
        emissions: Sequence[Categories | Gaussians] = self.emission.layers()
        for number, emission in enumerate(emissions):
            if layers:
                log_prior = self._passed_on(adj, layers[-1].posterior, self.transitions[number - 1])
            posterior = F.softmax(log_prior + emission.log_prob(x, known), dim=1)
            layers.append(Mixture(log_prior, posterior))
        return layers

    def _passed_on(self, adj: CSR, posterior: Tensor, logits: Tensor) -> Tensor:
        """The logarithm of the mean over N+ of T h, each row of T divided by its largest entry meanwhile."""
        log_t = F.log_softmax(logits, dim=0)
        top = log_t.max(dim=1).values.detach()  # a component that no column likes keeps its precision
        passed = spmm(adj, posterior @ (log_t - top[:, None]).exp().t(), None, "mean")
        return passed.clamp(min=torch.finfo(passed.dtype).tiny).log() + top  # log 0 has no gradient

    def _last(self) -> Categories | Gaussians:
        return self.emission.average() if self.avg_emission else self.emission.layers()[-1]

    def _reduction(self, aggr: Any) -> Reduce:
        if super()._reduction(aggr) != "mean":
            raise NotImplementedError(
                f"{self._who}: aggr={aggr!r} is not offered; a mean of distributions is one, leave 'mean'"
            )
        return "mean"

    def __repr__(self) -> str:
        return f"GSPN({self.in_channels}, num_mixtures={self.num_mixtures}, num_layers={self.num_layers})"


@dataclass(frozen=True)
class Mixture:
    """The weights of the components in one layer.

    Args:
        log_prior: logarithm of pi, before the node's own attributes.
        posterior: h, after them.

    Shapes: both ``[N, C]``.
    """

    log_prior: Tensor
    posterior: Tensor

    @property
    def prior(self) -> Tensor:
        """pi itself."""
        return self.log_prior.exp()
