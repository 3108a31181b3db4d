"""A training step recorded once as a CUDA graph and replayed: small graphs are all launches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["GraphedStep"]


class GraphedStep:
    r"""A training step of fixed shapes, recorded as one CUDA graph and replayed by every call.

    On a graph like Cora's the kernels of a step take less time than starting them one by one. A recorded step
    is started as a whole. It runs the same kernels on the same memory, so its results have the same bits.

    Args:
        step: takes nothing, does one whole step (zeroed gradients, forward, backward, optimiser) on tensors
            that are on the GPU already, and returns the loss. It is called ``warmup`` times for real, then
            once for the record. Adam and its kin need ``capturable=True``.
        warmup: steps before the record, at least 1: they build and keep the structure of the graph, compile
            kernels and make the optimiser's state.

    Shapes: ``step() -> loss``, a scalar; the call returns the same, overwritten by the next call.
    Cost: memory of one step, held as long as this object lives.
    Raises: RuntimeError without a CUDA device, or when the step does what cannot be recorded: waits for the
        device (``.item()``, a mask as an index) or copies from the CPU. Dropout of features and of attention
        can be recorded: their numbers come from the device's generator.
    """

    def __init__(self, step: Callable[[], Tensor], *, warmup: int = 3) -> None:
        if not torch.cuda.is_available():
            raise RuntimeError(
                "GraphedStep: there is no CUDA device that torch can use; call the step itself on a CPU"
            )
        if warmup < 1:
            raise ValueError(f"GraphedStep: warmup={warmup}; at least one step must run before the record")
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(warmup):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph):
                self._loss = step().detach()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise RuntimeError(
                f"GraphedStep: the step cannot be recorded ({reason}); keep .item(), copies from the CPU, "
                "masks as indices and attention dropout out of it, and give Adam capturable=True"
            ) from error

    def __call__(self) -> Tensor:
        """Do one step; its loss, which the next call overwrites."""
        self._graph.replay()
        return self._loss
