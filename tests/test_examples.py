"""Each script in examples/ runs in its own process on small settings and prints a score."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


def test_the_promised_examples_exist() -> None:
    promised = {
        "accelerate",
        "cuda_graph",
        "custom_gnn",
        "graph_classification",
        "hypergraph",
        "link_prediction",
        "neighbor_sampling",
        "node_classification",
    }
    assert promised <= {p.stem for p in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_example_runs(script: Path, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in {"GNNLIB_DATA", "THP_MEM_ALLOC_ENABLE"}}
    env |= {"PYTHONPATH": str(ROOT), "GNNLIB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(script), "--quick"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    if script.stem == "cuda_graph" and not torch.cuda.is_available():
        assert "no CUDA device" in done.stdout
        return
    scores = [float(s) for s in re.findall(r"^test \S+ ([\d.]+)$", done.stdout, re.MULTILINE)]
    assert len(scores) == 1, done.stdout
    assert 0 < scores[0] <= 1
    assert not [p.name for p in tmp_path.iterdir() if p.name != "cache"], "an example left files behind"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_example_fits_on_two_screens(script: Path) -> None:
    assert len(script.read_text("utf-8").splitlines()) <= 110


def test_the_code_in_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GNNLIB_CACHE": str(tmp_path)}
    code = "\n".join([*blocks, "Net(data.num_features, 10)(data.x, data.edge_index)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr
