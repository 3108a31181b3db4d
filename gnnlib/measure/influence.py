r"""Whose features an output depends on, hop by hop: the Jacobian influence of City-Networks.

.. math:: I(v, u) = \sum_c \sum_j \Big| \frac{\partial f_c(v)}{\partial X_{uj}} \Big|, \qquad
    T_h(v) = \sum_{u : d(v, u) = h} I(v, u), \qquad
    R = \frac{1}{|V|} \sum_v \frac{\sum_h h\, T_h(v)}{\sum_h T_h(v)}

Liang et al., Towards Quantifying Long-Range Interactions in Graph Machine Learning, 2025, Sec. 4.

The output at v depends on the nodes within the model's reach of v. A model that is linear at a point, with
constants on edges, is read once on the whole graph (:mod:`gnnlib.measure.linear`). Of others, one backward
pass from many outputs at once gives the Jacobian rows of all of them, as long as no input can be reached by
two: either the whole graph serves seeds whose balls do not meet, or each seed brings a copy of its ball, one
hop wider than the reach, so that every node that matters keeps all its neighbours. PyG's ``total_influence``
cuts the ball at ``max_hops`` and so changes the degrees on its rim.

Distances follow incoming edges. A model that also looks against the edges of a directed graph feels nodes
from which no such path comes, so for it hops are counted without regard to direction.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor, nn

from gnnlib.measure.by_hop import InfluenceByHop
from gnnlib.measure.ground import Ground, cut, runs
from gnnlib.measure.linear import linear
from gnnlib.measure.rows import frozen, sparing
from gnnlib.measure.trim import Layers, Steps, layers_of, trimmed
from gnnlib.sparse import CSR, as_csr
from gnnlib.sparse.hops import Balls, balls, hop_distance, pack_balls
from gnnlib.sparse.symmetric import keys, symmetrized

__all__ = ["influence"]

Method: TypeAlias = Literal["auto", "linear", "balls", "colored", "single"]
Hops: TypeAlias = Literal["auto", "directed", "undirected"]

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
    hops: Hops = "auto",
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
        normalize: divide the curve by its value at hop 0, or by its largest where that is 0, with a warning.
        method: ``"linear"``: the model, made of linear maps of rows, sparse products with constants and
            functions of single numbers, is linearised once on the whole graph, and each node's gradients are
            followed through the ball that they fill; exact. ``"balls"``: each node brings a copy of the ball
            it depends on, many in one pass; exact for layers that know of a neighbour no more than its own
            neighbours. ``"colored"``: the whole graph in each pass, with seeds whose balls do not meet; exact
            for all local layers. ``"single"``: one node in a pass; for models that look at the whole graph.
            ``"auto"``: linear for such models (GCN, mean and sum of SAGE and GIN, GCNII, ...), else balls, if
            they give the outputs of the whole graph, else colored; single, also in place of colored, if nodes
            are felt that no path joins.
        reach: hops that the model looks; None: found by trying.
        hops: how far u is from v: ``"directed"``: along paths from u to v; ``"undirected"``: along edges in
            either direction; ``"auto"``: directed, unless the model looks against the edges, which is tried
            on the graph and on an acyclic part of it. The result says which it was, and which share of the
            influence comes from nodes that no path joins.
        seed: of the draw of nodes.
        edge_args: names of tensors over edges that the model takes as keywords, such as ``edge_weight``.

    Shapes: x ``[N, F]``, edge_index ``[2, E]`` -> :class:`InfluenceByHop` over S nodes and H + 1 hops.
    Cost: C backward passes over the balls of all nodes, or over the graph for each colour.
    Raises: TypeError for features that are no floats; ValueError for options out of range, when the model
        looks farther than ``reach``, is not made of what ``"linear"`` asks for, or balls do not give the
        outputs of the whole graph.
    """
    x, edge_index = data.x, data.edge_index
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError("influence: data.x holds no floats; influence is a derivative by real features")
    if method not in get_args(Method):
        raise ValueError(f"influence: method={method!r}; choose one of {', '.join(get_args(Method))}")
    if hops not in ("auto", "directed", "undirected"):
        raise ValueError(f"influence: hops={hops!r}; choose auto, directed or undirected")
    for name, value in (("max_hops", max_hops), ("reach", reach)):
        if value is not None and value < 0:
            raise ValueError(f"influence: {name}={value}; pass 0 or more, or None to find it")
    num_nodes = int(x.size(0))
    if num_samples is not None and num_samples < 1:
        raise ValueError(f"influence: num_samples={num_samples}; pass 1 or more, or None for all nodes")
    draw = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(seed))
    nodes = draw[: num_nodes if num_samples is None else num_samples].sort().values
    with frozen(model):
        work = _Work(model, x, edge_index, {name: data[name] for name in edge_args}, nodes)
        felt, used = work.felt_hops(method, reach, hops)
    last = felt.by_hop.size(1) - 1 if max_hops is None else max_hops
    shown = felt.by_hop.new_zeros(nodes.numel(), last + 1)
    width = min(last + 1, felt.by_hop.size(1))
    shown[:, :width] = felt.by_hop[:, :width]
    found = InfluenceByHop(
        shown, nodes, num_nodes, normalize, felt.by_hop.size(1) - 1, used, work.hops, felt.apart
    )
    if normalize and found.base:
        warnings.warn(
            f"influence: no output depends on the node itself, so the curve is relative to hop {found.base}; "
            "pass normalize=False for the values",
            stacklevel=2,
        )
    return found


