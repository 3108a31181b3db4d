"""Link prediction: what the graph alone says of node pairs, as scores and as features."""

from gnnlib.nn.link.heuristics import (
    adamic_adar,
    common_neighbor_count,
    jaccard,
    katz,
    personalized_pagerank,
    preferential_attachment,
    resource_allocation,
)
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
    "personalized_pagerank",
    "preferential_attachment",
    "resource_allocation",
    "unlinked_features",
]
