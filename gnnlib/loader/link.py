"""Mini-batches around links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch_geometric.loader import LinkLoader
from torch_geometric.sampler import BaseSampler, HeteroSamplerOutput, NegativeSampling, SamplerOutput
from torch_geometric.sampler.base import SubgraphType

from gnnlib.loader.inputs import check_links
from gnnlib.loader.node import shared
from gnnlib.loader.sampler import Fanouts, NeighborSampler
from gnnlib.loader.seeded import SeededIndex, SeededLoader

__all__ = ["LinkNeighborLoader"]


class LinkNeighborLoader(LinkLoader, SeededLoader):  # type: ignore[misc]
    """Mini-batches of links, negative links and sampled neighbours, as PyG's loader of this name makes them.

    With ``binary`` negatives, or none, a batch has ``edge_label_index`` and ``edge_label`` (1 or one more
    than the given label for positive links, 0 for negative ones); with ``triplet`` ones ``src_index``,
    ``dst_pos_index`` and ``dst_neg_index``. It also has ``n_id``, ``e_id`` and ``input_id``; directional
    samples ``num_sampled_nodes`` and ``num_sampled_edges`` too, the numbers of each hop, which bidirectional
    and induced ones lack. Negative ends are drawn independently with replacement and may happen to be links;
    with times of nodes, none is later than its positive link.

    As in PyG, the links of a batch are not taken out of the graph: for training, let the edges of ``data``
    and ``edge_label_index`` be disjoint.

    Args:
        data: a ``Data`` or ``HeteroData`` object.
        num_neighbors: edges to draw of each hop, -1 for all; a dict by edge type where wanted.
        edge_label_index: the links, ``[2, L]``, or with their edge type; all edges when None.
        edge_label: their labels, ``[L]``; integers for classes.
        edge_label_time: their times, ``[L]``; needs ``time_attr``.
        replace: whether an edge may be drawn again.
        subgraph_type: ``directional``, ``bidirectional`` or ``induced``.
        disjoint: a subgraph for each end of a link; always so with times.
        temporal_strategy: ``uniform`` or ``last``.
        neg_sampling: a ``NegativeSampling``, or its arguments as a dict, or its mode.
        neg_sampling_ratio: PyG's older name for binary negatives of this amount.
        time_attr: name of the times of nodes or edges.
        weight_attr: name of the weights of edges.
        transform: applied to each batch.
        transform_sampler_output: applied to each sample before features are looked up.
        is_sorted: accepted for PyG's sake; sorted edges are recognised.
        filter_per_worker: look features up in the worker, not in the main process.
        neighbor_sampler: a sampler to use in place of one made from these arguments.
        directed: PyG's older name for ``subgraph_type="induced"``, when False.
        seed: fixes the order of the links and all that is drawn, for any number of workers.
        kwargs: of torch's ``DataLoader``.

    Raises: ValueError for arguments that do not fit each other or the graph; TypeError for another kind of
        ``edge_label_index``.
    """

    def __init__(
        self,
        data: Any,
        num_neighbors: Fanouts,
        edge_label_index: Any = None,
        edge_label: Tensor | None = None,
        edge_label_time: Tensor | None = None,
        replace: bool = False,
        subgraph_type: SubgraphType | str = "directional",
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        neg_sampling: NegativeSampling | None = None,
        neg_sampling_ratio: int | float | None = None,
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
        if (edge_label_time is None) != (time_attr is None):
            given, lacks = (
                ("edge_label_time", "time_attr") if time_attr is None else ("time_attr", "edge_label_time")
            )
            raise ValueError(f"LinkNeighborLoader: {given} is given but {lacks} is not; times need both")
        check_links("LinkNeighborLoader", data, edge_label_index, edge_label, edge_label_time)
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
        LinkLoader.__init__(
            self,
            data,
            neighbor_sampler,
            edge_label_index,
            edge_label,
            edge_label_time,
            neg_sampling,
            neg_sampling_ratio,
            transform=transform,
            transform_sampler_output=transform_sampler_output,
            filter_per_worker=filter_per_worker,
            seed=seed,
            **kwargs,
        )

    def sampled(self, index: Tensor | list[int]) -> SamplerOutput | HeteroSamplerOutput:
        """The sample of these items, without their features."""
        inputs = self.input_data[index]
        if isinstance(index, SeededIndex):
            inputs.seed = index.seed
        return self.link_sampler.sample_from_edges(inputs, neg_sampling=self.neg_sampling)

    def collate_fn(self, index: Tensor | list[int]) -> Any:
        """The mini-batch of these items, or the sample that ``filter_fn`` makes it of."""
        out = self.sampled(index)
        return self.filter_fn(out) if self.filter_per_worker else out

    def _warm(self) -> None:
        self.sampled(SeededIndex([0], 0))