class _Felt(NamedTuple):
    """T_h for h = 0 .. reach, the share of nodes without a path, and whether something lies beyond the reach.

    Shapes: by_hop ``[S, reach + 1]``, apart ``[S]``.
    """

    by_hop: Tensor
    apart: Tensor
    beyond: bool


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
    """One measurement: the model, the graph, the nodes, and ``near``, the graph in which hops count."""

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
        self.near, self.hops = self.adj, "directed"
        with torch.no_grad():
            self.out = model(self.x, edge_index, **extra)
        if self.out.dim() != 2 or self.out.size(0) != x.size(0):
            raise ValueError(
                f"influence: the model gave {list(self.out.shape)} for {x.size(0)} nodes; pass one that "
                "gives a row for each node"
            )

    def felt_hops(self, method: Method, reach: int | None, hops: Hops) -> tuple[_Felt, str]:
        """What all nodes feel, and the method that was used."""
        if method in ("auto", "linear"):
            by_hop = self._linear(reach, hops)
            if by_hop is not None:
                return self._checked(_Felt(by_hop, by_hop.new_zeros(by_hop.size(0)), False), reach), "linear"
            if method == "linear":
                raise ValueError(
                    "influence: method='linear' is for models made of linear maps of rows, sparse products "
                    "with constants along the edges, and functions of single numbers, and this one has other "
                    "steps; pass method='auto'"
                )
        if hops == "undirected" or (hops == "auto" and self._looks_back()):
            self._either_way()
        if method == "single":
            return self._checked(self._single(), reach), method
        found, apart = self._farthest() if reach is None else (reach, False)
        if apart and method != "balls":
            return self._single(), "single"
        while True:
            felt, used = self._measure(found, method)
            if reach is not None or not felt.beyond:
                return self._checked(felt, reach), used
            if found < self.adj.num_rows:
                found = min(2 * found + 1, self.adj.num_rows)
            elif hops == "auto" and self.hops == "directed":  # felt, but by no path along the edges
                self._either_way()
                found, _ = self._farthest()
            else:
                return self._single(), "single"

    def _linear(self, reach: int | None, hops: Hops) -> Tensor | None:
        """Influence by hop of all nodes, by a model that is linearised once; None if it cannot be."""
        leaf = self.x.clone().requires_grad_()
        out = self.model(leaf, self.edge_index, **self.extra)
        steps = linear(out, leaf)
        if steps is None:
            return None
        near, counted = self.adj, "directed"
        if hops == "undirected" or (hops == "auto" and not steps.follows(near)):
            near, counted = symmetrized(near).adj, "undirected"
        if not steps.follows(near):
            return None
        some = self.nodes[:: max(1, self.nodes.numel() // _PROBES)][:_PROBES]
        weight = torch.randn(out.size(1), generator=torch.Generator().manual_seed(0)).to(out)
        (whole,) = torch.autograd.grad((out[some.to(out.device)] @ weight).sum(), leaf)
        apart = (steps.gradient(near, some, weight) - whole).abs().max()
        if bool(apart > _LIKE * whole.abs().max()):
            return None
        self.near, self.hops = near, counted
        by_hop = steps.by_hop(near, self.nodes)
        felt = by_hop.any(0).nonzero()
        last = int(felt.max()) if felt.numel() else 0
        return by_hop[:, : max(last, reach or 0) + 1]

    def _checked(self, felt: _Felt, reach: int | None) -> _Felt:
        if reach is not None and (felt.beyond or felt.by_hop.size(1) > reach + 1):
            raise ValueError(
                f"influence: outputs depend on nodes beyond reach={reach} hops of {self.hops} edges; pass a "
                "larger reach, or reach=None"
            )
        return felt

    def _either_way(self) -> None:
        self.near, self.hops = symmetrized(self.adj).adj, "undirected"

    def _looks_back(self) -> bool:
        """Whether outputs depend on nodes from which no path comes, here or on a part without cycles."""
        if symmetrized(self.adj).adj.num_edges == torch.unique(keys(self.adj)).numel():
            return False  # both directions of every edge are there
        if any(bool((hop < 0).any()) for hop in self._felt(self.adj, self.edge_index, self.extra)):
            return True
        ends = self.adj.edge_index.cpu()
        up = ends[0] < ends[1]
        keep = up if 2 * int(up.sum()) >= int((ends[0] != ends[1]).sum()) else ends[0] > ends[1]
        part = ends[:, keep].to(self.x.device)
        extra = {k: v[keep.to(v.device)] for k, v in self.extra.items()}
        try:
            with torch.no_grad():
                if torch.equal(self.model(self.x, part, **extra), self.out):
                    return False  # the model does not ask which edges there are
            felt = self._felt(as_csr(part, self.adj.shape), part, extra, torch.unique(ends[0, keep]))
        except (IndexError, RuntimeError, TypeError, ValueError):
            return False  # the model serves no other graph than its own
        return any(bool((hop < 0).any()) for hop in felt)

    def _felt(
        self, adj: CSR, edge_index: Any, extra: dict[str, Tensor], nodes: Tensor | None = None
    ) -> list[Tensor]:
        """Hops, in ``adj``, of what a random mixture of the outputs of each of a few nodes depends on."""
        leaf = self.x.clone().requires_grad_()
        out = self.model(leaf, edge_index, **extra)
        if not out.requires_grad:
            return []
        nodes = self.nodes if nodes is None else nodes
        weight = torch.randn(out.size(1), generator=torch.Generator().manual_seed(0)).to(out)
        hops = []
        for v in nodes[:: max(1, nodes.numel() // _PROBES)][:_PROBES]:
            (grad,) = torch.autograd.grad(out[v] @ weight, leaf, retain_graph=True)
            hops.append(hop_distance(adj, v.reshape(1))[(grad != 0).any(1).cpu()])
        return hops

    def _farthest(self) -> tuple[int, bool]:
        """The last hop that a few nodes feel, and whether they feel nodes that no path joins."""
        hop = torch.cat([torch.zeros(1), *self._felt(self.near, self.edge_index, self.extra)])
        return int(hop.max()), bool((hop < 0).any())

    def _measure(self, reach: int, method: Method) -> tuple[_Felt, str]:
        if method in ("auto", "balls"):
            done = self._by_balls(reach)
            if done is not None:
                return done, "balls"
            if method == "balls":
                raise ValueError(
                    f"influence: balls of reach={reach} do not give the outputs of the whole graph: the "
                    "model looks farther, or knows more of a node than its neighbours; pass reach=None or "
                    "method='colored'"
                )
        return self._colored(reach), "colored"

    def _by_balls(self, reach: int) -> _Felt | None:
        result = self.x.new_zeros(self.nodes.numel(), reach + 1, device="cpu")
        scale = float(self.out.abs().max()) if self.out.numel() else 0.0
        every = balls(self.near, self.nodes, reach + 1)
        beyond = False
        layers = self._layers(self._union(every, *next(runs(every.ptr, _TRIED))), reach)
        for first, last in runs(every.ptr, ROWS):
            union = self._union(every, first, last)
            seeds = torch.arange(last - first).flip(0)  # hop 0 comes first
            with self._sparing(union, layers, reach):
                out = self.model(union.x, union.ends, **union.extra)[seeds]
            if float((out.detach() - self.out[self.nodes[first:last]]).abs().max()) > _SAME * scale:
                return None
            size = _accumulate(out, union.x)
            inside = union.hop <= reach
            beyond |= bool((size[~inside] > 0).any())
            place = (union.owner * (reach + 1) + union.hop)[inside]
            result[first:last].view(-1).index_add_(0, place, size[inside])
        return _Felt(result, result.new_zeros(result.size(0)), beyond)

    def _union(self, every: Balls, first: int, last: int) -> _Union:
        ground = Ground(cut(every, first, last), 0, self.x.device)
        ends, edge = ground.edges(self.adj)
        nearest = ends.amax(0).argsort(stable=True)
        edge = edge[nearest]
        return _Union(
            self.x[ground.node].requires_grad_(),
            ends[:, nearest].to(self.x.device),
            {k: v[edge.to(v.device)] for k, v in self.extra.items()},
            ground.hop,
            ground.owner,
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

    def _colored(self, reach: int) -> _Felt:
        result = self.x.new_zeros(self.nodes.numel(), reach + 1, device="cpu")
        every = balls(self.near, self.nodes, reach)
        group = pack_balls(every, self.adj.num_rows)
        owner = torch.repeat_interleave(torch.arange(self.nodes.numel()), every.ptr.diff())
        leaf = self.x.clone().requires_grad_()
        out = self.model(leaf, self.edge_index, **self.extra)
        beyond = False
        for members in _members(group):
            size = _accumulate(out[self.nodes[members].to(out.device)], leaf, keep=True)
            rows = _rows(every.ptr, members)
            result.view(-1).index_add_(0, owner[rows] * (reach + 1) + every.hop[rows], size[every.node[rows]])
            size[every.node[rows]] = 0
            beyond |= bool((size > 0).any())
        return _Felt(result, result.new_zeros(result.size(0)), beyond)

    def _single(self) -> _Felt:
        """One node in a pass, so that nothing it feels can be another's, however far it is."""
        leaf = self.x.clone().requires_grad_()
        out = self.model(leaf, self.edge_index, **self.extra)
        rows, apart = [], []
        for v in self.nodes:
            size = _accumulate(out[v.reshape(1).to(out.device)], leaf, keep=True)
            hop, felt = hop_distance(self.near, v.reshape(1)), size != 0
            joined = felt & (hop >= 0)
            rows.append(torch.bincount(hop[joined], size[joined], minlength=1).to(size.dtype))
            apart.append(size[felt & (hop < 0)].sum() / (size.sum() if bool(felt.any()) else 1))
        by_hop = nn.utils.rnn.pad_sequence(rows, batch_first=True) if rows else leaf.new_zeros(0, 1).cpu()
        return _Felt(by_hop, torch.stack(apart) if apart else by_hop[:, 0], False)


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


def _members(group: Tensor) -> Sequence[Tensor]:
    """The members of each group."""
    order = group.argsort(stable=True)
    return torch.split(order, group.bincount().tolist())


def _rows(ptr: Tensor, members: Tensor) -> Tensor:
    """The places of all nodes of these balls."""
    size = ptr[members + 1] - ptr[members]
    start = torch.repeat_interleave(ptr[members] - (size.cumsum(0) - size), size)
    return torch.arange(int(size.sum())) + start
