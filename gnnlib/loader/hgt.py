"""Mini-batches that keep as many nodes of each type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
)

from gnnlib.loader.graph import SampledGraph
from gnnlib.loader.node import SeededNodeLoader, shared
from gnnlib.loader.seeded import seed_of
from gnnlib.sparse.ops.sample_budget import check_num_samples, draw_budget
from gnnlib.sparse.ops.sample_neighbors import hetero_sample
from gnnlib.sparse.ops.sample_neighbors.graph import check_nodes

__all__ = ["HGTLoader", "HGTSampler"]


class HGTSampler(BaseSampler):  # type: ignore[misc]
    """The layer-wise sampler of the heterogeneous graph transformer, in the form of PyG's samplers.

    The law of the samples is that of :func:`gnnlib.sparse.sample_budget`; seeds are as in
    :class:`NeighborSampler`.

    Args:
        data: a ``HeteroData`` object.
        num_samples: nodes to draw in each step, of each type; a dict by node type where wanted.
        is_sorted: accepted for PyG's sake; sorted edges are recognised.
        share_memory: put the graph into shared memory, which workers that are not forked need.
        seed: of samples in loaders that give a batch none.

    Raises: NotImplementedError for a graph without types, or for sampling around links.
    """

    def __init__(
        self,
        data: Any,
        num_samples: list[int] | dict[str, list[int]],
        is_sorted: bool = False,
        share_memory: bool = False,
        *,
        seed: int | None = None,
    ) -> None:
        who = type(self).__name__
        self.graph, self.seed = SampledGraph(who, data, share_memory=share_memory), seed
        if not self.graph.is_hetero:
            raise NotImplementedError(f"{who}: takes HeteroData, got Data; use NeighborSampler")
        self._steps = check_num_samples(who, num_samples, self.graph.node_types)

    @property
    def edge_permutation(self) -> None:
        """None: the sampled edges are numbered as the graph's are."""
        return

    def sample_from_nodes(self, inputs: NodeSamplerInput, **kwargs: Any) -> HeteroSamplerOutput:
        """Sample around the nodes of a batch."""
        graph, none = self.graph, torch.empty(0, dtype=torch.int64)
        given = {inputs.input_type: inputs.node}
        nodes = [
            check_nodes(type(self).__name__, "input_nodes", given.get(t, none), n)
            for t, n in graph.sizes.items()
        ]
        seed = seed_of(inputs, inputs.node, self.seed)
        relations, sizes = tuple(graph.relations.values()), tuple(graph.sizes.values())
        answer = draw_budget(relations, sizes, nodes, self._steps, seed)
        found = hetero_sample(answer, graph.relations, graph.node_types, directional=False)
        return HeteroSamplerOutput(
            found.node,
            found.row,
            found.col,
            found.edge,
            metadata=(inputs.input_id, inputs.time),
        )

    def sample_from_edges(
        self, inputs: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> HeteroSamplerOutput:
        """Not offered, as in PyG: the sampler grows from nodes of one type."""
        raise NotImplementedError(
            f"{type(self).__name__}: samples around nodes only; use NeighborSampler for links"
        )


class HGTLoader(SeededNodeLoader):
    """Mini-batches of about as many nodes of each type, as PyG's loader of this name makes them.

    The first ``batch_size`` nodes of the input type are the seeds; the rest come in the order in which they
    were drawn, with probabilities in proportion to the square of their normalised connections to what was
    sampled before (:func:`gnnlib.sparse.sample_budget`). All edges among the sampled nodes are kept.

    Hu et al., Heterogeneous Graph Transformer, WWW 2020, Algorithms 1 and 2.

    Args:
        data: a ``HeteroData`` object.
        num_samples: nodes to draw in each step, of each type; a dict by node type where wanted.
        input_nodes: node type of the seeds, or ``(type, numbers or mask)``.
        is_sorted: accepted for PyG's sake; sorted edges are recognised.
        transform: applied to each batch.
        transform_sampler_output: applied to each sample before features are looked up.
        filter_per_worker: look features up in the worker, not in the main process.
        seed: fixes the order of the seeds and all that is drawn, for any number of workers.
        kwargs: of torch's ``DataLoader``.

    Raises: NotImplementedError for a graph without types.
    """

    def __init__(
        self,
        data: Any,
        num_samples: list[int] | dict[str, list[int]],
        input_nodes: str | tuple[str, Tensor | None],
        is_sorted: bool = False,
        transform: Callable[..., Any] | None = None,
        transform_sampler_output: Callable[..., Any] | None = None,
        filter_per_worker: bool | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            data,
            HGTSampler(data, num_samples, is_sorted, shared(kwargs)),
            input_nodes,
            transform=transform,
            transform_sampler_output=transform_sampler_output,
            filter_per_worker=filter_per_worker,
            seed=seed,
            **kwargs,
        )
