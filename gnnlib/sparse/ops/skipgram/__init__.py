"""Skip-gram with negative sampling: pairs of a window, and blocks of gradient steps on two tables."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from gnnlib.sparse.random import as_seed
from gnnlib.sparse.registry import dispatch

__all__ = ["ABREAST", "block_size", "skipgram", "UNIT", "walk_windows"]

#: Columns of the tables come in multiples of this.
UNIT = 16
#: So many walks are gone along side by side: a block of centres then holds few of one walk, yet some that
#: share contexts, which a cache still holds (all walks side by side took a quarter longer).
ABREAST = 64
#: Scores beyond count as certain, as in word2vec.
SATURATED = 6.0
#: A block holds one centre for so many nodes: a node's row is then stale by a few steps at most.
NODES_A_CENTRE = 16
#: Largest block: the rows of its centres stay in the second cache (of 256 they did not: a quarter slower).
LARGEST = 64
#: The same on a GPU, where a block is a dozen launches.
LARGEST_GPU = 512


def block_size(table: Tensor) -> int:
    """Centres of a block that suits a table and its device.

    Shapes: table ``[N, D]`` -> a number, 1 or more.
    """
    largest = LARGEST if table.device.type == "cpu" else LARGEST_GPU
    return max(1, min(largest, table.shape[0] // NODES_A_CENTRE))


def walk_windows(
    walks: Tensor, window: int, seed: int, first: int = 0, offset: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """The contexts of every node of every walk.

    The half width of each window is drawn from 1 to ``window``, as in word2vec; with an ``offset`` there
    are only the nodes exactly so far before and after. Of each 64 walks the first nodes come first, then the
    second ones: centres that follow each other are of different walks. Those of one walk share their
    contexts, and a block of them would move the same rows many times from the same stale values.

    Args:
        walks: padded at the end with -1.
        window: largest half width.
        seed: of the widths.
        first: number of the first walk, so that walks may come in parts.
        offset: 0, or the one distance of contexts.

    Shapes: walks ``[S, L]`` -> offsets int64 ``[P + 1]``, contexts ``[M]`` and centres ``[P]``, where P
        counts the nodes of all walks.
    Cost: O(P window).
    """
    ptr, context, centre = dispatch("walk_windows", walks, window, as_seed(seed), first, offset)
    return ptr, context, centre


def abreast(walks: Tensor) -> Tensor:
    """The walks by groups: ``[S, L]`` -> ``[S / 64, L, 64]``, filled up with -1."""
    missing = -walks.shape[0] % ABREAST
    return F.pad(walks, (0, 0, 0, missing), value=-1).view(-1, ABREAST, walks.shape[1]).transpose(1, 2)


def skipgram(
    table: Tensor,
    other: Tensor,
    ptr: Tensor,
    context: Tensor,
    out: Tensor,
    lr: float,
    floor: float,
    done: float,
    total: float,
    block: int,
) -> None:
    r"""Gradient steps of skip-gram with negative sampling, in place.

    .. math:: \max \sum_{u \in \text{context}(i)} \log \sigma(w_u \cdot c_{v_0})
        + \sum_{k \ge 1} \log \sigma(- w_u \cdot c_{v_k})

    A centre takes its contexts one after another, as word2vec does: the scores of a context with all outputs,
    then w_u moves along the outputs and they along w_u, each by the other as it was. A centre's negatives are
    shared by its contexts (Ji et al., Parallelizing Word2Vec in Shared and Distributed Memory, 2016). The
    centres of a block all begin with the tables as they were at its start, each output on a copy of its own;
    what they add is summed in their order, so the result does not depend on threads.

    Args:
        table: w, of contexts; changed in place.
        other: c, of centres; changed in place. It may be ``table`` itself.
        ptr, context: contexts of each centre, in compressed rows.
        out: the centre and its negatives; -1 stands for none.
        lr, floor, done, total: the rate of a block is lr (1 - done / total), but not under the floor, with
            ``done`` centres before the first of this call.
        block: centres of a block.

    Shapes: tables float32 ``[N, D]`` with D a multiple of ``UNIT``, out int32 ``[P, K + 1]``.
    Cost: O(M K D); memory of the rows of the contexts and outputs of a block.
    """
    dispatch("skipgram", table, other, ptr, context, out, lr, floor, done, total, block)
