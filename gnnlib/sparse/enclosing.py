"""Enclosing subgraphs of node pairs, with labels of their nodes by the distances from the two ends."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gnnlib.names import choose
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.random import as_seed

__all__ = ["Enclosed", "enclosing_subgraphs", "label_nodes", "Labelling", "LABELLINGS"]

Labelling = Literal["drnl", "zero-one", "hop", "distance"]
LABELLINGS: tuple[Labelling, ...] = ("drnl", "zero-one", "hop", "distance")
MOST_HOPS = 3  # of the labelling "distance"; what is farther, or not reached, is one more


class Enclosed(NamedTuple):
    """The subgraphs around P pairs, one after another, in each the ends of the pair first.

    Shapes: ptr int64 ``[P + 1]``; node ``[total]``, numbers in the whole graph; far ``[2, total]``, hops from
        the first and the second end, -1 where there is no way; edge_index ``[2, e]``, places in ``node``;
        edge ``[e]``, the caller's edge of each.
    """

    ptr: Tensor
    node: Tensor
    far: Tensor
    edge_index: Tensor
    edge: Tensor

    @property
    def batch(self) -> Tensor:
        """The pair of each node, ``[total]``."""
        return torch.arange(self.ptr.numel() - 1).repeat_interleave(self.ptr.diff())


def enclosing_subgraphs(
    adj: CSR, pairs: Tensor, hops: int, *, apart: bool = True, most: int | None = None, seed: int = 0
) -> Enclosed:
    """The nodes within some hops of either end of each pair, and the edges among them.

    The pair's own edge is left out, in both directions. Zhang and Chen, Link Prediction Based on Graph Neural
    Networks, NeurIPS 2018.

    Args:
        adj: an undirected graph; the neighbours of a node are the entries of its row.
        pairs: the two ends of each pair; equal ones make one end.
        hops: at least 1.
        apart: measure distances from one end without the other one, as the double-radius labelling does.
        most: of more nodes than these at one distance from the nearer end, draw so many; None: keep all.
        seed: of the draws, which follow from it and the pair alone.

    Shapes: adj ``[N, N]``, pairs ``[2, P]`` -> :class:`Enclosed`, on the CPU.
    Cost: the edges of all nodes in the subgraphs, three times.
    Raises: ValueError for hops or ``most`` below 1, an adjacency that is not square, or pairs that are none
        of its nodes.
    """
    if hops < 1 or (most is not None and most < 1):
        raise ValueError(f"enclosing_subgraphs: hops={hops}, most={most}; pass 1 or more")
    if adj.num_rows != adj.num_cols:
        raise ValueError(f"enclosing_subgraphs: adj is {list(adj.shape)}; pass a square adjacency")
    if pairs.dim() != 2 or pairs.size(0) != 2:
        raise ValueError(
            f"enclosing_subgraphs: pairs has shape {list(pairs.shape)}; expected [2, P], one pair a column"
        )
    if pairs.numel() and not 0 <= int(pairs.min()) <= int(pairs.max()) < adj.num_rows:
        raise ValueError(
            f"enclosing_subgraphs: pairs from {int(pairs.min())} to {int(pairs.max())} came; the graph has "
            f"{adj.num_rows} nodes"
        )
    first, second = (end.long().cpu().contiguous().numpy() for end in pairs)
    indptr, indices = adj.derive("arrays on the CPU", lambda a: [t.cpu().numpy() for t in a.arrays])
    limit = adj.num_rows if most is None else most
    found = _native().enclosing(indptr, indices, first, second, hops, apart, limit, as_seed(seed))
    ptr, node, far, source, target, slot = (torch.from_numpy(a) for a in found)
    edge = slot if adj.perm is None else adj.perm.cpu()[slot]
    return Enclosed(ptr, node, far, torch.stack([source, target]), edge)


def label_nodes(found: Enclosed, label: Labelling) -> Tensor:
    r"""Labels of the nodes of enclosing subgraphs by their distances x and y from the two ends.

    - ``"drnl"``, double-radius node labelling: with :math:`d = x + y`,

      .. math:: z = 1 + \min(x, y) + \lfloor d / 2 \rfloor (\lfloor d / 2 \rfloor + d \bmod 2 - 1)

      1 for the ends and 0 for a node from which an end is not reached. Zhang and Chen, NeurIPS 2018.
    - ``"zero-one"``: 1 for the ends, 0 for all others.
    - ``"hop"``: the smaller distance plus one.
    - ``"distance"``: both distances, at most 3, and 4 where there is no way.

    Args:
        found: subgraphs, measured with ``apart=True`` for ``"drnl"`` and with ``apart=False`` else.
        label: the labelling.

    Shapes: -> int64 ``[total, 1]``, ``[total, 2]`` for ``"distance"``.
    Raises: ValueError for an unknown labelling.
    """
    choose("label", label, LABELLINGS)
    end = (found.far == 0).any(0)
    if label == "zero-one":
        return end.long()[:, None]
    if label == "distance":
        far = torch.where(found.far < 0, MOST_HOPS + 1, found.far.clamp(max=MOST_HOPS))
        return far.t().contiguous()
    if label == "hop":
        never = found.node.numel()
        return (torch.where(found.far < 0, never, found.far).amin(0) + 1)[:, None]
    x, y = found.far
    d = x + y
    half = d.div(2, rounding_mode="floor")
    z = 1 + torch.minimum(x, y) + half * (half + d % 2 - 1)
    z = torch.where((found.far < 0).any(0), 0, z)
    return torch.where(end, 1, z)[:, None]


def _native() -> Any:
    from gnnlib.sparse.native import enclosing  # numba, which importing the core must not load

    return enclosing
