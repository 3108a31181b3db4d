"""What loaders cannot read is told when they are made, and the caller's data stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data.hypergraph_data import HyperGraphData

from gnnlib.loader import (
    ClusterData,
    EnclosingSubgraphs,
    GraphSAINTNodeSampler,
    LinkNeighborLoader,
    NeighborLoader,
    ShaDowKHopSampler,
)


@pytest.mark.parametrize(
    "make",
    [
        lambda d: NeighborLoader(d, [2]),
        lambda d: LinkNeighborLoader(d, [2]),
        lambda d: ShaDowKHopSampler(d, 1, 2),
        lambda d: GraphSAINTNodeSampler(d, 2),
        lambda d: EnclosingSubgraphs(d, torch.tensor([[0], [1]])),
        lambda d: ClusterData(d, 2),
    ],
)
def test_hypergraphs_are_not_read_as_graphs(make: Callable[[Any], Any]) -> None:
    incidences = torch.tensor([[0, 1, 2, 2, 3], [0, 0, 0, 1, 1]])
    with pytest.raises(TypeError, match=r"got a hypergraph .* star_expansion"):
        make(HyperGraphData(edge_index=incidences, num_nodes=4))
