"""Graph neural networks for PyTorch on one fused sparse core.

``gnnlib.sparse`` holds the core, ``gnnlib.nn`` the layers, ``gnnlib.models`` ready models,
``gnnlib.data`` the datasets, ``gnnlib.loader`` mini-batches of large graphs and ``gnnlib.train`` the
training loop; ``gnnlib.accelerate`` puts the layers of an existing PyG model on the core. Importing
``gnnlib`` loads none of them: each is imported when it is first touched.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnlib import accel, bench, data, embed, loader, models, nn, sparse, train
    from gnnlib.accel import accelerate, decelerate
    from gnnlib.diagnose import doctor
    from gnnlib.sparse import as_csr, use_backend

__version__ = "0.1.0"

__all__ = [
    "accel",
    "accelerate",
    "as_csr",
    "bench",
    "data",
    "decelerate",
    "doctor",
    "embed",
    "loader",
    "models",
    "nn",
    "sparse",
    "train",
    "use_backend",
]

_PACKAGES = frozenset({"accel", "bench", "data", "embed", "loader", "models", "nn", "sparse", "train"})
_OBJECTS = {
    "accelerate": "gnnlib.accel",
    "as_csr": "gnnlib.sparse",
    "decelerate": "gnnlib.accel",
    "doctor": "gnnlib.diagnose",
    "use_backend": "gnnlib.sparse",
}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"gnnlib.{name}")
    if name in _OBJECTS:
        value = getattr(importlib.import_module(_OBJECTS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'gnnlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
