"""Recommendation from interactions alone: LightGCN and LCFN, ranked in pairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig
from gnnlib.models.entry import Entry
from gnnlib.nn import LCFNConv, interaction_basis
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.hops import repeat
from gnnlib.sparse import CSR, as_csr

__all__ = ["LCFN", "LCFNConfig", "LightGCN", "LightGCNConfig", "MODELS"]

RECOMMENDATION: frozenset[str] = frozenset({"recommendation"})


@dataclass(frozen=True, kw_only=True)
class RecommenderConfig(ModelConfig):
    """What the models of interactions have in common.

    Args:
        hidden_channels: width of the embeddings.
        penalty: weight of half the squared embeddings of a batch, for each of its triples, at least 0.
    """

    dropout: float = 0.0
    penalty: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("penalty", self.penalty >= 0, "0 or more")


@dataclass(frozen=True, kw_only=True)
class LightGCNConfig(RecommenderConfig):
    """LightGCN; He et al.'s is three layers of 64.

    Args:
        num_layers: steps of propagation.
    """

    num_layers: int = 3


@dataclass(frozen=True, kw_only=True)
class LCFNConfig(RecommenderConfig):
    """Low-pass collaborative filter network.

    Args:
        num_layers: filters.
        user_frequencies: eigenvectors of the users' graph; at most as many as there are users.
        item_frequencies: eigenvectors of the items' graph; at most as many as there are items.
    """

    num_layers: int = 1
    user_frequencies: int = 128
    item_frequencies: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("user_frequencies", "item_frequencies"):
            self._require(name, getattr(self, name) >= 1, "1 or more")


class Recommender(nn.Module):
    """Embeddings of users and items, and codes that the interactions make of them.

    Args:
        config: the options it was built from.
        num_users: N.
        num_items: M.

    Shapes: interactions a CSR ``[N, M]`` of the known ones, users, items and others ``[B]`` -> scores of the
        items and of the others ``[B]``, and the penalty, a number.
    """

    def __init__(self, config: RecommenderConfig, num_users: int, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.users = nn.Parameter(torch.empty(num_users, config.hidden_channels))
        self.items = nn.Parameter(torch.empty(num_items, config.hidden_channels))

    @abstractmethod
    def reset_parameters(self) -> None:
        """Draw new parameters."""

    @abstractmethod
    def codes(self, interactions: CSR) -> tuple[Tensor, Tensor]:
        """Codes of users ``[N, d]`` and items ``[M, d]``; a score is their inner product."""

    def forward(
        self, interactions: CSR, users: Tensor, items: Tensor, others: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of the items and of the others, and the penalty."""
        user_codes, item_codes = self.codes(interactions)
        u = user_codes[users]
        wanted, other = (u * item_codes[items]).sum(1), (u * item_codes[others]).sum(1)
        return (
            wanted,
            other,
            self.config.penalty / max(users.numel(), 1) * self._squares(users, items, others),
        )

    def _squares(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Half the squared norm of what a batch penalises."""
        rows = (self.users[users], self.items[items], self.items[others])
        total: Tensor = torch.stack([row.square().sum() for row in rows]).sum()
        return total / 2

    def _check(self, interactions: CSR) -> None:
        expected = (self.users.shape[0], self.items.shape[0])
        if interactions.shape != expected:
            raise ValueError(
                f"{type(self).__name__}: interactions are {interactions.shape[0]} x {interactions.shape[1]} "
                f"but there are {expected[0]} users and {expected[1]} items; pass a CSR with a row a user"
            )


class LightGCN(Recommender):
    r"""The mean of all powers of the normalised graph of users and items, applied to their embeddings.

    .. math:: Z = \frac{1}{K + 1} \sum_{k=0}^{K} (D^{-1/2} A D^{-1/2})^k E

    He et al., LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation, SIGIR 2020.

    Args:
        config: its options.
        num_users: N.
        num_items: M.

    Shapes: as :class:`Recommender`.
    """

    def __init__(self, config: LightGCNConfig, num_users: int, num_items: int) -> None:
        super().__init__(config, num_users, num_items)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new embeddings, Glorot-uniform over users and items together."""
        both = torch.empty(self.users.shape[0] + self.items.shape[0], self.users.shape[1])
        nn.init.xavier_uniform_(both)
        with torch.no_grad():
            self.users.copy_(both[: self.users.shape[0]])
            self.items.copy_(both[self.users.shape[0] :])

    def codes(self, interactions: CSR) -> tuple[Tensor, Tensor]:
        """Codes of users ``[N, d]`` and items ``[M, d]``."""
        self._check(interactions)
        both = torch.cat([self.users, self.items])
        step = gcn_norm(interactions.derive("both_ways", _both_ways), None, both, add_self_loops=False)
        steps = self.config.num_layers
        total = repeat(step, both, steps, restart=1.0, decay=1.0)  # the sum of all powers
        codes = total / (steps + 1)
        return codes[: self.users.shape[0]], codes[self.users.shape[0] :]


class LCFN(Recommender):
    """Low-pass collaborative filters in a row; the codes are all layers side by side.

    Yu and Qin, Graph Convolutional Network for Recommendation with Low-pass Collaborative Filters, ICML 2020.
    The eigenvectors are computed once for the interactions; within one eigenvalue, as
    0 of interactions in several pieces, they are arbitrary up to a rotation, and so then is what the filters
    tell apart. The penalty also takes all filters and maps.

    Args:
        config: its options.
        num_users: N.
        num_items: M.

    Shapes: as :class:`Recommender`.
    """

    def __init__(self, config: LCFNConfig, num_users: int, num_items: int) -> None:
        super().__init__(config, num_users, num_items)
        self.frequencies = (
            min(config.user_frequencies, num_users),
            min(config.item_frequencies, num_items),
        )
        self.convs = nn.ModuleList(
            LCFNConv(config.hidden_channels, *self.frequencies) for _ in range(config.num_layers)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new embeddings, normal with mean 0.01 and deviation 0.02, and new filters."""
        nn.init.normal_(self.users, 0.01, 0.02)
        nn.init.normal_(self.items, 0.01, 0.02)
        for conv in self.convs:
            assert isinstance(conv, LCFNConv)
            conv.reset_parameters()

    def codes(self, interactions: CSR) -> tuple[Tensor, Tensor]:
        """Codes of users ``[N, (L + 1) d]`` and items ``[M, (L + 1) d]``."""
        self._check(interactions)
        of_users = _basis(interactions, self.frequencies[0], self.users.dtype)
        of_items = _basis(interactions.transposed, self.frequencies[1], self.users.dtype)
        users: list[Tensor] = [self.users]
        items: list[Tensor] = [self.items]
        for conv in self.convs:
            u, v = conv(users[-1], items[-1], of_users, of_items)
            users.append(u)
            items.append(v)
        return torch.cat(users, dim=1), torch.cat(items, dim=1)

    def _squares(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        filters = torch.stack([p.square().sum() for p in self.convs.parameters()]).sum()
        return super()._squares(users, items, others) + filters / 2


def _basis(interactions: CSR, count: int, dtype: torch.dtype) -> Tensor:
    """The low frequencies of the rows, kept with the graph, ``[N, count]``."""

    def compute(adj: CSR) -> Tensor:
        return interaction_basis(adj, count)[1].to(dtype)

    return interactions.derive(("low_frequencies", count, dtype), compute)


def _both_ways(interactions: CSR) -> CSR:
    """The graph of users and then items, an edge each way for each interaction."""
    users, items = interactions.rows, interactions.indices.long() + interactions.num_rows
    ends = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
    size = sum(interactions.shape)
    return as_csr(ends, (size, size))


def _sizes(name: str, sizes: Sequence[int]) -> tuple[int, int]:
    if len(sizes) != 2:
        raise ValueError(f"{name}: sizes={list(sizes)}; pass the numbers of users and items")
    return sizes[0], sizes[1]


def _lightgcn(config: LightGCNConfig, in_channels: int, out_channels: int, sizes: Sequence[int]) -> nn.Module:
    return LightGCN(config, *_sizes("lightgcn", sizes))


def _lcfn(config: LCFNConfig, in_channels: int, out_channels: int, sizes: Sequence[int]) -> nn.Module:
    return LCFN(config, *_sizes("lcfn", sizes))


MODELS: dict[str, Entry] = {
    "lcfn": Entry(LCFNConfig, sized=_lcfn, tasks=RECOMMENDATION),
    "lightgcn": Entry(LightGCNConfig, sized=_lightgcn, tasks=RECOMMENDATION),
}
