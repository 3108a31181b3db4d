"""What a mixture component says of a node's attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.gspn.clusters import kmeans

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Categories:
    """A distribution of one-hot blocks for each component.

    Shapes: log_p ``[C, F]``, the logarithms of each block's probabilities; x and observed ``[N, F]``, 0 where
        an attribute is missing.
    """

    log_p: Tensor

    def log_prob(self, x: Tensor, observed: Tensor) -> Tensor:
        """Logarithm of the probability of the observed blocks under each component, ``[N, C]``."""
        return x @ self.log_p.t()

    @property
    def mean(self) -> Tensor:
        """Expected attributes ``[C, F]``: the probabilities."""
        return self.log_p.exp()


@dataclass(frozen=True)
class Gaussians:
    """Independent normal attributes for each component.

    Shapes: mean and scale ``[C, F]``; x and observed ``[N, F]``, 0 where an attribute is missing.
    """

    mean: Tensor
    scale: Tensor

    def log_prob(self, x: Tensor, observed: Tensor) -> Tensor:
        """Logarithm of the density of the observed attributes under each component, ``[N, C]``."""
        z = (x[:, None] - self.mean) / self.scale  # [N, C, F]; expanding the square would cancel
        return -(observed[:, None] * (0.5 * (z * z + _LOG_2PI) + self.scale.log())).sum(-1)


class CategoricalEmission(nn.Module):
    """Categorical distributions of each layer and component, a softmax over each block of the logits.

    Args:
        num_layers: number of layers L.
        num_mixtures: number of components C.
        sizes: number of values of each attribute.

    Shapes: logits ``[L, C, F]``, F the sum of ``sizes``.
    """

    def __init__(self, num_layers: int, num_mixtures: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.logits = nn.Parameter(torch.empty(num_layers, num_mixtures, sum(sizes)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new logits."""
        nn.init.normal_(self.logits, std=2.0)

    def layers(self) -> list[Categories]:
        """The distribution of each layer."""
        return [Categories(log_p) for log_p in self._log_p()]

    def average(self) -> Categories:
        """The mean of the layers' probabilities."""
        log_p = self._log_p()
        return Categories(log_p.logsumexp(0) - math.log(log_p.size(0)))

    def _log_p(self) -> Tensor:
        blocks = torch.split(self.logits, self.sizes, dim=-1)
        return torch.cat([F.log_softmax(block, dim=-1) for block in blocks], dim=-1)


class GaussianEmission(nn.Module):
    """Normal distributions of each layer, component and attribute, whose scale is a softplus.

    Args:
        num_layers: number of layers L.
        num_mixtures: number of components C.
        channels: number of attributes F.
        min_scale: added to every scale.

    Shapes: mean and raw_scale ``[L, C, F]``.
    """

    def __init__(self, num_layers: int, num_mixtures: int, channels: int, min_scale: float = 0.0) -> None:
        super().__init__()
        self.min_scale = min_scale
        self.mean = nn.Parameter(torch.empty(num_layers, num_mixtures, channels))
        self.raw_scale = nn.Parameter(torch.empty(num_layers, num_mixtures, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw means from a standard normal; the softplus is 1."""
        nn.init.normal_(self.mean)
        nn.init.constant_(self.raw_scale, math.log(math.e - 1))

    @torch.no_grad()
    def initialise(self, x: Tensor, observed: Tensor, generator: torch.Generator | None) -> None:
        """Means at the centres of k-means over the observed entries, each with standard normal noise."""
        layers, components = self.mean.shape[:2]
        centres = kmeans(x, observed, components, generator)
        for layer in range(layers):
            noise = torch.randn(centres.shape, generator=generator, dtype=x.dtype, device=x.device)
            self.mean[layer] = (centres + noise).to(self.mean)

    def layers(self) -> list[Gaussians]:
        """The distribution of each layer."""
        return [Gaussians(m, s) for m, s in zip(self.mean, self._scale(), strict=True)]

    def average(self) -> Gaussians:
        """The distribution with the mean of the layers' means and scales."""
        return Gaussians(self.mean.mean(0), self._scale().mean(0))

    def _scale(self) -> Tensor:
        return self.min_scale + F.softplus(self.raw_scale)
