"""Normalisation of node features inside MLPs and models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch normalisation over all nodes, with the parameter names of PyG's class.

    Shapes: ``[N, F]`` -> ``[N, F]``.
    """

    def __init__(
        self,
        in_channels: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        allow_single_element: bool = False,
    ) -> None:
        super().__init__()
        if allow_single_element and not track_running_stats:
            raise ValueError("BatchNorm: allow_single_element=True needs track_running_stats=True")
        self.module = nn.BatchNorm1d(in_channels, eps, momentum, affine, track_running_stats)
        self.in_channels = in_channels
        self.allow_single_element = allow_single_element

    def reset_parameters(self) -> None:
        """Back to unit scale, no shift and fresh statistics."""
        self.module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x ``[N, F]``; a single row uses the running statistics when that is allowed."""
        m = self.module
        if self.allow_single_element and x.size(0) <= 1:
            return torch.nn.functional.batch_norm(
                x, m.running_mean, m.running_var, m.weight, m.bias, False, 0.0, m.eps
            )
        out: Tensor = m(x)
        return out


def normalization(norm: str | Callable[..., Any], channels: int, **kwargs: Any) -> Any:
    """The normalisation that ``norm`` names, of ``channels`` features; a module is returned as it is.

    ``"batch_norm"`` is ours; any other name is one of PyG's, imported when it is asked for.

    Raises: ValueError for a name that PyG does not have.
    """
    if not isinstance(norm, str):
        return norm
    key = norm.lower().replace("_", "").replace("-", "")
    if key in ("batchnorm", "batch"):
        return BatchNorm(channels, **kwargs)
    from torch_geometric.nn.resolver import normalization_resolver

    return normalization_resolver(norm, channels, **kwargs)
