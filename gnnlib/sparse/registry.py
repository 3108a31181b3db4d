"""Which kernels exist, which of them run here, and the choice among them.

A kernel is a function of plain tensors registered under ``(op, backend)``. :func:`dispatch` runs the
fastest one that accepts its arguments; a kernel that declines says why, and ``gnnlib doctor`` prints it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Refusal = Callable[..., str | None]
F = TypeVar("F", bound=Callable[..., Any])

#: Fastest first. The value is the package that the backend needs, if any.
BACKENDS: dict[str, str | None] = {
    "gpu": "triton",
    "cpu": "numba",
    "torch_scatter": "torch_scatter",
    "reference": None,
}

#: Ops and the folder of ``gnnlib.sparse.ops`` that holds their kernels.
OPS: dict[str, str] = {
    "additive_attention": "edge_attention",
    "additive_attention_grad": "edge_attention",
    "alias_draw": "alias",
    "alias_table": "alias",
    "arg_scatter": "spmm_arg",
    "arg_to_slots": "spmm_arg",
    "common_neighbors": "common_neighbors",
    "coo_to_csr": "build",
    "csr_transpose": "build",
    "dropout": "dropout",
    "edge_relu_sum": "edge_relu_sum",
    "edge_relu_sum_grad": "edge_relu_sum_grad",
    "multi_reduce": "multi_reduce",
    "multi_reduce_grad": "multi_reduce_grad",
    "edge_attention": "edge_attention",
    "edge_attention_grad": "edge_attention",
    "enumerate_paths": "enumerate_paths",
    "edge_matching": "edge_matching",
    "fps": "fps",
    "gated_sum": "gated_sum",
    "gated_sum_edge": "gated_sum",
    "independent_set": "independent_set",
    "leading_sum": "leading_sum",
    "lstm_step": "lstm_step",
    "lstm_step_grad": "lstm_step",
    "propagate": "propagate",
    "propagate_inject": "propagate",
    "random_walk": "random_walk",
    "rows_without": "common_neighbors",
    "sample_budget": "sample_budget",
    "sample_neighbors": "sample_neighbors",
    "scatter": "scatter",
    "sddmm": "sddmm",
    "segment_reduce": "segment_reduce",
    "segment_softmax": "segment_softmax",
    "segment_softmax_grad": "segment_softmax",
    "skipgram": "skipgram",
    "sparse_projection": "sparse_projection",
    "spgemm_pattern": "spgemm",
    "spgemm_sampled": "spgemm",
    "spgemm_values": "spgemm",
    "spmm": "spmm",
    "spmm_arg": "spmm_arg",
    "walk_windows": "skipgram",
}

FLOATS = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})


@dataclass(frozen=True)
class Kernel:
    """One implementation of an op: ``fn`` computes, ``refuse`` returns why it cannot, or None."""

    op: str
    backend: str
    fn: Callable[..., Any]
    refuse: Refusal


_kernels: dict[tuple[str, str], Kernel] = {}
_loaded: dict[str, list[Kernel]] = {}
_without_gpu: dict[str, list[Kernel]] = {}
_forced: list[str] = []


def _accept(*_: Any) -> None:
    return None


def kernel(op: str, backend: str, refuse: Refusal = _accept) -> Callable[[F], F]:
    """Register the decorated function as the kernel of ``op`` on ``backend``."""
    if op not in OPS:
        raise ValueError(f"kernel: op {op!r} is unknown; add it to gnnlib.sparse.registry.OPS")

    def register(fn: F) -> F:
        _kernels[op, backend] = Kernel(op, backend, fn, refuse)
        return fn

    return register


def needs(device: str, dtypes: frozenset[torch.dtype]) -> Refusal:
    """A refusal for kernels that take tensors of one device type and floating dtypes among ``dtypes``."""

    def refuse(*args: Any) -> str | None:
        for a in args:
            if isinstance(a, Tensor):
                if a.device.type != device:
                    return f"takes {device} tensors, got one on {a.device}"
                if a.dtype not in dtypes and a.is_floating_point():
                    return f"does not take {a.dtype}"
        return None

    return refuse


def ops() -> list[str]:
    """The names of all ops, sorted."""
    return sorted(OPS)


def _module(op: str, backend: str) -> str:
    return f"gnnlib.sparse.ops.{OPS[op]}.{backend}"


def _missing(op: str, backend: str) -> str | None:
    package = BACKENDS[backend]
    if importlib.util.find_spec(_module(op, backend)) is None:
        return f"no {backend} kernel is written for {op} yet"
    if package is not None and importlib.util.find_spec(package) is None:
        return f"the package {package!r} is not installed"
    return None


def unavailable(op: str) -> list[tuple[str, str]]:
    """Backends of ``op`` that cannot be loaded here, each with its reason."""
    return [(b, why) for b in BACKENDS if (why := _missing(op, b)) is not None]


def load(op: str) -> list[Kernel]:
    """The kernels of ``op`` whose packages are installed, fastest first; imports them on first use."""
    return _load(op, _loaded, tuple(BACKENDS))


def candidates(op: str, on_gpu: bool) -> list[Kernel]:
    """The kernels that :func:`dispatch` tries, fastest first, for tensors on a GPU or elsewhere.

    Off a GPU those of the ``gpu`` backend run in Triton's interpreter, a debugging tool, so they count only
    under ``use_backend("gpu")``. Nothing imports Triton, or asks its kernels, for a tensor on a CPU.
    """
    if on_gpu or (_forced and _forced[-1] == "gpu"):
        return _loaded.get(op) or load(op)
    return _without_gpu.get(op) or _load(op, _without_gpu, tuple(b for b in BACKENDS if b != "gpu"))


def _load(op: str, into: dict[str, list[Kernel]], backends: tuple[str, ...]) -> list[Kernel]:
    found = into.get(op)
    if found is None:
        if op not in OPS:
            raise ValueError(f"load: op {op!r} is unknown; known: {', '.join(ops())}")
        for backend in backends:
            if _missing(op, backend) is None:
                importlib.import_module(_module(op, backend))
        found = into[op] = [_kernels[op, b] for b in backends if (op, b) in _kernels]
    return found


def dispatch(op: str, *args: Any) -> Any:
    """Run ``op`` on the fastest kernel that accepts ``args``, whose first has a device as a tensor has.

    Raises:
        NotImplementedError: when none accepts them; the message lists each reason.
        ValueError: when a tensor on a GPU meets one on another device.
    """
    on_gpu = args[0].is_cuda
    found = None if on_gpu or _forced else _without_gpu.get(op)
    for k in found or candidates(op, on_gpu):
        if (not _forced or k.backend == _forced[-1]) and k.refuse(*args) is None:
            if k.backend == "reference":  # the others have refused such a mixture
                _check_devices(op, k, *args)
            try:
                return k.fn(*args)
            except torch.OutOfMemoryError as error:
                error.add_note(_no_room(k, *args))
                raise
    refusals = [
        f"  {k.backend}: "
        + (
            f"set aside by use_backend({_forced[-1]!r})"
            if _forced and k.backend != _forced[-1]
            else str(k.refuse(*args))
        )
        for k in load(op)
    ]
    refusals += [f"  {backend}: {why}" for backend, why in unavailable(op)]
    raise NotImplementedError("\n".join([f"{op}: no kernel takes these inputs", *refusals]))


def _no_room(kernel: Kernel, *args: Any) -> str:
    sizes = ", ".join(f"{list(a.shape)} {a.dtype}" for a in args if isinstance(a, Tensor))
    return (
        f"{kernel.op}: the {kernel.backend} kernel found no room for its result on {args[0].device} "
        f"(inputs {sizes}); take smaller batches (gnnlib.loader), fewer features or bfloat16"
    )


def _check_devices(op: str, kernel: Kernel, *args: Any) -> None:
    places = {
        name: a.device
        for name, a in zip(inspect.signature(kernel.fn).parameters, args, strict=False)
        if isinstance(a, Tensor)
    }
    if len(set(places.values())) > 1:
        found = ", ".join(f"{name} on {device}" for name, device in places.items())
        raise ValueError(f"{op}: tensors on different devices ({found}); move them with .to(device)")


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every op inside the ``with`` block on one backend, in every thread.

    Args:
        name: ``"reference"``, ``"cpu"``, ``"gpu"`` or ``"torch_scatter"``.

    Shapes: none; an op whose backend is missing or declines its inputs raises NotImplementedError, which
        says why.
    Raises: ValueError for an unknown name.
    """
    if name not in BACKENDS:
        raise ValueError(f"use_backend: {name!r} is no backend; choose one of {', '.join(sorted(BACKENDS))}")
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()
