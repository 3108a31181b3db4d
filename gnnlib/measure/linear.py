r"""A model as a linear map at its input: its backward pass, read once, run for many small sets of outputs.

.. math:: \frac{\partial f(v)}{\partial X_u} = \sum_{\text{paths}} \prod_\ell D_\ell W_\ell\, a_\ell

Where a model is made of linear maps W of rows, sparse products with constants a, and functions of single
numbers with derivatives D, autograd's graph of one forward pass over all nodes holds all that any gradient
needs. The gradient of few outputs then fills the ball around them and no more; each of its steps is a small
product that stays in the cache, for many outputs and channels at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from gnnlib.measure.gathered import Gathered
from gnnlib.measure.ground import Block, Ground, cut, runs
from gnnlib.measure.steps import Pull, Same, Sparse, pull_of, summed
from gnnlib.sparse import CSR
from gnnlib.sparse.hops import balls
from gnnlib.sparse.symmetric import keys

__all__ = ["Linear", "linear"]

_SEEDS = 512  # whose balls are found at once
#: Rows of one union of balls, and numbers of a gradient: enough to be worth a call, few enough for a cache.
_ROWS, _NUMBERS = 4096, 1_300_000


_Slot: TypeAlias = tuple[Any, int]  # a node of autograd's graph, and the number of an output of it


class _Step(NamedTuple):
    """What a node does, and where the gradient of each of its inputs goes."""

    node: Any
    pull: Pull
    into: dict[int, _Slot]


class Linear:
    """The steps of a model's backward pass, the output first.

    Args:
        steps: nodes of the graph, each before those that it sends gradients to.
        start: where gradients of the output enter.
        leaf: the node that collects the gradient of the input.

    Shapes: out ``[N, C]``, x ``[N, F]``. depth: hops from an output to the farthest input.
    """

    def __init__(self, steps: list[_Step], start: _Slot, leaf: Any, out: Tensor, x: Tensor) -> None:
        self.steps, self.start, self.leaf = steps, start, leaf
        far = {start[0]: 0}
        for node, pull, into in steps:
            for to, _ in into.values():
                far[to] = max(far.get(to, 0), far[node] + isinstance(pull, Sparse))
        self.depth: int = far[leaf]
        self.like, self.channels, self.features = x.detach(), out.size(1), x.size(1)
        shapes = [meta.shape for step in steps for meta in step.node._input_metadata]
        self.width = max(prod(shape[1:]) for shape in (*shapes, x.shape))

    def follows(self, adj: CSR) -> bool:
        """Whether all sparse products stay on edges of ``adj`` and on nodes themselves."""
        known = torch.unique(keys(adj))
        seen = {p.adj.indptr.data_ptr(): p.adj for _, p, _ in self.steps if isinstance(p, Sparse)}
        for product in seen.values():
            other = keys(product)[product.rows != product.indices]
            if not bool(torch.isin(other, known).all()):
                return False
        return True

    def by_hop(self, near: CSR, nodes: Tensor) -> Tensor:
        """Sizes of the gradients of all channels of each node, by hop: T_h(v).

        Shapes: near ``[N, N]``, the graph in which hops count, nodes ``[S]`` -> ``[S, depth + 1]``, CPU.
        """
        result = self.like.new_zeros(nodes.numel(), self.depth + 1, device="cpu")
        one = torch.eye(self.channels, dtype=self.like.dtype, device=self.like.device)
        for first, ground in self._grounds(near, nodes):
            seeds, rows = ground.rows[0], ground.hop.numel()
            size = self.like.new_zeros(rows)
            for some in torch.split(one, max(1, _NUMBERS // (rows * self.width))):
                size += torch.linalg.vector_norm(self._pull(ground, some.expand(seeds, -1, -1)), 1, (1, 2))
            place = (first + ground.owner) * (self.depth + 1) + ground.hop
            result.view(-1).index_add_(0, place, size.cpu())
        return result

    def gradient(self, near: CSR, nodes: Tensor, weight: Tensor) -> Tensor:
        """The gradient of one mixture of the channels of all these nodes together.

        Shapes: near ``[N, N]``, nodes ``[S]``, weight ``[C]`` -> ``[N, F]``.
        """
        found = self.like.new_zeros(near.num_rows, self.features)
        for _, ground in self._grounds(near, nodes):
            value = self._pull(ground, weight.expand(ground.rows[0], 1, -1))
            found.index_add_(0, ground.node, value[:, 0])
        return found

    def _grounds(self, near: CSR, nodes: Tensor) -> Iterator[tuple[int, Ground]]:
        """Unions of the balls of some nodes after others, and the place of the first of them."""
        for start in range(0, nodes.numel(), _SEEDS):
            every = balls(near, nodes[start : start + _SEEDS], self.depth)
            for first, last in runs(every.ptr, _ROWS):
                yield start + first, Ground(cut(every, first, last), self.depth, self.like.device)

    @torch.no_grad()
    def _pull(self, ground: Ground, channels: Tensor) -> Tensor:
        """Gradients of mixtures of the outputs of each centre, ``[S, G, C]``, by rows: ``[n, G, F]``."""
        start = Block(channels.clone(memory_format=torch.contiguous_format), 0)
        held: dict[Any, dict[int, Block]] = {self.start[0]: {self.start[1]: start}}
        for node, pull, into in self.steps:
            for place, block in pull(held.pop(node), ground).items():
                to, number = into[place]
                slots = held.setdefault(to, {})
                slots[number] = summed(slots[number], block) if number in slots else block
        value = held[self.leaf][0].value
        short = ground.hop.numel() - value.size(0)
        return torch.nn.functional.pad(value, (0, 0, 0, 0, 0, short)) if short else value


def linear(out: Tensor, leaf: Tensor) -> Linear | None:
    """The backward pass from a model's output to its input; None where a step of it is not known.

    The output must be recorded with parameters that want no gradient, in eval mode.

    Shapes: out ``[N, C]``, leaf ``[N, F]``.
    """
    if out.grad_fn is None or not leaf.numel() or not hasattr(out.grad_fn, "_input_metadata"):
        return None
    order = _ordered(out.grad_fn)
    leaves = [node for node in order if hasattr(node, "variable")]
    if len(leaves) != 1 or leaves[0].variable is not leaf:
        return None
    count = Counter(to for node in order for to, _ in node.next_functions)
    messages, inside = Gathered(leaf.size(0)), set()
    pulls: dict[Any, Pull] = {}
    into: dict[Any, dict[int, _Slot]] = {}
    for node in order:
        if node is leaves[0] or node in inside:
            continue
        message = messages(node)
        if message is None:
            pull = pull_of(node, leaf.size(0))
            into[node] = {k: to for k, to in enumerate(node.next_functions) if to[0] is not None}
        else:
            pull, into[node] = Sparse(message.product, leaf.size(0), 0), {0: message.slot}
            inside.update(message.inner)
            if any(count[part] > 1 for part in message.inner):
                return None
        if pull is None:
            return None
        pulls[node] = pull

    def end(slot: _Slot) -> _Slot:
        while isinstance(same := pulls.get(slot[0]), Same):
            slot = into[slot[0]][same.place]
        return slot

    steps = [
        _Step(node, pull, {k: end(to) for k, to in into[node].items()})
        for node, pull in pulls.items()
        if not isinstance(pull, Same)
    ]
    return Linear(_joined(steps), end((out.grad_fn, 0)), leaves[0], out, leaf)


def _joined(steps: list[_Step]) -> list[_Step]:
    """Sparse products together with what follows them alone, where they can do it themselves."""
    count = Counter(to for step in steps for to, _ in step.into.values())
    after = {step.node: step for step in steps}
    done = set()
    for step in steps:
        if isinstance(step.pull, Sparse) and step.node not in done:
            ((place, (to, _)),) = step.into.items()
            while count[to] == 1 and to in after and step.pull.takes(after[to].pull):
                done.add(to)
                ((to, number),) = after[to].into.values()
                step.into[place] = (to, number)
    return [step for step in steps if step.node not in done]


def _ordered(first: Any) -> list[Any]:
    """All nodes from here down, each before those that it sends gradients to."""
    done, seen = [], {first}
    open_nodes = [(first, iter(first.next_functions))]
    while open_nodes:
        node, rest = open_nodes[-1]
        below = next((to for to, _ in rest if to is not None and to not in seen), None)
        if below is None:
            done.append(node)
            open_nodes.pop()
        else:
            seen.add(below)
            open_nodes.append((below, iter(below.next_functions)))
    return done[::-1]
