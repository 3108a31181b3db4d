"""Inverse square roots of small symmetric matrices, with a gradient that equal eigenvalues do not break."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def inverse_root(matrix: Tensor) -> Tensor:
    r"""The inverse square root of symmetric positive matrices, by their eigenvalues.

    The derivative needs the divided differences of :math:`\lambda^{-1/2}`, which are
    :math:`-1 / (\sqrt{\lambda_i \lambda_j} (\sqrt{\lambda_i} + \sqrt{\lambda_j}))` also where eigenvalues
    agree (Daleckii and Krein), so nothing has to be split by noise. That is :math:`dR = -R^2 Y R^2` with
    :math:`R Y + Y R = dA`, whose own derivative is such an equation again. At least in float32.

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
        found: Tensor = (vectors / root[:, None]) @ vectors.transpose(1, 2)
        ctx.save_for_backward(found, root, vectors)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        found, root, vectors = ctx.saved_tensors
        square = found @ found
        symmetric = (grads[0] + grads[0].transpose(1, 2)) / 2
        y: Tensor = _Sylvester.apply(found, symmetric, root, vectors)  # type: ignore[no-untyped-call]
        back: Tensor = -square @ y @ square
        return back


class _Sylvester(torch.autograd.Function):
    """The Y with R Y + Y R = G, of symmetric R and G; R is given with its eigenvectors too."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, g: Tensor, root: Tensor, vectors: Tensor) -> Tensor:
        turned = vectors.transpose(1, 2) @ g @ vectors
        a, b = root[:, :, None], root[:, None]
        y: Tensor = vectors @ (turned * (a * b / (a + b))) @ vectors.transpose(1, 2)
        ctx.save_for_backward(r, y, root, vectors)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        r, y, root, vectors = ctx.saved_tensors
        symmetric = (grads[0] + grads[0].transpose(1, 2)) / 2
        z: Tensor = _Sylvester.apply(r, symmetric, root, vectors)  # type: ignore[no-untyped-call]
        return -(z @ y + y @ z), z, None, None
