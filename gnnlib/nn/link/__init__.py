"""Link prediction: scores of node pairs from the graph alone."""

from gnnlib.nn.link.heuristics import (
    adamic_adar,
    common_neighbor_count,
    jaccard,
    katz,
    personalized_pagerank,
    preferential_attachment,
    resource_allocation,
)

__all__ = [
    "adamic_adar",
    "common_neighbor_count",
    "jaccard",
    "katz",
    "personalized_pagerank",
    "preferential_attachment",
    "resource_allocation",
]
