"""Random walks in plain torch: all walks take a step together, and those that were refused try again.

The words of a walk's stream are used in the order in which the compiled kernel uses them, so both give the
same walks: one word a proposal (31 bits for the slot, 32 for the decision), one more where there are weights
(24 bits against the alias table), and before either one word that decides between the way back and a
proposal, where 1/p exceeds the other biases.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse import random
from gnnlib.sparse.csr import row_of_slot
from gnnlib.sparse.ops.random_walk import EITHER, OUT
from gnnlib.sparse.registry import kernel


@kernel("random_walk", "reference")
def random_walk(
    indptr: Tensor,
    indices: Tensor,
    weight: Tensor | None,
    threshold: Tensor | None,
    alias: Tensor | None,
    total: Tensor | None,
    start: Tensor,
    length: int,
    p: float,
    q: float,
    mode: int,
    simple: bool,
    seed: int,
    first: int,
) -> tuple[Tensor, Tensor]:
    num_nodes, col = indptr.shape[0] - 1, indices.long()
    mass = indptr.diff().double() if total is None else total
    key = row_of_slot(indptr, col.shape[0]) * num_nodes + col  # ascending: every edge as one number
    values = torch.ones_like(key, dtype=torch.float64) if weight is None else weight.double()
    upto = torch.cat([values.new_zeros(1), values.cumsum(0)])

    def edge_weight(source: Tensor, target: Tensor) -> Tensor:
        """Weight from source to target, 0 where there is no edge."""
        wanted = source * num_nodes + target
        return upto[torch.searchsorted(key, wanted, right=True)] - upto[torch.searchsorted(key, wanted)]

    def exists(source: Tensor, target: Tensor) -> Tensor:
        wanted = source * num_nodes + target
        return torch.searchsorted(key, wanted, right=True) > torch.searchsorted(key, wanted)

    walks = torch.full((start.shape[0], length), -1, dtype=indices.dtype, device=start.device)
    walks[:, 0] = start
    proposals = torch.zeros_like(start)
    stream = random.stream(seed, torch.arange(first, first + start.shape[0], device=start.device))
    used = torch.zeros_like(start)  # words of each stream
    plain, bound = p == q == 1, max(1.0, 1 / q)
    back, near, far = min(1 / p, bound) / bound, 1 / bound, 1 / q / bound
    for j in range(1, length):
        walk = torch.nonzero(walks[:, j - 1] >= 0).view(-1)
        v = walks[walk, j - 1].long()
        walk, v = walk[mass[v] > 0], v[mass[v] > 0]
        while walk.numel():
            t = walks[walk, j - 2].long() if j > 1 else torch.full_like(v, -1)
            x = torch.full_like(v, -1)
            if j > 1 and not plain and 1 / p > bound:
                h = edge_weight(v, t) * (1 / p - bound)
                u = random.unit(random.draw(stream[walk], used[walk]))
                used[walk] += 1
                x = torch.where(u * (h + bound * mass[v]) < h, t, x)
            returned = x >= 0
            ask, w = walk[~returned], v[~returned]
            bits = random.draw(stream[ask], used[ask])
            slot = random.below(bits, indptr[w + 1] - indptr[w])
            used[ask] += 1
            if threshold is not None and alias is not None:
                low = random.low24(random.draw(stream[ask], used[ask]))
                used[ask] += 1
                place = indptr[w] + slot
                slot = torch.where(low < threshold[place], slot, alias[place].long())
            proposed = col[indptr[w] + slot]
            proposals[ask] += 1
            keep = torch.ones_like(proposed, dtype=torch.bool)
            if j > 1 and not plain:
                before = t[~returned]
                to, at = (before, proposed) if mode in (OUT, EITHER) else (proposed, before)
                chance = torch.where(exists(to, at), near, far)
                chance = torch.where(proposed == before, back, chance)
                keep = random.unit(bits) < chance
            x[~returned] = torch.where(keep, proposed, -1)
            walks[walk, j] = x.to(indices.dtype)
            walk, v = walk[x < 0], v[x < 0]
    return walks, proposals
