"""Scores of node pairs without parameters, as link models: there is nothing to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from gnnlib.models.configs import ModelConfig, Task
from gnnlib.models.entry import Entry
from gnnlib.nn.conv.base import Adj
from gnnlib.nn.link import (
    adamic_adar,
    common_neighbor_count,
    jaccard,
    preferential_attachment,
    resource_allocation,
)
from gnnlib.sparse import as_csr

Score = Callable[[Adj, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class HeuristicConfig(ModelConfig):
    """A score of node pairs from the graph alone; no option has an effect."""

    @property
    def needs_features(self) -> bool:
        """Whether nodes must have features."""
        return False


class HeuristicModel(nn.Module):
    """A score of node pairs from the graph alone, in the calls of a link model.

    Args:
        config: the options it was built from.
        score: ``score(graph, pairs)``.

    Shapes: x ``[N, in]``, which only says how many nodes there are, edge_index ``[2, E]`` (the edges that may
        be seen), pairs ``[2, P]`` -> scores ``[P]``, whose order alone has a meaning.
    """

    uses_graph = True

    def __init__(self, config: HeuristicConfig, score: Score) -> None:
        super().__init__()
        self.config = config
        self.score = score

    def reset_parameters(self) -> None:
        """Nothing: there are none."""

    def encode(self, x: Tensor, edge_index: Adj) -> Tensor:
        """The features, unchanged."""
        return x

    def decode(self, z: Tensor, pairs: Tensor, graph: Adj) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]`` in the graph."""
        return self.score(as_csr(graph, z.size(0)), pairs)

    def forward(self, x: Tensor, edge_index: Adj, pairs: Tensor) -> Tensor:
        """Scores ``[P]`` of pairs ``[2, P]``."""
        return self.decode(self.encode(x, edge_index), pairs, edge_index)


def _whole(score: Score) -> Callable[[HeuristicConfig, Task, int, int], nn.Module]:
    return lambda config, task, in_channels, out_channels: HeuristicModel(config, score)


_SCORES: dict[str, Score] = {
    "adamic-adar": adamic_adar,
    "common-neighbors": common_neighbor_count,
    "jaccard": jaccard,
    "preferential-attachment": preferential_attachment,
    "resource-allocation": resource_allocation,
}

MODELS: dict[str, Entry] = {
    name: Entry(HeuristicConfig, tasks=frozenset({"link"}), whole=_whole(score))
    for name, score in _SCORES.items()
}
