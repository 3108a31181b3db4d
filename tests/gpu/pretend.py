"""A CUDA device that is not there: tensors that say they are on one, and kept apart from those on the CPU.

Their values lie on the CPU, where every operation computes them. An operation that meets one of them and a
tensor of the CPU fails as it would on the device, so does ``numpy()``, and kernels for the CPU refuse them.
What is asked for on ``cuda`` is one of them. With ``kernels=True`` the GPU kernels take them, in Triton's
interpreter, and only them; otherwise the reference serves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)


class Pretended(Tensor):
    """A tensor on the pretended device; ``held`` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        # Autograd asks the device behind the tensor for a guard, which this build has for "meta" alone.
        made: Pretended = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
        )
        made.held = held
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_meta = is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return 0

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert a tensor on the pretended device to numpy")

    __array__ = numpy

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Pretended({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Pretended) else value


def _pretended(value: Any) -> Any:
    return Pretended(value) if isinstance(value, Tensor) else value


#: Operations that take tensors of two devices: copies, and an index on the CPU.
_BETWEEN = {"_to_copy", "copy_", "index", "index_put", "index_put_", "_index_put_impl_"}
#: Operations that answer with a Python value.
_ANSWERS = {"_local_scalar_dense", "equal", "is_same_size"}


def _compute(func: Any, args: Any, kwargs: Any) -> Any:
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    there = any(isinstance(t, Pretended) for t in tensors)
    name = func.overloadpacket.__name__
    if there and name not in _BETWEEN:
        for t in tensors:
            if not isinstance(t, Pretended) and t.dim():  # a scalar may lie on the CPU
                raise RuntimeError(f"{name}: expected all tensors on one device, got some on the CPU")
    if (device := kwargs.get("device")) is not None:  # "meta" where torch itself asks for a tensor's device
        there = torch.device(device).type in ("cuda", "meta")
        kwargs = {**kwargs, "device": torch.device("cpu")}
    out = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if not there or name in _ANSWERS:
        return out
    if torch.Tag.inplace_view in func.tags:
        with torch._C._DisableTorchDispatch():  # the shape that is shown follows
            func(*args, **kwargs)
    given = {id(t.held): t for t in tensors if isinstance(t, Pretended)}
    return tree_map(lambda o: given[id(o)] if id(o) in given else _pretended(o), out)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _FromValues(TorchFunctionMode):
    """``torch.tensor`` copies values to a device below the modes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.new_tensor and isinstance(args[0], Pretended) and "device" not in kwargs:
            return Pretended(func(*tree_map(_held, args), **kwargs))
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            made = func(*tree_map(_held, args), **{**kwargs, "device": "cpu"})
            return Pretended(made) if torch.device(kwargs["device"]).type == "cuda" else made
        return func(*args, **kwargs)


@contextlib.contextmanager
def pretended(patch: pytest.MonkeyPatch, *, kernels: bool) -> Iterator[None]:
    """The device is there in the ``with`` block."""
    from gnnlib.sparse import autograd

    patch.setattr(torch.cuda, "_lazy_init", lambda: None)
    patch.setattr(autograd, "_PLAIN", (*autograd._PLAIN, Pretended))
    if kernels:
        _give_kernels(patch)
    with _FromValues(), _Operations():
        yield


def _give_kernels(patch: pytest.MonkeyPatch) -> None:
    from gnnlib.sparse.gpu import launch
    from gnnlib.sparse.ops.sample_neighbors import gpu

    def unfit(device: torch.device) -> str | None:
        return None if device == CUDA else f"takes tensors on the pretended device, got one on {device}"

    def start(kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], constants: dict[str, Any]) -> None:
        assert all(isinstance(a, Pretended) for a in args if isinstance(a, Tensor)), f"{kernel}: a CPU tensor"
        with torch._C._DisableTorchDispatch():  # the interpreter reads the values
            run(kernel, grid, tuple(_held(a) for a in args), constants)

    run = launch._start
    patch.setattr(launch, "unfit", unfit)
    patch.setattr(gpu, "unfit", unfit)
    patch.setattr(launch, "_start", start)
    patch.setattr(launch, "_on", lambda tensor: contextlib.nullcontext())


class There:
    """Moves modules and tensors to a device, pretended or not."""

    def __init__(self, device: torch.device, *, real: bool) -> None:
        self.device, self.real = device, real

    def put(self, value: Any) -> Any:
        """A tensor, module, or tuple of them, moved there."""
        if isinstance(value, nn.Module):
            return value.to(self.device) if self.real else _move(value)
        if isinstance(value, Tensor):
            return value.to(self.device) if self.real else Pretended(value.detach())
        return type(value)(self.put(v) for v in value) if isinstance(value, tuple | list) else value

    def get(self, value: Tensor) -> Tensor:
        """The values of a tensor that must be there."""
        assert value.device == self.device
        return value.detach().cpu()


def _move(module: nn.Module) -> nn.Module:
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is not None:
                part._parameters[name] = nn.Parameter(Pretended(p.detach()), requires_grad=p.requires_grad)
        for name, b in part._buffers.items():
            part._buffers[name] = _pretended(b)
        if isinstance(part, nn.RNNBase):
            part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]
    return module
