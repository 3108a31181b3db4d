"""What single nodes of an autograd graph do to gradients of rows: the steps of a model linear at a point.

A step maps gradients of the outputs of a node, by their number, to those of its inputs. It owns the gradients
that it is given, and may write into them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gnnlib.measure.ground import Block, Ground
from gnnlib.sparse import CSR
from gnnlib.sparse.ops.leading_sum import leading_sum
from gnnlib.sparse.ops.spmm import recorded_product

__all__ = ["Pull", "pull_of", "Same", "Sparse", "summed"]

Blocks: TypeAlias = dict[int, Block]
Pull: TypeAlias = Callable[[Blocks, Ground], Blocks]

#: Functions of each number alone: autograd gives their derivative for a gradient of ones.
_NUMBERS = """Abs Add Celu Clamp ClampMin CudnnBatchNorm Div Elu Exp Gelu Hardswish Hardtanh LeakyRelu
    LogSigmoid Mish Mul NativeBatchNorm Neg Pow Relu Rsub Selu Sigmoid Silu Softplus Sub Tanh Threshold"""
_ELEMENTWISE = frozenset(f"{name}Backward{k}" for name in _NUMBERS.split() for k in (0, 1))
#: The same numbers in another shape.
_SHAPES = frozenset(
    f"{name}Backward{k}"
    for name in ("Alias", "Clone", "ReshapeAlias", "Squeeze", "UnsafeView", "Unsqueeze", "View")
    for k in (0, 1)
)


def pull_of(node: Any, num_nodes: int) -> Pull | None:
    """The step of a node, or None where it is none of those known here.

    Every output and input must have a row for each node of the graph.
    """
    wanted = {k: to for k, to in enumerate(node.next_functions) if to[0] is not None}
    out, into = _shape(node, 0), {k: _shape(*to) for k, to in wanted.items()}
    if any(not shape or shape[0] != num_nodes for shape in (out, *into.values())):
        return None
    name = node.name()
    if name in _ELEMENTWISE:
        return _elementwise(node, out, into)
    if name == "CatBackward0":
        return _Joined(into) if _last(node, out) else None
    if len(wanted) != 1:
        return _addmm(node, wanted) if name == "AddmmBackward0" else None
    ((place, shape),) = into.items()
    if name in _SHAPES:
        return Same(place)
    if name in ("MmBackward0", "AddmmBackward0"):
        return _addmm(node, wanted)
    if name == "SliceBackward0":
        return _slice(node, shape, place)
    if name in ("SplitBackward0", "SplitWithSizesBackward0"):
        return _Split(node, place) if _last(node, shape) else None
    product = recorded_product(node)
    if product is None or (product.weight is not None and product.weight.size(1) != 1):
        return None
    return Sparse(product, num_nodes, place)


class Same:
    """Passes a gradient on."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __call__(self, grads: Blocks, ground: Ground) -> Blocks:
        return {self.place: grads[0]}


def summed(a: Block, b: Block) -> Block:
    """The sum of two gradients, in the place of the one of more rows."""
    more, less = (a, b) if a.level >= b.level else (b, a)
    more.value[: less.value.size(0)] += less.value
    return more


class Sparse:
    """A sparse product with constants: a gradient meets the transpose, and reaches one hop farther.

    The gradient is one of fewer rows before the product than after it, so a matrix that follows is applied
    first, where it is not wider; and a scale that comes last is applied to rows as they are written.

    Shapes: adj ``[N, N]``, weight ``[E]`` in slot order, or None for ones.
    """

    def __init__(self, product: Any, num_nodes: int, place: int) -> None:
        self.adj = CSR.trusted(product.indptr, product.indices, num_nodes)
        self.place, self.key = place, tuple(None if t is None else (t.data_ptr(), t.shape) for t in product)
        self.matrix: Tensor | None = None
        self.scale: Scale | None = None
        self.weight: Tensor | None = None if product.weight is None else product.weight[:, 0]
        ends = (self.adj.indices.long(), self.adj.rows)
        for scale, end in zip((product.col_scale, product.row_scale), ends, strict=True):
            if scale is not None:
                self.weight = scale[end] if self.weight is None else self.weight * scale[end]

    def takes(self, pull: Any) -> bool:
        """Whether the step that follows is done here from now on."""
        if self.scale is not None:
            return False
        if isinstance(pull, Matrix) and pull.added is None and self.matrix is None:
            narrow = pull.matrix.size(1) <= pull.matrix.size(0)
            self.matrix = pull.matrix if narrow else None
            return narrow
        if isinstance(pull, Elementwise) and len(pull.by) == 1:
            (self.scale,) = pull.by.values()
            return True
        return False

    def __call__(self, grads: Blocks, ground: Ground) -> Blocks:
        grad, level = grads[0]
        adj, slot = ground.transposed(self.adj)
        weight = None
        if self.weight is not None:
            at = self.weight
            weight = ground.once(self.key, lambda: at[slot].to(grad.dtype))
        if self.matrix is not None:
            grad = grad @ self.matrix
        scale = self.scale.by if self.scale is not None and self.scale.by_node else None
        out = leading_sum(adj, grad, ground.rows[level + 1], weight, scale, ground.node)
        if self.scale is not None and scale is None:
            out = self.scale(out, ground)
        return {self.place: Block(out, level + 1)}


