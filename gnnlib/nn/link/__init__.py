"""Link prediction: scores and features of node pairs from the graph, and neural common neighbours."""

from gnnlib.nn.link.heuristics import (
    adamic_adar,
    common_neighbor_count,
    jaccard,
    katz,
    personalized_pagerank,
    preferential_attachment,
    resource_allocation,
)
from gnnlib.nn.link.ncn import NCN, NCNC
from gnnlib.nn.link.neighbours import neighbor_sets
from gnnlib.nn.link.sketches import (
    BallSketches,
    ball_sketches,
    cardinality,
    intersection_features,
    unlinked_features,
)

__all__ = [
    "adamic_adar",
    "ball_sketches",
    "BallSketches",
    "cardinality",
    "common_neighbor_count",
    "intersection_features",
    "jaccard",
    "katz",
    "NCN",
    "NCNC",
    "neighbor_sets",
    "personalized_pagerank",
    "preferential_attachment",
    "resource_allocation",
    "unlinked_features",
]
