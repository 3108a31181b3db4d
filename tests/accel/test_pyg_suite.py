"""PyG's own tests of layers, aggregations and models, with every layer accelerated."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("part", ["nn/conv", "nn/aggr", "nn/models"])
def test_pygs_tests_pass_accelerated(part: str) -> None:
    named = os.environ.get("GNNLIB_PYG_TESTS")
    if not named:
        pytest.skip("GNNLIB_PYG_TESTS is not set: it names the folder test/ of PyG's sources")
    folder = Path(named).expanduser() / part
    if not folder.is_dir():
        pytest.fail(f"GNNLIB_PYG_TESTS={named} has no folder {part}")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.accel.pyg_plugin",
            "-p",
            "no:cacheprovider",
            folder,
        ],
        cwd=folder.parents[1].parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
