"""Options of hop layers that are out of range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gnnlib.nn import APPNP, GCN2Conv


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GCN2Conv(4, 2.0), r"GCN2Conv: alpha=2\.0; pass a share of x_0 from 0 to 1"),
        (lambda: GCN2Conv(4, -0.1), r"GCN2Conv: alpha=-0\.1"),
        (lambda: APPNP(3, 1.5), r"APPNP: K=3, alpha=1\.5; pass 0 or more steps"),
        (lambda: APPNP(-1, 0.5), "APPNP: K=-1, alpha=0"),
    ],
)
def test_shares_and_steps(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
