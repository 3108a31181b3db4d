"""The methods by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Mapping

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.factor import HOPE, GraRep, NetMF, ProNE
from gnnlib.embed.line import LINE
from gnnlib.embed.projection import FastRP, RandNE
from gnnlib.embed.walk import DeepWalk, Node2Vec, Walklets

__all__ = ["METHODS"]

METHODS: Mapping[str, type[NodeEmbedding]] = {
    "deepwalk": DeepWalk,
    "fastrp": FastRP,
    "grarep": GraRep,
    "hope": HOPE,
    "line": LINE,
    "netmf": NetMF,
    "node2vec": Node2Vec,
    "prone": ProNE,
    "randne": RandNE,
    "walklets": Walklets,
}
