"""LINE: skip-gram over single edges."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.graph import is_symmetric, out_weight
from gnnlib.embed.sgns import PART, Sgns
from gnnlib.names import choose
from gnnlib.sparse import CSR
from gnnlib.sparse.ops.alias import alias_draw, alias_table

__all__ = ["LINE"]


class LINE(NodeEmbedding):
    r"""LINE: vectors whose products explain the edges (first order) or whose contexts do (second order).

    .. math:: \max \sum_{(i, j)} w_{ij} \Big[ \log \sigma(u_i \cdot r_j)
        + K\, E_{n \sim d^{0.75}} \log \sigma(- u_i \cdot r_n) \Big], \qquad r = u \text{ or } r = c

    Tang et al., LINE, WWW 2015, Eq. 3, 6 and 7. Edges are drawn in proportion to their weights and then
    count as one, so that the size of a step does not depend on the weight. A negative equal to an end of
    the edge stays, as in the authors' code; the low-degree reconstruction of that code is not offered.

    Args:
        dim: columns for each order.
        order: 1 (undirected graphs), 2, or ``"both"``: each trained apart, its rows scaled to length 1,
            side by side in 2 dim columns.
        negative: K, negatives of each edge.
        samples: edges drawn for each order, 1 or more; 100 times the number of edges when None.
        lr: first learning rate, above 0.
        device: as in :class:`Node2Vec`.
        seed: of everything.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]`` or ``[N, 2 dim]``.
    Cost: samples (negative + 1) dim multiplications and additions, three times.
    Raises: ValueError for order 1 on a directed graph, or a parameter out of range.
    """

    def __init__(
        self,
        dim: int = 128,
        order: Literal[1, 2, "both"] = "both",
        *,
        negative: int = 5,
        samples: int | None = None,
        lr: float = 0.025,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.dim = dim
        self.order = order
        self.negative = negative
        self.samples = samples
        self.lr = lr
        self.device = device
        self.seed = seed

    def _embed(self, graph: CSR) -> Tensor:
        self._whole(dim=1, negative=1, **({} if self.samples is None else {"samples": 1}))
        self._above_0("lr")
        choose("LINE: order", str(self.order), ("1", "2", "both"))
        if str(self.order) != "2" and not is_symmetric(graph):
            raise ValueError(
                "LINE: order 1 is undefined on a directed graph; pass both directions of each edge, or "
                "order=2"
            )
        if str(self.order) != "both":
            return self._train(graph, int(self.order))
        rows = [self._train(graph, order) for order in (1, 2)]
        return torch.cat([torch.nn.functional.normalize(r, dim=1) for r in rows], dim=1)

    def _train(self, graph: CSR, order: int) -> Tensor:
        out, weight = out_weight(graph)
        slots = out.to_slots(weight)
        source, target = out.rows.int(), out.indices.int()
        degree = torch.zeros(graph.num_rows, dtype=torch.float64, device=graph.device)
        degree.index_add_(0, source.long(), slots.double()).index_add_(0, target.long(), slots.double())
        whole = torch.tensor([0, slots.numel()], device=graph.device)
        threshold, alias, mass = alias_table(whole, slots)
        total = 100 * slots.numel() if self.samples is None else self.samples
        seed = self.seed * 8 + 2 * order
        trainer = Sgns(
            graph.num_rows, self.dim, self.negative, self.lr, total, seed, degree,
            one_table=order == 1, keep_hits=True,
        )  # fmt: skip
        if float(mass) <= 0:
            return trainer.vectors
        for start in range(0, total, PART):
            size = min(PART, total - start)
            edge = alias_draw(threshold, alias, size, seed + 100, start).long()
            one = torch.arange(size + 1, device=graph.device)
            trainer.step(one, source[edge], target[edge])
            self._tell(f"order {order}", start + size, total)
        return trainer.vectors
