"""Mini-batches around nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch_geometric.loader import NodeLoader
from torch_geometric.sampler import BaseSampler, HeteroSamplerOutput, SamplerOutput
from torch_geometric.sampler.base import SubgraphType

from gnnlib.loader.inputs import check_input_nodes
from gnnlib.loader.sampler import Fanouts, NeighborSampler
from gnnlib.loader.seeded import SeededIndex, SeededLoader

__all__ = ["NeighborLoader", "SeededNodeLoader"]


class SeededNodeLoader(NodeLoader, SeededLoader):  # type: ignore[misc]
    """PyG's node loader, with a seed for every batch.

    Args:
        data: the graph.
        node_sampler: a sampler; ours take the batch's seed.
        input_nodes: as PyG's ``NodeLoader`` takes them.
        seed: fixes the order of the nodes and all that is drawn, for any number of workers.
        kwargs: of PyG's ``NodeLoader`` and torch's ``DataLoader``.
    """

    def __init__(
        self,
        data: Any,
        node_sampler: BaseSampler,
        input_nodes: Any = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_input_nodes(type(self).__name__, data, input_nodes, kwargs.get("input_time"))
        NodeLoader.__init__(self, data, node_sampler, input_nodes, seed=seed, **kwargs)

    def sampled(self, index: Tensor | list[int]) -> SamplerOutput | HeteroSamplerOutput:
        """The sample of these items, without their features."""
        inputs = self.input_data[index]
        if isinstance(index, SeededIndex):
            inputs.seed = index.seed
        return self.node_sampler.sample_from_nodes(inputs)

    def collate_fn(self, index: Tensor | list[int]) -> Any:
        """The mini-batch of these items, or the sample that ``filter_fn`` makes it of."""
        out = self.sampled(index)
        return self.filter_fn(out) if self.filter_per_worker else out

    def _warm(self) -> None:
        self.sampled(SeededIndex([0], 0))


class NeighborLoader(SeededNodeLoader):
    """Mini-batches of seed nodes and sampled neighbours, as PyG's loader of this name makes them.

    A batch is a ``Data`` or ``HeteroData`` whose first ``batch_size`` nodes are the seeds, with ``n_id``,
    ``e_id`` and ``input_id``; directional samples also have ``num_sampled_nodes`` and ``num_sampled_edges``,
    the numbers of each hop, which bidirectional and induced ones lack; disjoint samples have ``batch``. The
    law of the samples is that of :func:`gnnlib.sparse.sample_neighbors`, with 1 - (1 - 1/d)^k or k/d for the
    probability that an edge of a node with d edges is drawn, with and without replacement. An epoch's batches
    are the same for any number of workers; with ``seed``, in every run. pyg-lib and torch-sparse are not
    needed.

    Hamilton et al., Inductive Representation Learning on Large Graphs, NeurIPS 2017.

    Args:
        data: a ``Data`` or ``HeteroData`` object.
        num_neighbors: edges to draw of each hop, -1 for all; a dict by edge type where wanted.
        input_nodes: the seeds: numbers, a mask, or with their node type ``(type, numbers)``; all when None.
        input_time: times of the seeds; by default their ``time_attr``.
        replace: whether an edge may be drawn again.
        subgraph_type: ``directional``, ``bidirectional`` or ``induced``.
        disjoint: a subgraph for each seed; always so with times.
        temporal_strategy: ``uniform`` or ``last``.
        time_attr: name of the times of nodes or edges.
        weight_attr: name of the weights of edges.
        transform: applied to each batch.
        transform_sampler_output: applied to each sample before features are looked up.
        is_sorted: accepted for PyG's sake; sorted edges are recognised.
        filter_per_worker: look features up in the worker, not in the main process.
        neighbor_sampler: a sampler to use in place of one made from these arguments.
        directed: PyG's older name for ``subgraph_type="induced"``, when False.
        seed: fixes the order of the seeds and all that is drawn.
        kwargs: of torch's ``DataLoader``.

    Raises: ValueError for arguments that do not fit each other or the graph; TypeError for another kind of
        ``input_nodes``.
    """

    def __init__(
        self,
        data: Any,
        num_neighbors: Fanouts,
        input_nodes: Any = None,
        input_time: Tensor | None = None,
        replace: bool = False,
        subgraph_type: SubgraphType | str = "directional",
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        transform: Callable[..., Any] | None = None,
        transform_sampler_output: Callable[..., Any] | None = None,
        is_sorted: bool = False,
        filter_per_worker: bool | None = None,
        neighbor_sampler: BaseSampler | None = None,
        directed: bool = True,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if input_time is not None and time_attr is None:
            raise ValueError(
                "NeighborLoader: input_time is given but time_attr is not; name the times that it limits"
            )
        if neighbor_sampler is None:
            neighbor_sampler = NeighborSampler(
                data,
                num_neighbors,
                subgraph_type,
                replace,
                disjoint,
                temporal_strategy,
                time_attr,
                weight_attr,
                is_sorted,
                share_memory=shared(kwargs),
                directed=directed,
            )
        super().__init__(
            data,
            neighbor_sampler,
            input_nodes,
            input_time=input_time,
            transform=transform,
            transform_sampler_output=transform_sampler_output,
            filter_per_worker=filter_per_worker,
            seed=seed,
            **kwargs,
        )


def shared(options: dict[str, Any]) -> bool:
    """Whether a loader's workers need the graph in shared memory: a forked one sees its parent's."""
    context = options.get("multiprocessing_context")
    method = getattr(context, "get_start_method", lambda: context)()
    return options.get("num_workers", 0) > 0 and method not in (None, "fork")
