"""How close two computations of the same thing must be: one table by dtype, each row with its reason."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Tolerance(NamedTuple):
    rtol: float
    atol: float
    reason: str


TOLERANCES = {
    torch.float64: Tolerance(
        1e-9, 1e-10, "2^-53 a rounding; sums of a few thousand terms of size 1, in another order"
    ),
    torch.float32: Tolerance(
        1e-4, 2e-5, "2^-24 a rounding; some hundred roundings in a row, and sums that nearly cancel"
    ),
    torch.float16: Tolerance(
        1e-2, 1e-2, "2^-11 a rounding; each product and each layer's output is rounded, sums are float32"
    ),
    torch.bfloat16: Tolerance(
        5e-2, 5e-2, "2^-8 a rounding; each product and each layer's output is rounded, sums are float32"
    ),
}


def assert_close(actual: Any, expected: Any, dtype: torch.dtype | None = None) -> None:
    """Compare tensors, or collections of them, within the row of ``dtype`` (or the coarser of two)."""
    if isinstance(actual, Tensor) and isinstance(expected, Tensor):
        if dtype is None:
            pair = (actual.dtype, expected.dtype)
            dtype = max((d for d in pair if d in TOLERANCES), key=lambda d: TOLERANCES[d].rtol, default=None)
        rtol, atol = TOLERANCES[dtype][:2] if dtype is not None else (0.0, 0.0)
        torch.testing.assert_close(
            actual, expected.to(actual), rtol=rtol, atol=atol, equal_nan=True, check_layout=False
        )
    elif isinstance(actual, dict):
        assert actual.keys() == expected.keys()
        for key in actual:
            assert_close(actual[key], expected[key], dtype)
    elif isinstance(actual, (list, tuple)):
        assert len(actual) == len(expected)
        for a, b in zip(actual, expected, strict=True):
            assert_close(a, b, dtype)
    else:
        assert actual == expected
