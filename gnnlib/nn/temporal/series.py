"""Batches and steps of node features as columns of one matrix, so that a graph is walked once for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def fold(x: Any, who: str, *, steps: bool = False) -> Tensor:
    """Nodes first and all else in one dimension: ``[*, N, F]`` -> ``[N, B, F]``, contiguous.

    Args:
        x: features of the nodes.
        who: the layer, for the message.
        steps: whether the dimension before the nodes runs over time and so has to be there.
    """
    least, shape = (3, "[*, T, N, F]") if steps else (2, "[*, N, F]")
    if not isinstance(x, Tensor):
        raise TypeError(f"{who}: x is {type(x).__name__}; pass a tensor {shape}")
    if x.dim() < least:
        raise ValueError(f"{who}: x has shape {list(x.shape)}; expected {shape}, nodes next to last")
    if not x.is_floating_point():
        raise TypeError(f"{who}: x is {x.dtype}; pass floating features, for example x.float()")
    columns = 1
    for size in x.shape[:-2]:
        columns *= size
    return x.movedim(-2, 0).reshape(x.shape[-2], columns, x.shape[-1])


def unfold(h: Tensor, leading: Sequence[int]) -> Tensor:
    """The way back: ``[N, B, F]`` -> ``[*, N, F]`` with the ``leading`` sizes."""
    return h.view(h.shape[0], *leading, h.shape[-1]).movedim(0, -2)
