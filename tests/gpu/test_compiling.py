"""The kernels compile for an H100, whether there is one or not."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gnnlib.sparse import registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compiled() -> dict[str, list[dict[str, Any]]]:
    """Kernels by op, compiled by a process without the interpreter."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.compiling"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_every_kernel_compiles(compiled: dict[str, list[dict[str, Any]]]) -> None:
    written = {op for op in registry.ops() if "gpu" in {k.backend for k in registry.load(op)}}
    assert written <= set(compiled), f"add a call to tests/gpu/compiling.py: {written - set(compiled)}"


@pytest.mark.parametrize("op", ["spmm", "spmm_arg", "sddmm"])
def test_a_row_of_100_floats_is_read_16_bytes_at_a_time(
    compiled: dict[str, list[dict[str, Any]]], op: str
) -> None:
    first = next(run for run in compiled[op] if run["dtype"] == "torch.float32")
    assert first["kernels"][0]["wide"] >= 4  # four rows in flight
