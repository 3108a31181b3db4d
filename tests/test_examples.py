"""Each script in examples/ runs in its own process on small settings and prints a score."""

from __future__ import annotations

import multiprocessing
import os
import re
import runpy
import subprocess
import sys
from multiprocessing.context import ForkServerContext
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


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """New processes that hold the imports of the examples already: five seconds less for each script."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gnnlib.data", "gnnlib.models", "gnnlib.train", "torch_geometric.nn"])
    return context


def run_script(script: Path, folder: Path) -> None:
    """What ``python SCRIPT --quick`` does in an empty folder, without a data root; prints to ``printed``."""
    for name in ("GNNLIB_DATA", "THP_MEM_ALLOC_ENABLE"):
        os.environ.pop(name, None)
    os.environ["GNNLIB_CACHE"] = str(folder / "cache")
    os.chdir(folder)
    out = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = [str(script), "--quick"]
    runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_example_runs(script: Path, tmp_path: Path, processes: ForkServerContext) -> None:
    process = processes.Process(target=run_script, args=(script, tmp_path))
    process.start()
    process.join(240)
    if process.is_alive():
        process.kill()
    printed = (tmp_path / "printed").read_text("utf-8")
    assert process.exitcode == 0, printed
    if script.stem == "cuda_graph" and not torch.cuda.is_available():
        assert "no CUDA device" in printed
        return
    scores = [float(s) for s in re.findall(r"^test \S+ ([\d.]+)$", printed, re.MULTILINE)]
    assert len(scores) == 1, printed
    assert 0 < scores[0] <= 1
    assert {p.name for p in tmp_path.iterdir()} <= {"cache", "printed"}, "an example left files behind"


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
