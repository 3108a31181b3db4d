"""``gnnlib doctor --warm`` leaves no kernel cold.

It stands behind the tests of the ops, in a file that comes after theirs: what they have compiled is on disk.
A process of its own has no forms but those of the dtype that it warms.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import torch
from gnnlib.sparse.native.launch import Launcher
from gnnlib.sparse.warm import warm

steps = []
done = warm(lambda what, at, total: steps.append((at, total)), dtypes=(torch.float32,))
assert set(done.kernels) >= {"spmm"}
for kernel in Launcher.kernels:
    assert kernel.compiled.signatures, f"no call in gnnlib/sparse/warm.py reaches {kernel.name}"
assert [at for at, _ in steps] == sorted(at for at, _ in steps)
assert steps[-1][0] == steps[-1][1]
"""


@pytest.mark.timeout(900)  # run alone, it compiles everything
def test_warming_compiles_every_kernel() -> None:
    pytest.importorskip("numba")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
