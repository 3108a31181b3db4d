"""Hypergraph layers on two cached CSRs, the graphs of a hypergraph, and forms of other libraries."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gnnlib.nn.hyper.allset import AllDeepSetsConv, AllSetTransformerConv
from gnnlib.nn.hyper.edhnn import EDHNNConv, EDHNNIIConv
from gnnlib.nn.hyper.hgnn import HGNNConv, HGNNPlusConv
from gnnlib.nn.hyper.hnhn import HNHNConv
from gnnlib.nn.hyper.hypergcn import HyperGCNConv, hypergcn_graph
from gnnlib.nn.hyper.phenomnn import PhenomNN, PhenomNNSimple
from gnnlib.nn.hyper.unignn import UniGATConv, UniGCNConv, UniGCNIIConv, UniGINConv, UniSAGEConv
from gnnlib.sparse import Hypergraph

if TYPE_CHECKING:
    from gnnlib.nn.hyper.expand import (
        attribute_hypergraph,
        clique_expansion,
        knn_hypergraph,
        line_expansion,
        neighborhood_hypergraph,
        pair_hypergraph,
        star_expansion,
        star_laplacian,
        zhou_laplacian,
    )
    from gnnlib.nn.hyper.forms import (
        hypergraph_from_data,
        hypergraph_from_networkx,
        hypergraph_from_scipy,
        hypergraph_from_sets,
        hypergraph_to_data,
        hypergraph_to_networkx,
        hypergraph_to_scipy,
        hypergraph_to_sets,
    )

__all__ = [
    "AllDeepSetsConv",
    "AllSetTransformerConv",
    "attribute_hypergraph",
    "clique_expansion",
    "EDHNNConv",
    "EDHNNIIConv",
    "HGNNConv",
    "HGNNPlusConv",
    "HNHNConv",
    "hypergcn_graph",
    "HyperGCNConv",
    "Hypergraph",
    "hypergraph_from_data",
    "hypergraph_from_networkx",
    "hypergraph_from_scipy",
    "hypergraph_from_sets",
    "hypergraph_to_data",
    "hypergraph_to_networkx",
    "hypergraph_to_scipy",
    "hypergraph_to_sets",
    "knn_hypergraph",
    "line_expansion",
    "neighborhood_hypergraph",
    "pair_hypergraph",
    "PhenomNN",
    "PhenomNNSimple",
    "star_expansion",
    "star_laplacian",
    "UniGATConv",
    "UniGCNConv",
    "UniGCNIIConv",
    "UniGINConv",
    "UniSAGEConv",
    "zhou_laplacian",
]

# What no layer needs is imported when it is first touched.
_LATER = ("expand", "forms")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _LATER:
            found = importlib.import_module(f"gnnlib.nn.hyper.{module}")
            if name in found.__all__:
                return getattr(found, name)
    raise AttributeError(f"module 'gnnlib.nn.hyper' has no attribute {name!r}")
