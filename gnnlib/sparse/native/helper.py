"""Compiled functions that only compiled code calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def helper(function: Callable[..., Any]) -> Any:
    """``njit`` without a way in from Python, whose code costs a tenth of the time of a compilation.

    Calling the result from Python is an error of the process, not an exception.
    """
    return njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
