"""Sampling around links: negative ends, the seeds that follow, and where each link is in the sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling

End = Literal["src", "dst"]
#: (nodes of each type, their times) -> sampler output
Draw = Callable[[dict[str, Tensor], dict[str, Tensor] | None], Any]


class TimeOrder:
    """The nodes of one type by their time, from which those within a limit are drawn.

    Args:
        time: of each node, ``[N]``.
    """

    def __init__(self, time: Tensor) -> None:
        self.node = time.argsort(stable=True)
        self.time = time[self.node]

    def draw(self, limit: Tensor, weight: Tensor | None, generator: torch.Generator) -> Tensor:
        """A node for each limit, not later than that; the earliest node where all are later.

        Shapes: limit ``[K]``, weight ``[N]`` -> ``[K]``.
        """
        time = self.time
        if time.dtype != limit.dtype:
            time, limit = time.double(), limit.double()
        allowed = torch.searchsorted(time, limit.contiguous(), right=True)
        u = torch.rand(limit.shape, dtype=torch.float64, generator=generator)
        if weight is None:
            place = (u * allowed).long()
        else:
            sums = weight[self.node].double().cumsum(0)
            total = sums[(allowed - 1).clamp(min=0)]
            place = torch.searchsorted(sums, u * total, right=True).minimum((allowed - 1).clamp(min=0))
        return self.node[place]


def negatives(
    config: NegativeSampling,
    end: End,
    count: int,
    num_nodes: int,
    generator: torch.Generator,
    order: TimeOrder | None = None,
    limit: Tensor | None = None,
) -> Tensor:
    """``count`` nodes for one end of the negative links, drawn with replacement, false negatives included."""
    weight = config.src_weight if end == "src" else config.dst_weight
    if weight is not None and weight.numel() != num_nodes:
        raise ValueError(
            f"NegativeSampling: {end}_weight has {weight.numel()} entries but there are {num_nodes} nodes; "
            "pass one value each"
        )
    if order is not None:
        assert limit is not None
        return order.draw(limit[:count], weight, generator)
    if weight is not None:
        return torch.multinomial(weight, count, replacement=True, generator=generator)
    return torch.randint(num_nodes, (count,), generator=generator)


def sample_links(
    inputs: EdgeSamplerInput,
    config: NegativeSampling | None,
    draw: Draw,
    *,
    ends: tuple[str, str],
    sizes: dict[str, int],
    disjoint: bool,
    orders: Callable[[str], TimeOrder | None],
    generator: torch.Generator,
) -> Any:
    """Sample around the links of a batch and tell, in the output's metadata, where they are.

    Positive links come first. For ``binary`` negatives the metadata are the input's numbers,
    ``edge_label_index``, ``edge_label`` and times; for ``triplet`` ones the numbers, ``src_index``,
    ``dst_pos_index``, ``dst_neg_index`` and times. In disjoint samples link k of the batch and its
    negatives have ``batch`` k.
    """
    src, dst, label, time = inputs.row, inputs.col, inputs.label, inputs.time
    num_pos, src_time, dst_time = src.numel(), time, time
    num_neg = 0 if config is None else math.ceil(num_pos * config.amount)
    if config is not None:
        again = math.ceil(config.amount)
        limit = None if time is None else time.repeat(again)
        order = orders(ends[1]) if time is not None else None
        # In turn: one negative of every positive link, then the next of each.
        dst_neg = negatives(config, "dst", num_neg, sizes[ends[1]], generator, order, limit)
        dst = torch.cat([dst, dst_neg])
        if time is not None:
            dst_time = time.repeat(1 + again)[: num_pos + num_neg]
        if config.is_binary():
            order = orders(ends[0]) if time is not None else None
            src = torch.cat([src, negatives(config, "src", num_neg, sizes[ends[0]], generator, order, limit)])
            src_time = dst_time
            label = torch.ones(num_pos) if label is None else label
            label = torch.cat([label, label.new_zeros(num_neg, *label.shape[1:])])
        elif label is not None:
            raise ValueError("sample_from_edges: triplet negatives take no edge_label; drop it")

    seeds, times, (at_src, at_dst) = _seeds(ends, (src, dst), (src_time, dst_time), disjoint)
    out = draw(seeds, times)
    if disjoint and num_pos:
        if isinstance(out.batch, dict):
            out.batch = {name: batch % num_pos for name, batch in out.batch.items()}
        else:
            out.batch = out.batch % num_pos
    if config is None or config.is_binary():
        out.metadata = (inputs.input_id, torch.stack([at_src, at_dst]), label, src_time)
    else:
        # With times the negatives come in turn; without, any of them serve, in the order in which PyG takes
        # them.
        neg = at_dst[num_pos:]
        neg = neg.view(again, num_pos).t() if disjoint else neg.view(num_pos, again)
        neg = neg.squeeze(-1) if again == 1 else neg
        out.metadata = (inputs.input_id, at_src, at_dst[:num_pos], neg, src_time)
    return out


def _seeds(
    ends: tuple[str, str],
    nodes: tuple[Tensor, Tensor],
    times: tuple[Tensor | None, Tensor | None],
    disjoint: bool,
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, tuple[Tensor, Tensor]]:
    """Seeds by node type, their times, and the place of each end among them."""
    groups: dict[str, list[int]] = {}
    for k, name in enumerate(ends):
        groups.setdefault(name, []).append(k)
    seeds, when = {}, {}
    places: list[Tensor] = [torch.empty(0)] * 2
    for name, members in groups.items():
        joined = torch.cat([nodes[k] for k in members])
        if disjoint:
            place = torch.arange(joined.numel())
        else:
            joined, place = torch.unique(joined, return_inverse=True)
        seeds[name] = joined
        given = [t for k in members if (t := times[k]) is not None]
        if given:
            when[name] = torch.cat(given)
        for k, part in zip(members, torch.split(place, [nodes[k].numel() for k in members]), strict=True):
            places[k] = part
    return seeds, when or None, (places[0], places[1])
