"""The neighbour sampler behind the loaders, in the form of PyG's samplers."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)
from torch_geometric.sampler.base import NumNeighbors, SubgraphType

from gnnlib.loader.graph import PLAIN, PLAIN_EDGE, EdgeType, SampledGraph
from gnnlib.loader.links import TimeOrder, sample_links
from gnnlib.loader.seeded import seed_of
from gnnlib.sparse.counter import child
from gnnlib.sparse.ops.sample_neighbors import both_ways, draw_sample, hetero_sample
from gnnlib.sparse.ops.sample_neighbors.graph import check_fanouts, check_nodes, limits_of

__all__ = ["NeighborSampler"]

Fanouts: TypeAlias = NumNeighbors | list[int] | dict[EdgeType, list[int]]


class NeighborSampler(BaseSampler):  # type: ignore[misc]
    """Neighbour samples of a ``Data`` or ``HeteroData`` for PyG's loaders, without pyg-lib or torch-sparse.

    The law of the samples is that of :func:`gnnlib.sparse.sample_neighbors`. Our loaders give every batch a
    seed. In PyG's own loader classes, which give none, a sampler with a ``seed`` draws a sample that depends
    on that seed and the batch's nodes, whatever the worker; without one it draws its seeds from torch's
    global generator.

    Args:
        data: the graph, with an ``edge_index``.
        num_neighbors: edges to draw of each hop, -1 for all; by edge type for a heterogeneous graph, where
            wanted.
        subgraph_type: ``directional``, ``bidirectional`` or ``induced``.
        replace: whether an edge may be drawn again.
        disjoint: a subgraph for each seed, in ``batch``; always so with times.
        temporal_strategy: ``uniform`` or ``last``.
        time_attr: name of the times of nodes or edges: what is later than the seed is not drawn.
        weight_attr: name of the weights of edges: draws are in proportion to them.
        is_sorted: accepted for PyG's sake: edges that are sorted by target are recognised.
        share_memory: put the graph into shared memory, which workers that are not forked need.
        directed: PyG's older name for ``subgraph_type="induced"``, when False.
        seed: see above.

    Raises: ValueError for options or attributes that do not fit the graph; NotImplementedError for a pair
        of feature and graph store.
    """

    def __init__(
        self,
        data: Any,
        num_neighbors: Fanouts,
        subgraph_type: SubgraphType | str = "directional",
        replace: bool = False,
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        is_sorted: bool = False,
        share_memory: bool = False,
        directed: bool = True,
        *,
        seed: int | None = None,
    ) -> None:
        who = type(self).__name__
        self.graph = SampledGraph(
            who, data, time_attr=time_attr, weight_attr=weight_attr, share_memory=share_memory
        )
        if temporal_strategy not in ("uniform", "last"):
            raise ValueError(f"{who}: temporal_strategy is {temporal_strategy!r}; choose 'uniform' or 'last'")
        self.subgraph_type = SubgraphType(subgraph_type if directed else "induced")
        self.replace, self.temporal_strategy, self.seed = replace, temporal_strategy, seed
        self.time_attr = time_attr
        self.disjoint = disjoint or time_attr is not None
        self.num_neighbors = num_neighbors
        self._orders: dict[str, TimeOrder] = {}

    @property
    def num_neighbors(self) -> NumNeighbors:
        """Edges to draw of each hop."""
        return self._num_neighbors

    @num_neighbors.setter
    def num_neighbors(self, value: Fanouts) -> None:
        self._num_neighbors = value if isinstance(value, NumNeighbors) else NumNeighbors(value)
        who, graph = type(self).__name__, self.graph
        if graph.is_hetero:
            by_kind = self._num_neighbors.get_values(graph.edge_types)
        else:
            by_kind = {PLAIN_EDGE: self._num_neighbors.get_values()}
        self._fanouts = tuple(check_fanouts(who, by_kind[kind]) for kind in graph.edge_types)

    @property
    def edge_permutation(self) -> None:
        """None: the sampled edges are numbered as the graph's are."""
        return

    @property
    def is_temporal(self) -> bool:
        """Whether times limit what is drawn."""
        return self.time_attr is not None

    def sample_from_nodes(
        self, inputs: NodeSamplerInput, **kwargs: Any
    ) -> SamplerOutput | HeteroSamplerOutput:
        """Sample around the nodes of a batch."""
        name = inputs.input_type or PLAIN
        times = None if inputs.time is None else {name: inputs.time}
        out = self._draw({name: inputs.node}, times, seed_of(inputs, inputs.node, self.seed))
        out.metadata = (inputs.input_id, inputs.time)
        return out

    def sample_from_edges(
        self, inputs: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> SamplerOutput | HeteroSamplerOutput:
        """Sample around the links of a batch and its negative ones."""
        seed = seed_of(inputs, torch.stack([inputs.row, inputs.col]), self.seed)
        ends = (inputs.input_type[0], inputs.input_type[-1]) if inputs.input_type else (PLAIN, PLAIN)
        if inputs.time is None and self.is_temporal:
            raise ValueError(
                f"{type(self).__name__}: links have no times but time_attr={self.time_attr!r} is set; pass "
                "edge_label_time"
            )
        return sample_links(
            inputs,
            neg_sampling,
            lambda seeds, times: self._draw(seeds, times, child(seed, 0)),
            ends=ends,
            sizes=self.graph.sizes,
            disjoint=self.disjoint,
            orders=self._order,
            generator=torch.Generator().manual_seed(child(seed, 1) >> 1),
        )

    def _order(self, name: str) -> TimeOrder | None:
        if name not in self.graph.node_time:
            return None
        if name not in self._orders:
            self._orders[name] = TimeOrder(self.graph.node_time[name])
        return self._orders[name]

    def _draw(
        self, seeds: dict[str, Tensor], times: dict[str, Tensor] | None, seed: int
    ) -> SamplerOutput | HeteroSamplerOutput:
        who, graph = type(self).__name__, self.graph
        if unknown := set(seeds) - set(graph.sizes):
            raise ValueError(f"{who}: seeds of the unknown node types {sorted(unknown)}")
        none = torch.empty(0, dtype=torch.int64)
        nodes = [check_nodes(who, "input_nodes", seeds.get(t, none), n) for t, n in graph.sizes.items()]
        limits = None
        if self.is_temporal:
            limits = tuple(
                limits_of(who, "input_time", s, (times or {}).get(t), graph.node_time.get(t))
                if s.numel()
                else s
                for t, s in zip(graph.sizes, nodes, strict=True)
            )
        directional = self.subgraph_type == SubgraphType.directional
        answer = draw_sample(
            tuple(graph.relations.values()),
            tuple(graph.sizes.values()),
            nodes,
            self._fanouts,
            replace=self.replace,
            disjoint=self.disjoint,
            limits=limits,
            last=self.temporal_strategy == "last" and self.is_temporal,
            induced=self.subgraph_type == SubgraphType.induced,
            seed=seed,
        )
        both = self.subgraph_type == SubgraphType.bidirectional
        if graph.is_hetero:
            found = hetero_sample(answer, graph.relations, graph.node_types, directional=directional)
            out = HeteroSamplerOutput(
                found.node,
                found.row,
                found.col,
                found.edge,
                found.batch,
                found.num_sampled_nodes if directional else None,
                found.num_sampled_edges,
            )
            return out.to_bidirectional() if both else out
        (sampled,), (edges,) = answer
        row, col, edge = edges.row, edges.col, graph.relations[PLAIN_EDGE].edges(edges.slot)
        if both:
            row, col, edge = both_ways(row, col, edge, sampled.node.numel())
        counts = (sampled.counts, edges.counts) if directional else (None, None)
        return SamplerOutput(sampled.node, row, col, edge, sampled.tag, *counts)
