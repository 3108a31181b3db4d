"""The methods by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.factor import HOPE, GraRep, NetMF, ProNE
from gnnlib.embed.fisher import FisherInformationEmbedding
from gnnlib.embed.hyperbolic import HyperbolicMDS
from gnnlib.embed.line import LINE
from gnnlib.embed.poincare import PoincareEmbedding
from gnnlib.embed.projection import FastRP, RandNE
from gnnlib.embed.sarkar import SarkarEmbedding
from gnnlib.embed.walk import DeepWalk, Node2Vec, Walklets
from gnnlib.names import choose

__all__ = ["make_method", "METHODS"]

METHODS: Mapping[str, type[NodeEmbedding]] = {
    "deepwalk": DeepWalk,
    "fastrp": FastRP,
    "fie": FisherInformationEmbedding,
    "grarep": GraRep,
    "hmds": HyperbolicMDS,
    "hope": HOPE,
    "line": LINE,
    "netmf": NetMF,
    "node2vec": Node2Vec,
    "poincare": PoincareEmbedding,
    "prone": ProNE,
    "randne": RandNE,
    "sarkar": SarkarEmbedding,
    "walklets": Walklets,
}


def make_method(
    name: str, options: Mapping[str, Any], *, seed: int = 0, device: str = "cpu"
) -> NodeEmbedding:
    """The estimator of a name with these parameters; seed and device go to those that have them.

    Raises: ValueError for an unknown name or parameter, or another device for a method without one.
    """
    made = METHODS[choose("embedding method", name, sorted(METHODS))]()
    known = sorted(made.get_params())
    for key in options:
        choose(f"parameter of {name}", key, known)
    if device != "cpu" and "device" not in known:
        raise ValueError(f"{name}: device={device}, but this method runs on the cpu alone; choose cpu")
    run = {key: value for key, value in {"seed": seed, "device": device}.items() if key in known}
    made.set_params(**run | dict(options))
    return made
