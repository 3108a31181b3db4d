r"""Whose features an output depends on, hop by hop: the Jacobian influence of City-Networks.

.. math:: I(v, u) = \sum_c \sum_j \Big| \frac{\partial f_c(v)}{\partial X_{uj}} \Big|, \qquad
    T_h(v) = \sum_{u : d(v, u) = h} I(v, u), \qquad
    R = \frac{1}{|V|} \sum_v \frac{\sum_h h\, T_h(v)}{\sum_h T_h(v)}

Liang et al., Towards Quantifying Long-Range Interactions in Graph Machine Learning, 2025, Sec. 4.

The output at v depends on the nodes within the model's reach of v. One backward pass from many outputs at
once therefore gives the Jacobian rows of all of them, as long as no input can be reached by two: either the
whole graph serves seeds whose balls do not meet, or each seed brings a copy of its ball, one hop wider than
the reach, so that every node that matters keeps all its neighbours. PyG's ``total_influence`` cuts the ball
at ``max_hops`` and so changes the degrees on its rim.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from gnnlib.measure.by_hop import InfluenceByHop
from gnnlib.measure.rows import frozen, sparing
from gnnlib.measure.trim import Layers, Steps, layers_of, trimmed
from gnnlib.sparse import CSR, as_csr
from gnnlib.sparse.hops import Balls, ball_edges, balls, hop_distance, pack_balls

__all__ = ["influence"]

Method: TypeAlias = Literal["auto", "balls", "colored", "single"]

#: Rows of one union of balls. Larger ones share the cost of a call among more seeds, until the activations
#: leave the cache (fastest of 2,048 to 16,384 for 4, 8 and 16 layers, on two cores of an EPYC Milan).
ROWS = 16_384
_TRIED = 1024  # rows on which it is tried whether layers may be given fewer
_LIKE = 1e-2  # how far influence by hop on shrinking rows may be from that on all rows: rounding, not layers
_PROBES = 4  # outputs whose gradients tell how far the model looks
_SAME = 1e-3  # of the largest output: how far a ball may be from the whole graph before it counts as another


def influence(
    model: nn.Module,
    data: Any,
    max_hops: int | None = None,
    num_samples: int | None = None,
    *,
    normalize: bool = True,
    method: Method = "auto",
    reach: int | None = None,
    seed: int = 0,
    edge_args: Sequence[str] = (),
) -> InfluenceByHop:
    """Measure how far a node model looks: influence by hop and the influence-weighted range R.

    The model is evaluated at ``data.x`` in eval mode, with its parameters fixed, and left as it was.

    Args:
        model: ``model(x, edge_index)`` gives a row for each node.
        data: has ``x`` and ``edge_index``, and what ``edge_args`` names.
        max_hops: the last hop that is counted; None: as far as the model looks.
        num_samples: how many nodes, drawn evenly; None: all of them, and then nothing is estimated.
        normalize: divide the curve by its value at hop 0.
        method: ``"balls"``: each node brings a copy of the ball it depends on, many in one pass; exact for
            layers that know of a neighbour no more than its own neighbours. ``"colored"``: the whole graph in
            each pass, with seeds whose balls do not meet; exact for all local layers. ``"single"``: one node
            in a pass; for models that look at the whole graph. ``"auto"``: balls, if they give the outputs of
            the whole graph, else colored.
        reach: hops that the model looks; None: found by trying.
        seed: of the draw of nodes.
        edge_args: names of tensors over edges that the model takes as keywords, such as ``edge_weight``.

    Shapes: x ``[N, F]``, edge_index ``[2, E]`` -> :class:`InfluenceByHop` over S nodes and H + 1 hops.
    Cost: C backward passes over the balls of all nodes, or over the graph for each colour.
    Raises: TypeError for features that are no floats; ValueError when the model looks farther than ``reach``,
        or balls do not give the outputs of the whole graph.
    """
    x, edge_index = data.x, data.edge_index
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError("influence: data.x holds no floats; influence is a derivative by real features")
    if method not in ("auto", "balls", "colored", "single"):
        raise ValueError(f"influence: method={method!r}; choose auto, balls, colored or single")
    num_nodes = int(x.size(0))
    if num_samples is not None and num_samples < 1:
        raise ValueError(f"influence: num_samples={num_samples}; pass 1 or more, or None for all nodes")
    draw = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(seed))
    nodes = draw[: num_nodes if num_samples is None else num_samples].sort().values
    with frozen(model):
        work = _Work(model, x, edge_index, {name: data[name] for name in edge_args}, nodes)
        found = work.probe() if reach is None else reach
        while True:
            by_hop, beyond, used = work.measure(found, method)
            if not beyond:
                break
            if reach is not None:
                raise ValueError(
                    f"influence: outputs depend on nodes beyond reach={reach} hops along incoming edges; "
                    "pass a larger reach, or reach=None, or method='single' for a model without a reach"
                )
            found = min(2 * found + 1, num_nodes)
    last = found if max_hops is None else max_hops
    shown = by_hop.new_zeros(nodes.numel(), last + 1)
    shown[:, : min(last, found) + 1] = by_hop[:, : last + 1]
    return InfluenceByHop(shown, nodes, num_nodes, normalize, found, used)


class _Union(NamedTuple):
    """Copies of some balls side by side, all nearest first, so that gradients fill a run of rows.

    Shapes: x ``[n, F]``, ends ``[2, e]`` in the order of the farther end, hop and owner ``[n]``.
    """

    x: Tensor
    ends: Tensor
    extra: dict[str, Tensor]
    hop: Tensor
    owner: Tensor


class _Work:
    """One measurement: the model, the graph and the nodes."""

    def __init__(
        self, model: nn.Module, x: Tensor, edge_index: Tensor, extra: dict[str, Tensor], nodes: Tensor
    ) -> None:
        self.model, self.x, self.edge_index, self.extra, self.nodes = (
            model,
            x.detach(),
            edge_index,
            extra,
            nodes,
        )
        self.adj: CSR = as_csr(edge_index, (x.size(0), x.size(0)))
        with torch.no_grad():
            self.out = model(self.x, edge_index, **extra)
        if self.out.dim() != 2 or self.out.size(0) != x.size(0):
            raise ValueError(
                f"influence: the model gave {list(self.out.shape)} for {x.size(0)} nodes; pass one that "
                "gives a row for each node"
            )

    def probe(self) -> int:
        """The farthest hop that a random mixture of the outputs of a few nodes depends on."""
        leaf = self.x.clone().requires_grad_()
        out = self.model(leaf, self.edge_index, **self.extra)
        if not out.requires_grad:
            return 0
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(out.size(1), generator=draw).to(out)
        farthest = 0
        for v in self.nodes[:: max(1, self.nodes.numel() // _PROBES)][:_PROBES]:
            (grad,) = torch.autograd.grad(out[v] @ weight, leaf, retain_graph=True)
            felt = (grad != 0).any(1).cpu()
            hops = hop_distance(self.adj, v.reshape(1))
            farthest = max(farthest, int(hops[felt].max()) if bool(felt.any()) else 0)
        return farthest

    def measure(self, reach: int, method: Method) -> tuple[Tensor, bool, str]:
        """T_h for h = 0 .. reach, whether something lies beyond the reach, and the method that was used."""
        if method in ("auto", "balls"):
            done = self._by_balls(reach)
            if done is not None:
                return *done, "balls"
            if method == "balls":
                raise ValueError(
                    f"influence: balls of reach={reach} do not give the outputs of the whole graph: the "
                    "model looks farther, or knows more of a node than its neighbours; pass reach=None or "
                    "method='colored'"
                )
        single = method == "single"
        return *self._colored(reach, single), "single" if single else "colored"

    def _by_balls(self, reach: int) -> tuple[Tensor, bool] | None:
        result = self.x.new_zeros(self.nodes.numel(), reach + 1, device="cpu")
        scale = float(self.out.abs().max()) if self.out.numel() else 0.0
        every = balls(self.adj, self.nodes, reach + 1)
        beyond = False
        layers = self._layers(self._union(every, *next(_runs(every.ptr, _TRIED))), reach)
        for first, last in _runs(every.ptr, ROWS):
            union = self._union(every, first, last)
            seeds = torch.arange(last - first)  # hop 0 comes first, in the order of the nodes
            with self._sparing(union, layers, reach):
                out = self.model(union.x, union.ends, **union.extra)[seeds]
            if float((out.detach() - self.out[self.nodes[first:last]]).abs().max()) > _SAME * scale:
                return None
            size = _accumulate(out, union.x)
            inside = union.hop <= reach
            beyond |= bool((size[~inside] > 0).any())
            place = (union.owner * (reach + 1) + union.hop)[inside]
            result[first:last].view(-1).index_add_(0, place, size[inside])
        return result, beyond

    def _union(self, every: Balls, first: int, last: int) -> _Union:
        part = _cut(every, first, last)
        order = part.hop.argsort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(order.numel())
        ends, edge = ball_edges(self.adj, part)
        ends = place[ends]
        nearest = ends.amax(0).argsort(stable=True)
        edge = edge[nearest]
        owner = torch.repeat_interleave(torch.arange(last - first), part.ptr.diff())
        device = self.x.device
        return _Union(
            self.x[part.node[order].to(device)].requires_grad_(),
            ends[:, nearest].to(device),
            {k: v[edge.to(v.device)] for k, v in self.extra.items()},
            part.hop[order],
            owner[order],
        )

    def _sparing(
        self, union: _Union, layers: Layers | None, reach: int
    ) -> contextlib.AbstractContextManager[object]:
        if layers is None:
            return sparing()
        return trimmed(layers, union.ends, Steps(union.hop, union.ends.cpu(), reach))

    def _layers(self, union: _Union, reach: int) -> Layers | None:
        """The layers that may be given shrinking rows, where that changes no gradient; None otherwise.

        A model that mixes rows in a way that :func:`trimmed` does not follow runs on all rows.
        """
        if self.extra or reach < 2:
            return None
        calls = layers_of(self.model, lambda: self._mixed(union), union.ends)
        if len(calls) != reach:
            return None
        whole = self._mixed(union)
        for mixed in (False, True):
            layers = Layers(calls, mixed)
            try:
                with self._sparing(union, layers, reach):
                    some = self._mixed(union)
            except (IndexError, RuntimeError, TypeError, ValueError):
                continue
            if bool(((some - whole).abs() <= _LIKE * whole).all()):
                return layers
        return None

    def _mixed(self, union: _Union) -> Tensor:
        """Influence by hop on a random mixture of the outputs of all seeds of a union, ``[H + 1]``."""
        out = self.model(union.x, union.ends, **union.extra)[: int(union.owner.max()) + 1]
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
        (grad,) = torch.autograd.grad((out * weight).sum(), union.x)
        by_hop = torch.zeros(int(union.hop.max()) + 1, dtype=grad.dtype)
        return by_hop.index_add(0, union.hop, grad.abs().sum(1).cpu())

    def _colored(self, reach: int, single: bool) -> tuple[Tensor, bool]:
        result = self.x.new_zeros(self.nodes.numel(), reach + 1, device="cpu")
        every = balls(self.adj, self.nodes, reach)
        group = torch.arange(self.nodes.numel()) if single else pack_balls(every, self.adj.num_rows)
        owner = torch.repeat_interleave(torch.arange(self.nodes.numel()), every.ptr.diff())
        leaf = self.x.clone().requires_grad_()
        out = self.model(leaf, self.edge_index, **self.extra)
        beyond = False
        for members in _members(group):
            size = _accumulate(out[self.nodes[members].to(out.device)], leaf, keep=True)
            rows = _rows(every.ptr, members)
            result.view(-1).index_add_(0, owner[rows] * (reach + 1) + every.hop[rows], size[every.node[rows]])
            if not single:
                size[every.node[rows]] = 0
                beyond |= bool((size > 0).any())
        return result, beyond


def _accumulate(out: Tensor, x: Tensor, keep: bool = False) -> Tensor:
    """``sum_c sum_j |d sum_s out[s, c] / d x[u, j]|`` of each row u, on the CPU."""
    size = x.new_zeros(x.size(0))
    if out.requires_grad:
        for c in range(out.size(1)):
            pick = torch.zeros_like(out)
            pick[:, c] = 1
            (grad,) = torch.autograd.grad(out, x, pick, retain_graph=keep or c + 1 < out.size(1))
            size += grad.abs().sum(1)
    return size.cpu()


def _cut(every: Balls, first: int, last: int) -> Balls:
    """The balls ``first .. last - 1``."""
    a, b = int(every.ptr[first]), int(every.ptr[last])
    return Balls(every.ptr[first : last + 1] - a, every.node[a:b], every.hop[a:b])


def _runs(ptr: Tensor, rows: int) -> Iterator[tuple[int, int]]:
    """Cut balls into runs of about so many rows, at least one ball each."""
    first, count = 0, ptr.numel() - 1
    while first < count:
        last = int(torch.searchsorted(ptr, ptr[first] + rows, right=True)) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last


def _members(group: Tensor) -> Sequence[Tensor]:
    """The members of each group."""
    order = group.argsort(stable=True)
    return torch.split(order, group.bincount().tolist())


def _rows(ptr: Tensor, members: Tensor) -> Tensor:
    """The places of all nodes of these balls."""
    size = ptr[members + 1] - ptr[members]
    start = torch.repeat_interleave(ptr[members] - (size.cumsum(0) - size), size)
    return torch.arange(int(size.sum())) + start
