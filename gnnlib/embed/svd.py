"""Randomised truncated singular value decomposition of a matrix that is only multiplied with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__: list[str] = []

Product = Callable[[Tensor], Tensor]


def truncated_svd(
    forward: Product,
    backward: Product,
    num_cols: int,
    rank: int,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    iterations: int = 5,
    oversampling: int = 16,
) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular values and their vectors, by a Gaussian sketch and QR between power steps.

    Halko, Martinsson and Tropp, SIAM Review 53, 2011, Alg. 4.4 and 5.1.

    QR, SVD and large products are BLAS's and LAPACK's: on a CPU a number of threads has its own rounding.

    Shapes: ``forward`` ``[num_cols, k]`` -> ``[N, k]`` multiplies with the square matrix, ``backward`` with
        its transpose -> U ``[N, rank]``, S ``[rank]``, V ``[num_cols, rank]``, with 0 in the columns that the
        matrix has too few rows for.
    """
    if num_cols == 0:
        none = torch.zeros(0, rank, dtype=dtype, device=device)
        return none, torch.zeros(rank, dtype=dtype, device=device), none
    draw = torch.Generator().manual_seed(seed & (2**63 - 1))
    width = min(rank + oversampling, num_cols)
    sketch = torch.randn(num_cols, width, generator=draw, dtype=dtype).to(device)
    basis = torch.linalg.qr(forward(sketch))[0]
    for _ in range(iterations):
        basis = torch.linalg.qr(forward(torch.linalg.qr(backward(basis))[0]))[0]
    u, s, vt = torch.linalg.svd(backward(basis).t(), full_matrices=False)
    u, vt = basis @ u[:, :rank], vt[:rank]
    # a vector and its negative are both right: the largest entry is made positive
    sign = u.gather(0, u.abs().argmax(0, keepdim=True)).sign()
    sign = torch.where(sign == 0, 1.0, sign)
    return wide(u * sign, rank), wide(s[:rank], rank), wide(vt.t() * sign, rank)


def wide(x: Tensor, columns: int) -> Tensor:
    """The tensor with columns of 0 after its own, so many in all."""
    return torch.nn.functional.pad(x, (0, columns - x.shape[-1]))
