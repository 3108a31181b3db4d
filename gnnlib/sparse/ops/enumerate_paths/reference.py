"""Paths in plain torch, one edge longer in each round: the definition."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.sparse.counter import child, draw, unit
from gnnlib.sparse.ops.enumerate_paths.request import Answer, Request, offsets
from gnnlib.sparse.registry import kernel


def _extended(indptr: Tensor, indices: Tensor, paths: Tensor) -> Tensor:
    """Every path with every source of its far end: ``[P, k]`` -> ``[Q, k + 1]``, centre first."""
    end = paths[:, -1]
    count = indptr.diff()[end]
    path = torch.arange(paths.shape[0], device=paths.device).repeat_interleave(count)
    within = torch.arange(path.shape[0], device=paths.device) - (count.cumsum(0) - count)[path]
    return torch.cat([paths[path], indices[indptr[end][path] + within].long()[:, None]], 1)


def _distances(indptr: Tensor, indices: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Keys ``centre * N + node`` of the pairs within K steps, sorted, and their distances."""
    n = indptr.shape[0] - 1
    centre = torch.arange(n, device=indptr.device)
    known, distance = centre * n + centre, torch.zeros_like(centre)
    pairs = torch.stack([centre, centre], 1)
    for d in range(1, length + 1):
        longer = _extended(indptr, indices, pairs)
        keys = torch.unique(longer[:, 0] * n + longer[:, 2])
        keys = keys[~torch.isin(keys, known)]
        known, distance = torch.cat([known, keys]), torch.cat([distance, torch.full_like(keys, d)])
        pairs = torch.stack([keys // n, keys % n], 1) if n else pairs
    order = known.argsort()
    return known[order], distance[order]


def _one_each(paths: Tensor) -> Tensor:
    """Of the paths with the same ends the first one, read from the end with the smaller number."""
    backwards = paths[:, -1] < paths[:, 0]
    first = torch.where(backwards[:, None], paths.flip(1), paths)
    for column in reversed(range(first.shape[1])):
        order = first[:, column].argsort(stable=True)
        first, paths = first[order], paths[order]
    for column in (-1, 0):
        order = paths[:, column].argsort(stable=True)
        paths = paths[order]
    new = torch.ones(paths.shape[0], dtype=torch.bool, device=paths.device)
    new[1:] = (paths[1:, 0] != paths[:-1, 0]) | (paths[1:, -1] != paths[:-1, -1])
    return paths[new]


def _sampled(request: Request, paths: Tensor, counts: Tensor) -> Tensor:
    """As many of the paths of each centre as are wanted, each set of them equally likely."""
    most, length = request.most, paths.shape[1] - 1
    if most is None or not bool((counts > most).any()):
        return paths
    keep: list[bool] = []
    for v, count in enumerate(counts.tolist()):
        stream, kept = child(request.seed, v, length), 0
        for r in range(count):
            keep.append(unit(draw(stream, r)) * (count - r) < most - kept)
            kept += keep[-1]
    return paths[torch.tensor(keep, device=paths.device)]


@kernel("enumerate_paths", "reference")
def enumerate_paths(indptr: Tensor, indices: Tensor, request: Request) -> Answer:
    n = indptr.shape[0] - 1
    pairs, steps = _distances(indptr, indices, request.length)
    found, chosen, counts = torch.arange(n, device=indptr.device)[:, None], [], []
    for length in range(1, request.length + 1):
        found = _extended(indptr, indices, found)
        if request.kind == "simple":
            found = found[(found[:, :-1] != found[:, -1:]).all(1)]
        else:
            keys = pairs[steps == length]
            found = found[torch.isin(found[:, 0] * n + found[:, -1], keys)]
        given = _one_each(found) if request.kind == "shortest" else found
        counts.append(given[:, 0].bincount(minlength=n))
        chosen.append(_sampled(request, given, counts[-1]).flip(1))
    offset = offsets(request, torch.stack(counts))
    nodes = torch.cat([paths.reshape(-1) for paths in chosen])
    distance = None
    if request.distance:
        keys = torch.cat([(paths[:, -1:] * n + paths).reshape(-1) for paths in chosen])
        distance = steps[torch.searchsorted(pairs, keys)].to(torch.uint8)
    return offset, nodes.to(indices.dtype), distance
