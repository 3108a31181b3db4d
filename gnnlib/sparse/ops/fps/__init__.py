"""Farthest-point sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.registry import dispatch

__all__ = ["fps"]


def fps(
    x: Tensor,
    batch: Tensor | None = None,
    ratio: float | Tensor = 0.5,
    random_start: bool = True,
    batch_size: int | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Pick points one after another, each the farthest from all that were picked before.

    .. math:: i_1 \text{ given}, \qquad i_{t+1} = \arg\max_j \min_{s \le t} \lVert x_j - x_{i_s} \rVert

    Of equally far points the first is picked. Eldar et al., The Farthest Point Strategy for Progressive Image
    Sampling, 1997; Qi et al., PointNet++, NeurIPS 2017, Sec. 3.2.

    Args:
        x: the points.
        batch: the set of each point, ascending; every set is sampled by itself.
        ratio: share of each set to pick, in (0, 1], rounded up; a tensor gives each set its own.
        random_start: begin at a random point of each set; else at its first.
        batch_size: number of sets B, where the last ones are empty.
        generator: of random starts; torch's global one when None.

    Shapes: x ``[N, F]`` (more dimensions are flattened), ratio scalar or ``[B]`` -> int64 ``[K]``: the picked
        points, set by set in the order of picking. No gradient.
    Cost: N F for every point that is picked in a set; sets are worked on in parallel.
    Raises: ValueError for a ratio outside (0, 1], NaN, or sets in no order.
    """
    points = x.detach().flatten(1) if x.dim() > 1 else x.detach()[:, None]
    if batch is None:
        batch = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        batch_size = 1 if batch_size is None else batch_size
    if batch.shape != (len(x),):
        raise ValueError(f"fps: batch has shape {list(batch.shape)} for {len(x)} points; pass one set each")
    if bool((batch.diff() < 0).any()):
        raise ValueError("fps: batch is not ascending; sort the points by their set")
    if not bool(torch.isfinite(points).all()):
        raise ValueError("fps: x has values that are not finite; a distance to them means nothing")
    sets = max(int(batch[-1]) + 1 if batch.numel() else 0, batch_size or 0)
    share = torch.as_tensor(ratio, dtype=torch.float64, device=x.device)
    if not bool(((share > 0) & (share <= 1)).all()) or share.shape not in ((), (sets,)):
        raise ValueError(f"fps: ratio is {ratio}; it is a share in (0, 1], or one for each of {sets} sets")
    size = torch.bincount(batch, minlength=sets)
    ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
    count = (size * share - 1e-9).ceil().long().clamp(min=1).minimum(size)  # 0.1 of 30 is 3
    start = torch.zeros(sets, dtype=torch.int64, device=x.device)
    if random_start:
        draw = torch.rand(sets, dtype=torch.float64, generator=generator)
        start = (draw.to(x.device) * size).long().minimum((size - 1).clamp(min=0))
    out = torch.cat([count.new_zeros(1), count.cumsum(0)])
    picked: Tensor = dispatch("fps", points.double(), ptr, start, out)
    return picked
