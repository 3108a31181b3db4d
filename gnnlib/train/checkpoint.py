"""Checkpoints: written whole or not at all, loaded without running pickled code, refused when foreign."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gnnlib import files

__all__ = ["check_identity", "load", "load_weights", "save"]

FORMAT = 1


def save(path: Path, content: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write a checkpoint in one step.

    Args:
        path: the file.
        content: tensors, numbers, text, and lists and dicts of these.
        identity: what it belongs to (``dataset``, ``model``, and more), checked on loading.

    Raises: OSError when the disk refuses; the file of that name is then untouched.
    """
    buffer = io.BytesIO()  # in memory first: torch hides a full disk behind an error of its own
    torch.save({"format": FORMAT, "identity": dict(identity), **content}, buffer)
    files.write_bytes(path, buffer.getvalue())


def load(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint that belongs to ``identity``, onto the CPU.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is damaged, no checkpoint of gnnlib, or belongs to something else.
    """
    try:
        stored = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"checkpoint {path} does not exist; train first, or check the path"
        ) from error
    except OSError as error:
        raise files.explain(error, path, "read") from error
    try:
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"checkpoint {path} cannot be read: it is damaged or no checkpoint of gnnlib; delete it "
            "and run again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "identity" not in content:
        raise ValueError(
            f"checkpoint {path} was not written by this version of gnnlib; delete it and run again"
        )
    check_identity(path, content["identity"], identity)
    return content


def check_identity(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another model, dataset or seed.

    Raises: ValueError naming what it belongs to and what was expected.
    """
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if not differing:
        return
    have = ", ".join(f"{key} {found.get(key)!r}" for key in differing)
    want = ", ".join(f"{key} {wanted[key]!r}" for key in differing)
    raise ValueError(
        f"checkpoint {path} belongs to {have}, but this run has {want}; give the run directory of the "
        "same run, or another --out"
    )


def load_weights(path: Path, model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Copy checkpointed weights into the model.

    Raises: ValueError naming the first entries that do not fit.
    """
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        reasons = [line.strip() for line in str(error).splitlines()[1:3]]
        raise ValueError(
            f"checkpoint {path} does not fit the model {type(model).__name__}: {' '.join(reasons)} "
            "Was it trained with other model options?"
        ) from error
