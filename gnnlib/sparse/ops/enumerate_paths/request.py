"""What a kernel that enumerates paths is asked, and the check of how much there is.

Each takes the graph as rows of sorted and unique columns, and a request.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Beyond so many times the limit a kernel stops counting.
ENOUGH = 16
#: Distance of a node that is not reached, and one more than the largest length of a path.
FAR = 255


class Request(NamedTuple):
    """One call.

    Args:
        kind: ``"shortest"``, ``"all_shortest"`` or ``"simple"``.
        length: the most edges K of a path.
        most: the most paths of one length that end at one node, or None.
        seed: of the choice among more.
        limit: the most node numbers that the answer may hold.
        distance: also give the distance of each node of a path to its end.
    """

    kind: str
    length: int
    most: int | None
    seed: int
    limit: int
    distance: bool


#: Offsets of the paths over their last nodes ``[K, N + 1]``; the nodes of all paths, one length after
#: another; their distances as uint8, or None.
Answer = tuple[Tensor, Tensor, Tensor | None]


def offsets(request: Request, counts: Tensor, whole: bool = True) -> Tensor:
    """Offsets ``[K, N + 1]`` of the paths that are kept, from how many there are ``[K, N]``.

    Raises: ValueError when they would hold more node numbers than the limit; ``whole`` says whether all of
        them were counted.
    """
    kept = counts if request.most is None else counts.clamp(max=request.most)
    per_length = kept.sum(1)
    size = torch.arange(2, request.length + 2, device=kept.device)
    entries = int((per_length * size).sum())
    if entries > request.limit or not whole:
        paths = f"{'' if whole else 'more than '}{int(per_length.sum()):,}"
        raise ValueError(
            f"enumerate_paths: {paths} {request.kind} paths of up to {request.length} edges hold {entries:,} "
            f"node numbers but limit={request.limit:,}; lower length, set max_per_node, or raise limit"
        )
    out = kept.new_zeros(request.length, kept.shape[1] + 1)
    torch.cumsum(kept, 1, out=out[:, 1:])
    return out