class Scale:
    """A product with a number, a row, or a row for each node: ``[1, 1]``, ``[1, F]`` or ``[N, F]``."""

    def __init__(self, by: Tensor) -> None:
        by = by.detach()
        one = by[:1, :1]
        row = by[:1] if torch.equal(by[:1], by[-1:]) and bool((by == by[:1]).all()) else None
        plain = row is not None and bool((row == one).all())
        self.same = plain and float(one) == 1
        self.by_node = row is None
        self.by = by if row is None else one.clone() if plain else row.clone()

    def __call__(self, grad: Tensor, ground: Ground) -> Tensor:
        if self.same:
            return grad
        if not self.by_node:
            return grad.mul_(self.by)
        rows = grad.size(0)
        by = ground.once((self, rows), lambda: self.by.index_select(0, ground.node[:rows]))
        return grad.mul_(by[:, None])


class Elementwise:
    """Each input of a function of single numbers has the gradient times a derivative."""

    def __init__(self, by: dict[int, Scale]) -> None:
        self.by = by

    def __call__(self, grads: Blocks, ground: Ground) -> Blocks:
        grad, level = grads[0]
        *others, last = self.by
        out = {place: Block(self.by[place](grad.clone(), ground), level) for place in others}
        out[last] = Block(self.by[last](grad, ground), level)
        return out


def _elementwise(node: Any, out: Any, into: dict[int, Any]) -> Pull | None:
    if any(shape != out for shape in into.values()) or getattr(node, "_saved_training", False):
        return None
    meta = node._input_metadata[0]
    found = node(torch.ones(out, dtype=meta.dtype, device=meta.device))
    found = found if isinstance(found, tuple) else (found,)
    by = {k: Scale(found[k].reshape(out[0], -1)) for k in into}
    if len(by) == 1 and all(scale.same for scale in by.values()):
        return Same(*by)
    return Elementwise(by)


class Matrix:
    """Rows times a matrix."""

    def __init__(self, matrix: Tensor, place: int, added: int | None, beta: float) -> None:
        self.matrix, self.place, self.added, self.beta = matrix, place, added, beta

    def __call__(self, grads: Blocks, ground: Ground) -> Blocks:
        grad, level = grads[0]
        out = {self.place: Block(grad @ self.matrix, level)}
        if self.added is not None:
            out[self.added] = Block(grad if self.beta == 1 else grad.mul_(self.beta), level)
        return out


def _addmm(node: Any, wanted: dict[int, Any]) -> Pull | None:
    """Of ``mm`` the first input may want a gradient, of ``addmm`` the first two."""
    first = 0 if node.name() == "MmBackward0" else 1
    if first not in wanted or first + 1 in wanted:
        return None
    alpha = getattr(node, "_saved_alpha", 1)
    matrix = node._saved_mat2.t() if alpha == 1 else alpha * node._saved_mat2.t()
    return Matrix(matrix, first, 0 if first and 0 in wanted else None, getattr(node, "_saved_beta", 1))


class _Joined:
    """Inputs side by side: each has its columns."""

    def __init__(self, into: dict[int, Any]) -> None:
        self.into = into

    def __call__(self, grads: Blocks, ground: Ground) -> Blocks:
        grad, level = grads[0]
        parts = torch.split(grad, [shape[1] for shape in self.into.values()], dim=2)
        return {k: Block(part.contiguous(), level) for k, part in zip(self.into, parts, strict=True)}


class _Split:
    """Outputs side by side: the input has all their columns."""

    def __init__(self, node: Any, place: int) -> None:
        self.place = place
        self.widths = [meta.shape[1] for meta in node._input_metadata]

    def __call__(self, grads: Blocks, ground: Ground) -> Blocks:
        level = max(block.level for block in grads.values())
        one = next(block.value for block in grads.values() if block.level == level)
        out = one.new_zeros(one.size(0), one.size(1), sum(self.widths))
        parts = torch.split(out, self.widths, dim=2)
        for k, (grad, _) in grads.items():
            parts[k][: grad.size(0)] = grad
        return {self.place: Block(out, level)}


def _slice(node: Any, shape: Any, place: int) -> Pull | None:
    """Some columns; or all rows."""
    start, end, step = node._saved_start, node._saved_end, node._saved_step
    if step != 1:
        return None
    if _signed(node._saved_dim) == 0:
        return Same(place) if start == 0 and end >= shape[0] else None
    if len(shape) != 2:
        return None
    width = shape[1]

    def pull(grads: Blocks, ground: Ground) -> Blocks:
        grad, level = grads[0]
        out = grad.new_zeros(grad.size(0), grad.size(1), width)
        out[:, :, start:end] = grad
        return {place: Block(out, level)}

    return pull


def _last(node: Any, shape: Any) -> bool:
    """Whether a node joins or splits the columns of matrices."""
    return len(shape) == 2 and _signed(node._saved_dim) in (1, -1)


def _signed(number: int) -> int:
    """A number that torch saved without its sign."""
    return number - 2**64 if number >= 2**63 else number


def _shape(node: Any, number: int) -> tuple[int, ...]:
    """The shape of an output of a node."""
    return tuple(node._input_metadata[number].shape)
