"""The layer of LCFN: low-pass collaborative filters of users and items."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SPREAD = 1e-3  # deviation of the initial filters from 1 and of the initial map from the identity


class LCFNConv(nn.Module):
    r"""Low-pass collaborative filter of users and of items, with one map for both.

    .. math:: U' = \sigma(P \operatorname{diag}(f_U) P^T U W), \qquad
        V' = \sigma(Q \operatorname{diag}(f_V) Q^T V W)

    Yu and Qin, Graph Convolutional Network for Recommendation with Low-pass Collaborative Filters, ICML 2020.
    P and Q come from :func:`interaction_basis`. Filters start at 1 and W at the identity, both with noise of
    deviation 0.001.

    Args:
        channels: width of the codes.
        user_frequencies: eigenvectors of the users.
        item_frequencies: eigenvectors of the items.

    Shapes: users ``[N, C]``, items ``[M, C]``, user_basis ``[N, F_U]``, item_basis ``[M, F_V]`` -> ``[N, C]``
        and ``[M, C]``.
    Cost: O(N F_U C + M F_V C).
    Raises: ValueError when codes and bases do not fit.
    """

    def __init__(self, channels: int, user_frequencies: int, item_frequencies: int) -> None:
        super().__init__()
        for name, value in (
            ("channels", channels),
            ("user_frequencies", user_frequencies),
            ("item_frequencies", item_frequencies),
        ):
            if value < 1:
                raise ValueError(f"LCFNConv: {name}={value}; pass 1 or more")
        self.channels = channels
        self.weight = nn.Parameter(torch.empty(channels, channels))
        self.user_filter = nn.Parameter(torch.empty(user_frequencies))
        self.item_filter = nn.Parameter(torch.empty(item_frequencies))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        nn.init.normal_(self.user_filter, 1.0, _SPREAD)
        nn.init.normal_(self.item_filter, 1.0, _SPREAD)
        nn.init.normal_(self.weight, 0.0, _SPREAD)
        with torch.no_grad():
            self.weight.diagonal().add_(1.0)

    def forward(
        self, users: Tensor, items: Tensor, user_basis: Tensor, item_basis: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Filter the codes of users and items."""
        return (
            self._filter("users", users, user_basis, self.user_filter),
            self._filter("items", items, item_basis, self.item_filter),
        )

    def _filter(self, side: str, x: Tensor, basis: Tensor, frequencies: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"LCFNConv: {side} have {x.shape[-1]} features in {list(x.shape)} but "
                f"channels={self.channels}; pass [N, {self.channels}]"
            )
        if basis.shape != (x.shape[0], frequencies.numel()):
            raise ValueError(
                f"LCFNConv: the basis of {side} has shape {list(basis.shape)}; expected "
                f"[{x.shape[0]}, {frequencies.numel()}]"
            )
        basis = basis.to(x.dtype)
        low = frequencies[:, None] * (basis.t() @ x)  # [F, C]
        return (basis @ (low @ self.weight)).sigmoid()

    def __repr__(self) -> str:
        return (
            f"LCFNConv({self.channels}, user_frequencies={self.user_filter.numel()}, "
            f"item_frequencies={self.item_filter.numel()})"
        )
