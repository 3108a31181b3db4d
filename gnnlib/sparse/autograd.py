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

_PLAIN = (Tensor, Parameter)


def traced(*tensors: Tensor | None) -> bool:
    """Whether this call is seen by a tracer (Dynamo, AOTAutograd, fake tensors) instead of executed."""
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
        forward: computes the result from the schema's arguments; the last one may be an eager-only
            ``adj`` keyword, the CSR whose cached transpose the backward would otherwise rebuild.
        fake: the same on tensors without data.
        setup: ``setup(ctx, inputs, output)`` saves what the backward needs.
        backward: ``backward(ctx, *grads)``, made of differentiable ops, one gradient an argument.
    """
    op = torch.library.custom_op(f"gnnlib::{name}", forward, mutates_args=(), schema=schema)
    op.register_fake(fake)
    if setup is None or backward is None:

        def plain(*args: Any) -> Any:
            if traced(*(a for a in args if isinstance(a, Tensor))):
                return op(*args)
            return forward(*args)

        return plain

    op.register_autograd(backward, setup_context=setup)
    function = type(
        name,
        (torch.autograd.Function,),
        {
            "forward": staticmethod(lambda _, *args: forward(*args)),
            "setup_context": staticmethod(
                lambda ctx, inputs, output: _eager_setup(setup, ctx, inputs, output)
            ),
            "backward": staticmethod(lambda ctx, *grads: (None, *backward(ctx, *grads))),
        },
    )

    def call(*args: Any, adj: Any = None) -> Any:
        tensors = [a for a in args if isinstance(a, Tensor)]
        if traced(*tensors):
            return op(*args)
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return function.apply(adj, *args)  # type: ignore[attr-defined]
        return forward(*args)

    return call


def _eager_setup(
    setup: Callable[[Any, tuple[Any, ...], Any], None], ctx: Any, inputs: tuple[Any, ...], output: Any
) -> None:
    ctx.adj = inputs[0]
    setup(ctx, inputs[1:], output)
