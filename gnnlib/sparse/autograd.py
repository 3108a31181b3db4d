"""Defines an op once, for eager code and for the compiler.

Eager calls go through a thin ``autograd.Function``; traced ones through an operator registered with
``torch.library``, so that a compiled model sees one node. Both share the forward, the backward and what
is saved between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from gnnlib.sparse.cache import structures

_PLAIN = (Tensor, Parameter)


def traced(*tensors: Tensor | None) -> bool:
    """Whether a tracer (Dynamo, AOTAutograd, fake tensors) sees this call instead of executing it."""
    if torch.compiler.is_compiling():
        return True
    return any(t is not None and type(t) not in _PLAIN for t in tensors)


def define(
    name: str,
    schema: str,
    forward: Callable[..., Any],
    fake: Callable[..., Any],
    setup: Callable[[Any, tuple[Any, ...], Any], None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Return the callable of an op and register ``gnnlib::name`` with the given schema.

    Args:
        forward: computes the result from the schema's arguments.
        fake: the same on tensors without data.
        setup: ``setup(ctx, inputs, output)`` saves what the backward needs.
        backward: ``backward(ctx, *grads)``, made of differentiable ops, one gradient an argument. In eager
            code ``ctx.adj`` is the ``adj`` keyword of the call: the CSR whose cached transpose the backward
            would otherwise rebuild.
    """
    op = torch.library.custom_op(f"gnnlib::{name}", _unremembered(forward), mutates_args=(), schema=schema)
    op.register_fake(fake)
    if setup is None or backward is None:
        constant = _constant(name, forward)

        def plain(*args: Any) -> Any:
            if traced(*(a for a in args if isinstance(a, Tensor))):
                return op(*args)
            if torch._C._are_functorch_transforms_active():
                if any(isinstance(a, Tensor) and torch._C._functorch.is_batchedtensor(a) for a in args):
                    return constant.apply(*args)
                with torch._C._DisableFuncTorch():  # or it would wrap what the forward makes
                    return forward(*(bare(a) for a in args))
            return forward(*args)

        return plain

    setup, backward = _counted(setup), _reached(backward)
    op.register_autograd(backward, setup_context=setup)
    function = _eager(name, forward, setup, backward)
    transformable = _transformable(name, forward, setup, backward)

    def call(*args: Any, adj: Any = None) -> Any:
        tensors = [a for a in args if isinstance(a, Tensor)]
        if traced(*tensors):
            return op(*args)
        if torch._C._are_functorch_transforms_active():
            return transformable.apply(adj, *args)
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return function.apply(adj, *args)
        return forward(*args)

    return call


def bare(value: Any) -> Any:
    """The data of a tensor that ``torch.func.grad`` watches, for what has no derivative."""
    functorch = torch._C._functorch
    while isinstance(value, Tensor) and functorch.is_gradtrackingtensor(value):
        value = functorch.get_unwrapped(value)
    return value


def only_first(ctx: Any, output: tuple[Tensor, ...]) -> None:
    """Say in ``setup`` that only the first output has a gradient: torch fills no zeros for the others."""
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])


def _unremembered(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The forward for compiled code, which reuses a buffer for other numbers without telling torch."""

    def run(*args: Any) -> Any:
        with structures.paused():
            return forward(*args)

    return run


Forward = Callable[..., Any]
Setup = Callable[[Any, tuple[Any, ...], Any], None]


def _counted(setup: Setup) -> Setup:
    """``setup`` that also notes how many gradients the backward owes."""

    def run(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.owed = len(inputs)
        setup(ctx, inputs, output)

    return run


def _reached(backward: Callable[..., Any]) -> Callable[..., Any]:
    """``backward`` that is not run where no gradient came, which it need not expect."""

    def run(ctx: Any, *grads: Any) -> Any:
        return (None,) * ctx.owed if all(g is None for g in grads) else backward(ctx, *grads)

    return run


def _eager(name: str, forward: Forward, setup: Setup, backward: Forward) -> Any:
    """The thin form for plain eager code, whose forward takes the context itself.

    With a ``setup_context`` of its own torch would bind the arguments to a signature at every call, which
    costs more than a small kernel.
    """

    def run(ctx: Any, adj: Any, *args: Any) -> Any:
        ctx.adj = adj
        output = _owned(forward(*args))
        setup(ctx, args, output)
        return output

    return _function(name, forward=run, backward=lambda ctx, *g: (None, *in_turn(backward, ctx, g)))


def in_turn(backward: Forward, ctx: Any, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """``backward``, for one after another of the gradients that ``is_grads_batched`` sends at once."""
    legacy = torch._C._functorch.is_legacy_batchedtensor
    many = [g is not None and legacy(g) for g in grads]
    if not any(many):
        found: tuple[Any, ...] = backward(ctx, *grads)
        return found
    bare = [torch._remove_batch_dim(g, 1, 1, 0) if m else g for g, m in zip(grads, many, strict=True)]
    size = next(g.size(0) for g, m in zip(bare, many, strict=True) if m)
    if any(g is not None and legacy(g) for g in bare):
        raise NotImplementedError("gradients batched within batched gradients; call grad once for each")
    each = [backward(ctx, *(g[b] if m else g for g, m in zip(bare, many, strict=True))) for b in range(size)]
    return tuple(
        torch._add_batch_dim(torch.stack(one), 0, 1) if isinstance(one[0], Tensor) else one[0]
        for one in zip(*each, strict=True)
    )


def _owned(output: Any) -> Any:
    """The output without the mark of a view of a kernel's buffer, for which torch forbids writes in place."""
    if isinstance(output, tuple):
        return tuple(_owned(o) for o in output)
    return output.data if isinstance(output, Tensor) and output._is_view() else output


def _transformable(name: str, forward: Forward, setup: Setup, backward: Forward) -> Any:
    """The form that ``torch.func`` asks for."""

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.adj = inputs[0]
        setup(ctx, inputs[1:], output)

    made = _function(
        name,
        forward=lambda adj, *args: forward(*args),
        setup_context=save,
        backward=lambda ctx, *grads: (None, *backward(ctx, *grads)),
        vmap=lambda *given: each_sample(made, *given),
    )
    return made


def _constant(name: str, forward: Forward) -> Any:
    """The form that ``torch.func.vmap`` asks for, of an op without derivative."""

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.owed = len(inputs)
        ctx.mark_non_differentiable(*(o for o in _several(output) if isinstance(o, Tensor)))

    made = _function(
        name,
        forward=forward,
        setup_context=save,
        backward=lambda ctx, *grads: (None,) * ctx.owed,
        vmap=lambda *given: each_sample(made, *given),
    )
    return made


def _several(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


def each_sample(function: Any, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
    """The rule of ``torch.func.vmap``: the function for one sample after another."""

    def sample(b: int) -> tuple[Any, ...]:
        given = (a if d is None else a.select(d, b) for a, d in zip(args, in_dims, strict=True))
        return _several(function.apply(*given))

    found = zip(*(sample(b) for b in range(info.batch_size)), strict=True)
    outputs = tuple(torch.stack(o) if isinstance(o[0], Tensor) else o[0] for o in found)
    dims = tuple(0 if isinstance(o, Tensor) else None for o in outputs)
    return (outputs, dims) if len(outputs) > 1 else (outputs[0], dims[0])


def _function(name: str, **members: Callable[..., Any]) -> Any:
    return type(name, (torch.autograd.Function,), {k: staticmethod(v) for k, v in members.items()})
