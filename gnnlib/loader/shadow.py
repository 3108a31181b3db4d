"""Mini-batches of small subgraphs, one around each node."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnlib.loader.graph import PLAIN_EDGE, SampledGraph
from gnnlib.loader.seeded import SeededIndex, SeededLoader
from gnnlib.sparse.ops.sample_neighbors import draw_sample
from gnnlib.sparse.ops.sample_neighbors.graph import check_nodes

__all__ = ["ShaDowKHopSampler"]


class ShaDowKHopSampler(SeededLoader):
    """Mini-batches of the subgraphs around some nodes, as PyG's loader of this name makes them.

    Around each node up to ``num_neighbors`` edges of every node are drawn for ``depth`` hops; its subgraph
    has all edges among the nodes that were met. Subgraphs share nothing. A batch is a ``Batch`` with
    ``ptr``, ``batch`` and ``root_n_id``, the place of each root; labels ``y`` are those of the roots.

    Zeng et al., Decoupling the Depth and Scope of Graph Neural Networks, NeurIPS 2021, Sec. 3.

    Args:
        data: a ``Data`` object with an ``edge_index``.
        depth: number of hops.
        num_neighbors: edges to draw of each node, -1 for all.
        node_idx: the roots: numbers or a mask; all nodes when None.
        replace: whether an edge may be drawn again.
        seed: fixes the order of the roots and all that is drawn, for any number of workers.
        kwargs: of torch's ``DataLoader``.

    Raises: NotImplementedError for a graph that holds ``adj_t`` only.
    """

    def __init__(
        self,
        data: Data,
        depth: int,
        num_neighbors: int,
        node_idx: Tensor | None = None,
        replace: bool = False,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("dataset", None)
        kwargs.pop("collate_fn", None)
        if data.get("edge_index") is None and data.get("adj_t") is not None:
            raise NotImplementedError("ShaDowKHopSampler: the graph holds adj_t only; give it an edge_index")
        self.data, self.depth, self.num_neighbors, self.replace = data, depth, num_neighbors, replace
        self.graph = SampledGraph("ShaDowKHopSampler", data)
        num_nodes = int(data.num_nodes or 0)
        if node_idx is None:
            node_idx = torch.arange(num_nodes)
        elif node_idx.dtype == torch.bool:
            node_idx = node_idx.nonzero()[:, 0]
        self.node_idx = check_nodes("ShaDowKHopSampler", "node_idx", node_idx.cpu(), num_nodes)
        super().__init__(range(self.node_idx.numel()), collate_fn=self.collate, seed=seed, **kwargs)

    def collate(self, index: SeededIndex) -> Batch:
        """The batch of the subgraphs around these roots."""
        ready = self.graph.relations[PLAIN_EDGE]
        roots = self.node_idx[torch.tensor(list(index), dtype=torch.int64)]
        (nodes,), (edges,) = draw_sample(
            (ready,),
            tuple(self.graph.sizes.values()),
            (roots,),
            ((self.num_neighbors,) * self.depth,),
            replace=self.replace,
            disjoint=True,
            limits=None,
            last=False,
            induced=True,
            seed=index.seed,
        )
        assert nodes.tag is not None
        order = nodes.tag.argsort(stable=True)  # the nodes of a subgraph side by side, its root first
        place = torch.empty_like(order)
        place[order] = torch.arange(order.numel())
        n_id, tag = nodes.node[order], nodes.tag[order]
        ptr = torch.zeros(roots.numel() + 1, dtype=torch.int64)
        ptr[1:] = tag.bincount(minlength=roots.numel()).cumsum(0)
        col, by_target = place[edges.col].sort(stable=True)
        row, e_id = place[edges.row][by_target], ready.edges(edges.slot)[by_target]

        batch = Batch(batch=tag, ptr=ptr)
        batch.root_n_id = ptr[:-1]
        batch.edge_index = torch.stack([row, col])
        for key, value in self.data:
            if key in ("edge_index", "adj_t", "num_nodes", "batch", "ptr"):
                continue
            if self.data.is_node_attr(key):
                batch[key] = value[n_id[ptr[:-1]]] if key == "y" else value[n_id]
            elif self.data.is_edge_attr(key):
                batch[key] = value[e_id]
            else:
                batch[key] = value
        return batch

    def _warm(self) -> None:
        self.collate(SeededIndex([0], 0))
