"""Inverse square roots of small symmetric matrices, with a gradient that equal eigenvalues do not break."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def inverse_root(matrix: Tensor) -> Tensor:
    r"""The inverse square root of symmetric positive matrices, by their eigenvalues.

    The derivative needs the divided differences of :math:`\lambda^{-1/2}`, which are
    :math:`-1 / (\sqrt{\lambda_i \lambda_j} (\sqrt{\lambda_i} + \sqrt{\lambda_j}))` also where eigenvalues
    agree (Daleckii and Krein), so nothing has to be split by noise. At least in float32.

    Shapes: ``[B, d, d]`` -> ``[B, d, d]``.
    """
    wide = matrix if matrix.dtype == torch.float64 else matrix.float()
    root: Tensor = _InverseRoot.apply(wide)  # type: ignore[no-untyped-call]
    return root.to(matrix.dtype)


class _InverseRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        root = values.sqrt()
        ctx.save_for_backward(root, vectors)
        found: Tensor = (vectors / root[:, None]) @ vectors.transpose(1, 2)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        root, vectors = ctx.saved_tensors
        turned = vectors.transpose(1, 2) @ grad @ vectors
        a, b = root[:, :, None], root[:, None]
        found: Tensor = vectors @ (-turned / (a * b * (a + b))) @ vectors.transpose(1, 2)
        symmetric: Tensor = (found + found.transpose(1, 2)) / 2
        return symmetric
