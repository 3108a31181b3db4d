"""Networks of spectral filters: Chebyshev polynomials and Cayley's rational functions of the Laplacian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gnnlib.models.basic import stack
from gnnlib.models.configs import StackConfig
from gnnlib.models.encoders import MakeConv
from gnnlib.models.entry import Entry
from gnnlib.nn import CayleyConv, ChebConv


@dataclass(frozen=True, kw_only=True)
class ChebNetConfig(StackConfig):
    """ChebNet: polynomials of the Laplacian.

    Args:
        K: terms of each polynomial, at least 1.
        normalization: ``"sym"`` and ``"rw"`` for a normalised Laplacian, ``"none"`` for the plain one.
    """

    hidden_channels: int = 16
    K: int = 3
    normalization: Literal["sym", "rw", "none"] = "sym"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("K", self.K >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class CayleyNetConfig(StackConfig):
    """CayleyNet: rational functions of the Laplacian with a learned zoom.

    Args:
        r: highest power of the transform, at least 1.
        K: steps of Jacobi for each power, at least 0.
        zoom: first value of the zoom h, above 0.
        normalization: ``"sym"`` for the normalised Laplacian, ``"none"`` for the plain one.
    """

    hidden_channels: int = 16
    r: int = 1
    K: int = 8
    zoom: float = 1.0
    normalization: Literal["sym", "none"] = "sym"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("r", self.r >= 1, "1 or more")
        self._require("zoom", self.zoom > 0, "a number above 0")


def _chebnet(c: ChebNetConfig) -> MakeConv:
    kind = None if c.normalization == "none" else c.normalization
    return lambda i, o, last: ChebConv(i, o, c.K, kind)


def _cayleynet(c: CayleyNetConfig) -> MakeConv:
    kind = None if c.normalization == "none" else c.normalization
    return lambda i, o, last: CayleyConv(i, o, c.r, c.K, h=c.zoom, normalization=kind)


MODELS: dict[str, Entry] = {
    "cayleynet": Entry(CayleyNetConfig, stack(_cayleynet)),
    "chebnet": Entry(ChebNetConfig, stack(_chebnet)),
}
