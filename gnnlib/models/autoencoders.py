"""Graph auto-encoders whose codes follow a Gaussian: variational, adversarially regularised, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.models.configs import GAEConfig, Task
from gnnlib.models.encoders import ConvStack, Encoder
from gnnlib.models.entry import Entry
from gnnlib.models.heads import LinkModel
from gnnlib.nn import MLP, GCNConv, Linear
from gnnlib.nn.conv.base import Adj

MOST_LOGSTD = 10.0  # exp(20) is the largest variance: nothing overflows in float32


@dataclass(frozen=True, kw_only=True)
class VGAEConfig(GAEConfig):
    """Variational graph auto-encoder; Kipf and Welling's is hidden 32, codes of 16."""


@dataclass(frozen=True, kw_only=True)
class ARGAConfig(GAEConfig):
    """Graph auto-encoder with a discriminator that holds its codes to a standard Gaussian.

    Args:
        discriminator_channels: width of the discriminator's two hidden layers.
    """

    discriminator_channels: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("discriminator_channels", self.discriminator_channels >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class ARVGAConfig(ARGAConfig):
    """Variational graph auto-encoder with a discriminator on its samples."""


class GaussianEncoder(ConvStack):
    r"""A GCN that gives each node a Gaussian over codes.

    .. math:: q(z_v | X, A) = N(\mu_v, \operatorname{diag} \sigma_v^2), \qquad
        \mu = \mathrm{GCN}_\mu(X, A), \quad \log \sigma = \mathrm{GCN}_\sigma(X, A)

    The two share all layers but the last. Kipf and Welling, Variational Graph Auto-Encoders, 2016.

    Args:
        config: the options.
        task: link.
        in_channels: width of x.

    Shapes: x ``[N, in]``, edge_index ``[2, E]``, edge_weight ``[E]`` -> ``[N, out]``: a sample of q in
        training, else its mean.
    """

    def __init__(self, config: GAEConfig, task: Task, in_channels: int) -> None:
        width = config.out_channels
        super().__init__(config, task, in_channels, width, lambda i, o, last: GCNConv(i, o))
        last = self.convs[-1] if self.lin is None else self.lin
        hidden = cast("GCNConv | Linear", last).in_channels
        self.logstd: nn.Module = GCNConv(hidden, width) if self.lin is None else Linear(hidden, width)

    def moments(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation, ``[N, out]`` both."""
        h = self.hidden(x, edge_index, edge_weight)
        if self.lin is not None:
            mean, logstd = self.lin(h), self.logstd(h)
        else:
            mean, logstd = (conv(h, edge_index, edge_weight) for conv in (self.convs[-1], self.logstd))
        return mean, logstd.clamp(max=MOST_LOGSTD)

    def draw(self, mean: Tensor, logstd: Tensor) -> Tensor:
        """A sample of q in training, else the mean: ``[N, out]``."""
        return mean + torch.randn_like(mean) * logstd.exp() if self.training else mean

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Codes ``[N, out]``."""
        return self.draw(*self.moments(x, edge_index, edge_weight))


def gaussian_kl(mean: Tensor, logstd: Tensor) -> Tensor:
    r"""The divergence of the nodes' Gaussians from the standard one, averaged over nodes.

    .. math:: -\tfrac{1}{2 N} \sum_v \sum_d (1 + 2 \log \sigma_{vd} - \mu_{vd}^2 - \sigma_{vd}^2)

    Shapes: both ``[N, d]`` -> a scalar.
    """
    terms = 1 + 2 * logstd - mean.square() - (2 * logstd).exp()
    return -0.5 * terms.sum(1).mean()


class Discriminator(MLP):
    r"""Tells codes from samples of the standard Gaussian, and says how well the codes deceive it.

    With D the logits of "a sample of the prior", :meth:`losses` gives

    .. math:: \ell_D = \operatorname{mean}_v \big[ \log(1 + e^{-D(p_v)}) + \log(1 + e^{D(z_v)}) \big], \qquad
        \ell_z = \operatorname{mean}_v \log(1 + e^{-D(z_v)}), \qquad p_v \sim N(0, I)

    Pan et al., Adversarially Regularized Graph Autoencoder for Graph Embedding, IJCAI 2018. They take steps
    of D and of the encoder in turn. Here one backward pass serves both: ``l_D`` has gradients for D alone,
    since it sees z detached, and ``l_z`` for z alone, since it sees D's parameters detached. One optimiser
    then moves both players at once, each by the gradient of its own loss.

    Args:
        in_channels: width of the codes.
        hidden_channels: width of the two hidden layers.

    Shapes: z ``[N, d]`` -> ``[N, 1]``.
    """

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__([in_channels, hidden_channels, hidden_channels, 1], norm=None)

    def losses(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's loss and that of codes z ``[N, d]``."""
        own = F.softplus(-self(torch.randn_like(z))).mean() + F.softplus(self(z.detach())).mean()
        frozen = {name: p.detach() for name, p in self.named_parameters()}
        return own, F.softplus(-torch.func.functional_call(self, frozen, (z,))).mean()


class AutoencoderModel(LinkModel):
    r"""Scores of node pairs from codes that a second loss holds to the standard Gaussian.

    .. math:: \ell = \ell_{\text{pairs}} + \tfrac{1}{N} \mathrm{KL}(q \,\|\, N(0, I)) + \ell_D + \ell_z

    The KL term, averaged over nodes, is there for a :class:`GaussianEncoder`, the last two with a
    :class:`Discriminator`. Scores in evaluation come from the means.

    Args:
        config: the options it was built from.
        encoder: from features to codes z.
        discriminator: on those codes, or None.

    Shapes: as :class:`LinkModel`.
    """

    has_auxiliary = True

    def __init__(
        self, config: GAEConfig, encoder: Encoder, discriminator: Discriminator | None = None
    ) -> None:
        super().__init__(config, encoder)
        self.discriminator = discriminator

    def encode_with_loss(self, x: Tensor, edge_index: Adj) -> tuple[Tensor, Tensor]:
        """Codes ``[N, out]`` and the loss that the model adds to that of the pairs."""
        if isinstance(self.encoder, GaussianEncoder):
            mean, logstd = self.encoder.moments(x, edge_index)
            z = self.encoder.draw(mean, logstd)
            auxiliary = gaussian_kl(mean, logstd) / z.size(0)
        else:
            z = self.encode(x, edge_index)
            auxiliary = z.new_zeros(())
        if self.discriminator is not None:
            auxiliary = auxiliary + sum(self.discriminator.losses(z))
        return z, auxiliary


def _vgae(config: VGAEConfig, task: Task, in_channels: int, out_channels: int) -> nn.Module:
    return AutoencoderModel(config, GaussianEncoder(config, task, in_channels))


def _arga(config: ARGAConfig, task: Task, in_channels: int, out_channels: int) -> nn.Module:
    encoder = ConvStack(config, task, in_channels, config.out_channels, lambda i, o, last: GCNConv(i, o))
    return AutoencoderModel(config, encoder, _discriminator(config))


def _arvga(config: ARVGAConfig, task: Task, in_channels: int, out_channels: int) -> nn.Module:
    return AutoencoderModel(config, GaussianEncoder(config, task, in_channels), _discriminator(config))


def _discriminator(config: ARGAConfig) -> Discriminator:
    return Discriminator(config.out_channels, config.discriminator_channels)


LINK = frozenset({"link"})

MODELS: dict[str, Entry] = {
    "arga": Entry(ARGAConfig, None, LINK, _arga),
    "arvga": Entry(ARVGAConfig, None, LINK, _arvga),
    "vgae": Entry(VGAEConfig, None, LINK, _vgae),
}
