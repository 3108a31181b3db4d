"""Which tensors a GPU kernel takes, and how it is started on them."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
import triton
from torch import Tensor

from gnnlib.sparse.registry import Refusal

#: Triton's interpreter runs the kernels, on the CPU: decided when this module is imported.
INTERPRETED = bool(triton.knobs.runtime.interpret)

#: The oldest compute capability that Triton compiles for.
OLDEST = (7, 0)


def needs_gpu(dtypes: frozenset[torch.dtype]) -> Refusal:
    """A refusal for kernels that take tensors of one CUDA device and floating dtypes among ``dtypes``.

    Under Triton's interpreter it takes tensors on a CPU instead.
    """

    def refuse(*args: Any) -> str | None:
        device = None
        for a in args:
            if isinstance(a, Tensor):
                if device is None:
                    device = a.device
                    if (reason := unfit(device)) is not None:
                        return reason
                elif a.device != device:
                    return f"takes tensors of one device, got {device} and {a.device}"
                if a.dtype not in dtypes and a.is_floating_point():
                    return f"does not take {a.dtype}"
        return None

    return refuse


@functools.cache
def unfit(device: torch.device) -> str | None:
    """Why no kernel runs on this device, or None."""
    if INTERPRETED:
        if device.type == "cpu":
            return None
        return f"runs in Triton's interpreter (TRITON_INTERPRET=1), which takes cpu tensors, got {device}"
    if device.type != "cuda":
        return (
            f"takes cuda tensors, got one on {device}; Triton's interpreter takes cpu tensors when "
            "TRITON_INTERPRET=1 is set before Python starts"
        )
    found = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and found < OLDEST:
        return f"Triton needs compute capability {OLDEST[0]}.{OLDEST[1]}, {device} has {found[0]}.{found[1]}"
    return None


def launch(kernel: Any, grid: tuple[int, ...], like: Tensor, *args: Any, **constants: Any) -> None:
    """Start ``kernel`` on the device of ``like``; an empty grid starts nothing."""
    if 0 in grid:
        return
    with _on(like):
        _start(kernel, grid, args, constants)


def _start(kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], constants: dict[str, Any]) -> None:
    # Said outright, since Triton's default is to change and a fused product has other bits.
    kernel[grid](*args, **constants, enable_fp_fusion=True)


def _on(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device, which another tensor's may not be."""
    index = tensor.get_device()
    if index < 0 or index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(index)
