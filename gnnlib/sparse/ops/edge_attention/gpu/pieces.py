"""Gradients of rows that may be hubs: a place for whole rows, another for the pieces of hubs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gnnlib.sparse.gpu.tiles import Shape, row_tile
from gnnlib.sparse.gpu.work import Work
from gnnlib.sparse.numerics import accumulate_dtype
from gnnlib.sparse.ops.spmm.gpu import merge


class Gradient(NamedTuple):
    """The gradient of ``like``, ``[R, ...]``, and the sums of pieces ``[pieces, ...]`` that go into it."""

    whole: Tensor
    part: Tensor


def gradient(work: Work, like: Tensor) -> Gradient:
    """Room for the gradient of ``like``."""
    part = torch.empty(
        work.num_pieces, math.prod(like.shape[1:]), dtype=accumulate_dtype(like.dtype), device=like.device
    )
    return Gradient(torch.empty(like.shape, dtype=like.dtype, device=like.device), part)


def join(work: Work, found: Gradient) -> Tensor:
    """The gradient with the pieces of each hub added up in order."""
    width = found.part.shape[1]
    if work.num_hubs > 0 and width > 0:
        shape = Shape.of(width, found.part.element_size(), work.num_hubs, work.num_pieces)
        merge(work, found.part, found.whole, row_tile(shape))
    return found.whole
