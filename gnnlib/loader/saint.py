"""GraphSAINT: random subgraphs with the weights that make training on them unbiased."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnlib.loader.graph import PLAIN_EDGE, SampledGraph
from gnnlib.loader.seeded import SeededIndex, SeededLoader
from gnnlib.sparse import CSR, random_walk
from gnnlib.sparse.counter import child
from gnnlib.sparse.ops.sample_neighbors import draw_sample

__all__ = [
    "GraphSAINTEdgeSampler",
    "GraphSAINTNodeSampler",
    "GraphSAINTRandomWalkSampler",
    "GraphSAINTSampler",
]


class GraphSAINTSampler(SeededLoader):
    r"""What GraphSAINT's samplers share: a batch is the subgraph among the nodes that one of them draws.

    With ``sample_coverage`` above 0 a batch also has the weights that make training on it unbiased. Let
    :math:`p_v` be the probability that a subgraph has node v, and :math:`p_{uv}` that it has the edge u -> v.
    Then

    .. math:: \lambda_v^{-1} = \frac{1}{N p_v}, \qquad \alpha_{uv}^{-1} = \frac{p_v}{p_{uv}}

    are ``node_norm`` and ``edge_norm``. The loss :math:`\sum_v \lambda_v^{-1} \ell_v` over the nodes of a
    subgraph is, on average, the mean of the losses of all nodes; and :math:`\sum_u \alpha_{uv}^{-1} a_{uv}
    x_u` over the neighbours in a subgraph that has v is, on average, the sum over all neighbours.

    Zeng et al., GraphSAINT: Graph Sampling Based Inductive Learning Method, ICLR 2020, Eqs. 2 and 3,
    Proposition 3.1. PyG divides the count of the edge's source by that of the edge; the paper, and this,
    that of its target.

    Args:
        data: a ``Data`` object with an ``edge_index``, and without ``node_norm`` and ``edge_norm``.
        batch_size: draws of a subgraph: of nodes, of edges or of walks.
        num_steps: subgraphs of an epoch.
        sample_coverage: above 0, make the weights: exactly where the sampler knows its probabilities, else
            from the counts of as many subgraphs as hold N times this many nodes.
        save_dir: folder to keep counted weights in, and to read them from.
        log: accepted for PyG's sake; nothing is printed.
        seed: fixes all that is drawn, for any number of workers.
        kwargs: of torch's ``DataLoader``.

    Raises: ValueError for a graph that has weights of these names, or no edges.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        num_steps: int = 1,
        sample_coverage: int = 0,
        save_dir: str | None = None,
        log: bool = False,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        who = type(self).__name__
        for name in ("dataset", "collate_fn", "shuffle"):  # subgraphs have no order
            kwargs.pop(name, None)
        if taken := [name for name in ("node_norm", "edge_norm") if name in data]:
            raise ValueError(f"{who}: the graph has {' and '.join(taken)} already; rename them")
        if data.get("edge_index") is None or data.num_edges == 0:
            raise ValueError(f"{who}: the graph has no edges; give it an edge_index")
        if batch_size < 1:
            raise ValueError(f"{who}: batch_size={batch_size}; at least 1 draw is needed")
        self.data, self.draws, self.num_steps = data, batch_size, num_steps
        self.sample_coverage, self.save_dir = sample_coverage, save_dir
        self.graph = SampledGraph(who, data)
        self.num_nodes, self.num_edges = int(data.num_nodes or 0), int(data.num_edges)
        self.source, self.target = data.edge_index.cpu()
        self.prepare()
        super().__init__(range(num_steps), batch_size=1, collate_fn=self.collate, seed=seed, **kwargs)
        self.node_norm = self.edge_norm = None
        if sample_coverage > 0:
            self.node_norm, self.edge_norm = self._norms()

    # -- what a sampler says ----------------------------------------------------------------------

    def prepare(self) -> None:
        """Compute what draws need."""

    def draw(self, seed: int) -> Tensor:
        """The nodes of a subgraph, in any order and number of times each."""
        raise NotImplementedError(f"{type(self).__name__}: a sampler says how its nodes are drawn")

    def probabilities(self) -> tuple[Tensor, Tensor] | None:
        """Of a node and an edge to be in a subgraph, ``[N]`` and ``[E]``; None where they are not known."""
        return None

    # -- batches ----------------------------------------------------------------------------------

    def subgraph(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """The nodes of a subgraph in ascending order, its edges between their places, and their numbers."""
        node = torch.unique(self.draw(seed))
        ready = self.graph.relations[PLAIN_EDGE]
        _, (edges,) = draw_sample(
            (ready,),
            (self.num_nodes,),
            (node,),
            ((),),
            replace=False,
            disjoint=False,
            limits=None,
            last=False,
            induced=True,
            seed=0,
        )
        return node, torch.stack([edges.row, edges.col]), ready.edges(edges.slot)

    def collate(self, index: SeededIndex) -> Data:
        """The batch of one subgraph."""
        node, edge_index, edge = self.subgraph(index.seed)
        out = self.data.__class__()
        out.num_nodes, out.edge_index = node.numel(), edge_index
        for key, value in self.data:
            if key in ("edge_index", "num_nodes"):
                continue
            if self.data.is_node_attr(key):
                out[key] = value[node]
            elif self.data.is_edge_attr(key):
                out[key] = value[edge]
            else:
                out[key] = value
        if self.node_norm is not None and self.edge_norm is not None:
            out.node_norm, out.edge_norm = self.node_norm[node], self.edge_norm[edge]
        return out

    def _warm(self) -> None:
        self.subgraph(0)

    # -- weights ----------------------------------------------------------------------------------

    def _norms(self) -> tuple[Tensor, Tensor]:
        found = self.probabilities()
        if found is None:
            found = self._kept() or self._counted()
        node, edge = found
        # What no subgraph has is never weighed; the bounds keep its weight finite.
        floor = torch.finfo(torch.float64).tiny
        edge_norm = (node[self.target] / edge.clamp(min=floor)).clamp(max=1e4)
        return (1 / (self.num_nodes * node.clamp(min=floor))).clamp(max=1e30).float(), edge_norm.float()

    def _kept(self) -> tuple[Tensor, Tensor] | None:
        path = self._file()
        if path is None or not path.exists():
            return None
        node, edge = torch.load(path, weights_only=True)
        if node.numel() != self.num_nodes or edge.numel() != self.num_edges:
            raise ValueError(f"{type(self).__name__}: {path} is of another graph; give another save_dir")
        return node, edge

    def _file(self) -> Path | None:
        if self.save_dir is None:
            return None
        return Path(self.save_dir) / f"{type(self).__name__.lower()}_{self.draws}_{self.sample_coverage}.pt"

    def _counted(self) -> tuple[Tensor, Tensor]:
        """Shares of simulated subgraphs; a node or an edge that none of them has counts as if one had it."""
        node, edge = (
            torch.zeros(self.num_nodes, dtype=torch.float64),
            torch.zeros(self.num_edges, dtype=torch.float64),
        )
        subgraphs = 0
        for nodes, _, edges in self._simulated():
            node[nodes] += 1
            edge[edges] += 1
            subgraphs += 1
        found = node.clamp(min=1) / subgraphs, edge.clamp(min=1) / subgraphs
        if (path := self._file()) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(found, path)
        return found

    def _simulated(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        base = self.seed if self.seed is not None else int(torch.empty((), dtype=torch.int64).random_())
        wanted, met, number = self.num_nodes * self.sample_coverage, 0, 0
        while met < wanted:
            found = self.subgraph(child(base, 2, number))
            met, number = met + found[0].numel(), number + 1
            yield found

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed >> 1)


def _hit(rate: Tensor, draws: int) -> Tensor:
    """1 - (1 - rate)^draws, to full precision for small rates."""
    return -torch.expm1(draws * torch.log1p(-rate.clamp(max=1)))


class GraphSAINTNodeSampler(GraphSAINTSampler):
    r"""Subgraphs among nodes that are drawn one by one.

    ``batch_size`` nodes are drawn with replacement, u with probability

    .. math:: q_u \propto \sum_{v :\, u \to v} \frac{1}{d(v)^2}

    where d counts incoming edges: the square of the column of the mean aggregator (Zeng et al., Sec. 3.2). So

    .. math:: p_v = 1 - (1 - q_v)^m, \qquad p_{uv} = p_u + p_v - 1 + (1 - q_u - q_v)^m

    for u and v apart and m draws. PyG, and the authors' code, draw in proportion to the degree:
    ``by_degree=True``.

    Args:
        by_degree: draw in proportion to the number of outgoing edges.
        args: of :class:`GraphSAINTSampler`.
        kwargs: of :class:`GraphSAINTSampler`.
    """

    def __init__(self, *args: Any, by_degree: bool = False, **kwargs: Any) -> None:
        self.by_degree = by_degree
        super().__init__(*args, **kwargs)

    def prepare(self) -> None:
        """Probabilities of the nodes, and their running sums."""
        share = torch.ones(self.num_edges, dtype=torch.float64)
        if not self.by_degree:
            share /= self.target.bincount(minlength=self.num_nodes)[self.target].double() ** 2
        rate = torch.zeros(self.num_nodes, dtype=torch.float64).index_add_(0, self.source, share)
        self.rate = rate / rate.sum()
        self.sums = self.rate.cumsum(0)

    def draw(self, seed: int) -> Tensor:
        """``batch_size`` nodes."""
        return _draw(self.sums, self.draws, self._generator(seed))

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Of a node and of an edge to be in a subgraph."""
        node = _hit(self.rate, self.draws)
        u, v = self.source, self.target
        both = node[u] + node[v] - _hit(self.rate[u] + self.rate[v], self.draws)
        return node, torch.where(u == v, node[v], both)


class GraphSAINTEdgeSampler(GraphSAINTSampler):
    r"""Subgraphs among the ends of edges that are drawn one by one.

    ``batch_size`` edges are drawn with replacement, (u, v) with probability

    .. math:: q_{uv} \propto \frac{1}{d(u)} + \frac{1}{d(v)}

    where d of the source counts its outgoing and d of the target its incoming edges (Zeng et al., Sec. 3.2,
    Algorithm 2). With :math:`Q_v` the sum of q over the edges at v, and :math:`Q_{uv}` over those at both,
    and m draws,

    .. math:: p_v = 1 - (1 - Q_v)^m, \qquad p_{uv} = p_u + p_v - 1 + (1 - Q_u - Q_v + Q_{uv})^m.

    PyG's class of this name draws in proportion to the sum of the degrees, not of their inverses.
    """

    def prepare(self) -> None:
        """Probabilities of the edges, and their running sums."""
        out, into = (end.bincount(minlength=self.num_nodes).double() for end in (self.source, self.target))
        rate = 1 / out[self.source] + 1 / into[self.target]
        self.rate = rate / rate.sum()
        self.sums = self.rate.cumsum(0)

    def draw(self, seed: int) -> Tensor:
        """Both ends of ``batch_size`` edges."""
        edge = _draw(self.sums, self.draws, self._generator(seed))
        return torch.cat([self.source[edge], self.target[edge]])

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Of a node and of an edge to be in a subgraph."""
        u, v = self.source, self.target
        apart = u != v
        at = torch.zeros(self.num_nodes, dtype=torch.float64)
        at = at.index_add(0, u, self.rate).index_add(0, v, self.rate * apart)
        # What is drawn at both ends: every edge between the two, in either direction.
        pair, place = torch.unique(
            torch.minimum(u, v) * self.num_nodes + torch.maximum(u, v), return_inverse=True
        )
        shared = torch.zeros(pair.numel(), dtype=torch.float64).index_add_(0, place, self.rate)[place]
        node = _hit(at, self.draws)
        both = node[u] + node[v] - _hit(at[u] + at[v] - shared, self.draws)
        return node, torch.where(apart, both, node[v])


class GraphSAINTRandomWalkSampler(GraphSAINTSampler):
    r"""Subgraphs among the nodes that some random walks meet.

    ``batch_size`` walks begin at nodes drawn uniformly with replacement and take ``walk_length`` steps
    along the edges, fewer where one ends (Zeng et al., Sec. 3.2, Algorithm 2). Probabilities have no closed
    form; weights come from counts.

    Args:
        data: as in :class:`GraphSAINTSampler`.
        batch_size: number of walks.
        walk_length: steps of a walk.
        num_steps: subgraphs of an epoch.
        args: of :class:`GraphSAINTSampler`.
        kwargs: of :class:`GraphSAINTSampler`.
    """

    def __init__(
        self, data: Data, batch_size: int, walk_length: int, num_steps: int = 1, *args: Any, **kwargs: Any
    ) -> None:
        if walk_length < 1:
            raise ValueError(f"{type(self).__name__}: walk_length={walk_length}; at least 1 step is needed")
        self.walk_length = walk_length
        super().__init__(data, batch_size, num_steps, *args, **kwargs)

    def prepare(self) -> None:
        """The graph that walks follow."""
        relation = self.graph.relations[PLAIN_EDGE].relation
        self.adj = CSR.trusted(relation.indptr, relation.indices, self.num_nodes)

    def draw(self, seed: int) -> Tensor:
        """The nodes of all walks."""
        start = torch.randint(self.num_nodes, (self.draws,), generator=self._generator(seed))
        walks = random_walk(self.adj, start, self.walk_length + 1, seed=child(seed, 1))
        return walks[walks >= 0].long()

    def _file(self) -> Path | None:
        path = super()._file()
        return None if path is None else path.with_stem(f"{path.stem}_{self.walk_length}")


def _draw(sums: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Places drawn with replacement in proportion to the steps of these running sums."""
    u = torch.rand(count, dtype=torch.float64, generator=generator) * sums[-1]
    return torch.searchsorted(sums, u, right=True)
