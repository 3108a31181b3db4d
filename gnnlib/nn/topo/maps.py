"""Restriction maps of a sheaf from free parameters: diagonal, orthogonal and general ones."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Kind: TypeAlias = Literal["diagonal", "orthogonal", "general"]
Orth: TypeAlias = Literal["householder", "cayley", "matrix_exp", "euler"]
KINDS = ("diagonal", "orthogonal", "general")
ORTHS = ("householder", "cayley", "matrix_exp", "euler")


def num_parameters(kind: Kind, d: int) -> int:
    """Free parameters of a map of d x d."""
    return {"diagonal": d, "orthogonal": d * (d - 1) // 2, "general": d * d}[kind]


def make_maps(parameters: Tensor, kind: Kind, d: int, orth: Orth = "householder") -> Tensor:
    """Maps from parameters ``[E, P]``: ``[E, d]`` for diagonal ones, else ``[E, d, d]``.

    Orthogonal maps take the strict lower triangle, as many numbers as they have degrees of freedom, and are
    made at least in float32.
    """
    if kind == "diagonal":
        return parameters
    if kind == "general":
        return parameters.view(-1, d, d)
    wide = parameters if parameters.dtype == torch.float64 else parameters.float()
    if orth == "euler":
        return _euler(2 * math.pi * wide, d).to(parameters.dtype)
    row, col = torch.tril_indices(d, d, -1, device=wide.device)
    lower = wide.new_zeros(wide.size(0), d, d)
    lower = lower.index_put((torch.arange(wide.size(0), device=wide.device)[:, None], row, col), wide)
    eye = torch.eye(d, dtype=wide.dtype, device=wide.device)
    skew = lower - lower.transpose(1, 2)
    if orth == "cayley":
        maps: Tensor = torch.linalg.solve(eye + skew, eye - skew)
    elif orth == "matrix_exp":
        maps = torch.linalg.matrix_exp(skew)
    else:
        maps = _reflections(lower + eye)
    return maps.to(parameters.dtype)


def _reflections(columns: Tensor) -> Tensor:
    """The product of the Householder reflections at the columns, ``[E, d, d]``."""
    d = columns.size(1)
    maps = torch.eye(d, dtype=columns.dtype, device=columns.device).expand_as(columns)
    for k in range(d):
        v = columns[:, :, k : k + 1]
        maps = maps - 2 * (maps @ v) @ v.transpose(1, 2) / v.square().sum(1, keepdim=True)
    return maps


def _euler(angles: Tensor, d: int) -> Tensor:
    """Rotations in the plane by one angle, in space by three, about z, y and z."""
    cos, sin = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(cos[:, 0]), torch.ones_like(cos[:, 0])

    def about_z(k: int) -> Tensor:
        rows = [cos[:, k], -sin[:, k], zero, sin[:, k], cos[:, k], zero, zero, zero, one]
        return torch.stack(rows, dim=1).view(-1, 3, 3)

    if d == 2:
        return torch.stack([cos[:, 0], -sin[:, 0], sin[:, 0], cos[:, 0]], dim=1).view(-1, 2, 2)
    rows = [cos[:, 1], zero, sin[:, 1], zero, one, zero, -sin[:, 1], zero, cos[:, 1]]
    about_y = torch.stack(rows, dim=1).view(-1, 3, 3)
    return about_z(0) @ about_y @ about_z(2)
