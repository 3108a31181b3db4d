"""The one place that knows lightning-fabric: device, precision, backward."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from gnnlib.train.config import TrainConfig

__all__ = ["device_text", "launch"]


def launch(config: TrainConfig) -> Any:
    """A Fabric on the one device that the config names.

    Raises: ValueError when this machine lacks that device.
    """
    fabric_class = _fabric_class()
    accelerator, devices = _accelerator(config.device)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # it announces itself on every start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = fabric_class(accelerator=accelerator, devices=devices, precision=config.precision)
    fabric.launch()
    return fabric


def _fabric_class() -> Any:
    for package in ("lightning_fabric", "lightning.fabric"):  # on its own, or inside lightning
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(package).Fabric
    raise ImportError("'lightning-fabric' is not installed; run: pip install lightning-fabric")


def _accelerator(device: str) -> tuple[str, int | list[int]]:
    if device == "auto":
        return ("cuda", 1) if torch.cuda.is_available() else ("cpu", 1)
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is no device; choose auto, cpu, cuda, cuda:1 or mps") from error
    if wanted.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (wanted.index or 0) >= count:
            raise ValueError(f"device {device!r} is not here ({count} CUDA devices); choose auto or cpu")
        return "cuda", [wanted.index or 0]
    if wanted.type == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("device 'mps' is not here; choose auto or cpu")
        return "mps", 1
    if wanted.type == "cpu":
        return "cpu", 1
    raise ValueError(f"device {device!r} is not supported in training; choose auto, cpu, cuda or mps")


def device_text(device: torch.device) -> str:
    """The device as a person names it: ``cpu``, or ``cuda:0 (NVIDIA ...)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
