"""Broken off and resumed: the same bits as a run that was left alone, whatever stopped it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnnlib import data
from gnnlib.train import Interrupted, Progress, TrainConfig, run
from gnnlib.train.loop import Run
from tests.train.conftest import graph_dataset
from tests.train.test_run import same, weights

Quick = Callable[..., TrainConfig]
Given = Callable[[data.Loaded], None]


class StopAfter(Progress):
    """Sends this process a signal after an epoch."""

    def __init__(self, epoch: int, signum: int = signal.SIGINT) -> None:
        self.at, self.signum = epoch, signum

    def epoch(self, epoch: int, loss: float, val: float | None, best: float | None) -> None:
        if epoch == self.at:
            os.kill(os.getpid(), self.signum)


def assert_equal_runs(a: Path, b: Path) -> None:
    """Everything but times is equal, to the bit."""
    for name in ("last.ckpt", "best.ckpt"):
        assert same(weights(a, name), weights(b, name))
    states = [torch.load(folder / "last.ckpt", weights_only=True) for folder in (a, b)]
    assert torch.equal(states[0]["random"]["torch"], states[1]["random"]["torch"])
    assert torch.equal(states[0]["generator"], states[1]["generator"])
    histories = [json.loads((folder / "history.json").read_text()) for folder in (a, b)]
    for history in histories:
        del history["seconds"]
    assert histories[0] == histories[1]
    records = [json.loads((folder / "metrics.json").read_text()) for folder in (a, b)]
    for key in ("metrics", "losses", "best_epoch", "epochs", "stopped"):
        assert records[0][key] == records[1][key]
    with np.load(a / "predictions.npz") as first, np.load(b / "predictions.npz") as second:
        assert first.files == second.files
        assert all(np.array_equal(first[k], second[k], equal_nan=True) for k in first.files)


@pytest.mark.parametrize("stop", [1, 7, 11, 12])
@pytest.mark.parametrize("task", ["node", "link", "graph"])
def test_an_interrupted_run_ends_with_the_bits_of_an_unbroken_one(
    task: str, stop: int, quick: Quick, given: Given, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "node": {"lr_schedule": "cosine"},
        "link": {"dataset": "les-miserables", "model": "gae", "batch_size": 50},
        "graph": {
            "dataset": "rings",
            "model": "gin",
            "batch_size": 5,
            "patience": 6,
            "lr_schedule": "step",
            "lr_step": 4,
        },
    }[task]
    if task == "graph":
        given(graph_dataset())
    config = quick(epochs=12, **options)
    whole = run(config.replace(out=str(tmp_path / "whole")))
    with pytest.raises(
        Interrupted, match=r"SIGINT: stopped after epoch \d+ of 12, saved; resume with: gnnlib train"
    ):
        run(config, progress=StopAfter(stop if whole.runs[0]["epochs"] >= stop else whole.runs[0]["epochs"]))
    torch.rand(3)
    resumed = run(config, resume=True)
    assert_equal_runs(whole.path / "seed-0", resumed.path / "seed-0")


def test_early_stopping_counts_on_after_resuming(quick: Quick, tmp_path: Path) -> None:
    config = quick(epochs=300, patience=9)
    whole = run(config.replace(out=str(tmp_path / "whole")))
    epochs = whole.runs[0]["epochs"]
    assert whole.runs[0]["stopped"] == "patience"
    with pytest.raises(Interrupted):
        run(config, progress=StopAfter(epochs - 3))
    assert_equal_runs(whole.path / "seed-0", run(config, resume=True).path / "seed-0")


def test_a_second_seed_is_not_disturbed_by_the_first(quick: Quick, tmp_path: Path) -> None:
    both = run(quick(seeds=(0, 1)))
    alone = run(quick(seeds=(1,), out=str(tmp_path / "alone")))
    assert_equal_runs(both.path / "seed-1", alone.path / "seed-1")


def test_sigterm_saves_too(quick: Quick) -> None:
    before = signal.getsignal(signal.SIGINT)  # a background job may start with SIGINT ignored
    with pytest.raises(Interrupted) as stop:
        run(quick(epochs=50), progress=StopAfter(4, signal.SIGTERM))
    assert stop.value.signum == signal.SIGTERM
    path = Path(quick().out or "") / "seed-0" / "last.ckpt"
    assert torch.load(path, weights_only=True)["epoch"] == 4
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_between_runs_names_the_command(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Run) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "resume", stop)
    with pytest.raises(Interrupted, match=r"interrupted; resume with: gnnlib train --resume --out .*run$"):
        run(quick())


def test_resume_points_come_by_the_clock(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    honest = Run.save

    def save(self: Run) -> None:
        saved.append(self.epoch)
        honest(self)

    monkeypatch.setattr(Run, "save", save)
    run(quick(epochs=4, checkpoint_seconds=3600, out=str(quick().out) + "-a"))
    assert saved == [4]
    saved.clear()
    run(quick(epochs=4, checkpoint_seconds=0))
    assert saved == [1, 2, 3, 4, 4]


def test_a_checkpoint_of_another_model_is_refused(quick: Quick, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(quick(epochs=50), progress=StopAfter(2))
    other = quick(epochs=50, model="mlp", out=str(tmp_path / "mlp"))
    with pytest.raises(Interrupted):
        run(other, progress=StopAfter(2))
    foreign = tmp_path / "run" / "seed-0" / "last.ckpt"
    (tmp_path / "mlp" / "seed-0" / "last.ckpt").write_bytes(foreign.read_bytes())
    with pytest.raises(
        ValueError, match=r"last.ckpt belongs to model 'gcn', but this run has model 'mlp'; give the"
    ):
        run(other, resume=True)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "pickle"])
def test_a_damaged_checkpoint_is_refused(damage: str, quick: Quick, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(quick(epochs=50), progress=StopAfter(2))
    path = tmp_path / "run" / "seed-0" / "last.ckpt"
    content = path.read_bytes()
    if damage == "pickle":
        torch.save({"format": 1, "identity": {}, "run": os.system}, path)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "text": b"hello", "empty": b""}[damage])
    with pytest.raises(
        ValueError, match=r"last.ckpt cannot be read: it is damaged or no checkpoint of gnnlib"
    ):
        run(quick(epochs=50), resume=True)


ARGUMENTS = ["train", "karate", "gcn", "--seeds", "1", "--set", "checkpoint_seconds=0"]
SEVERAL = """
import sys
from gnnlib.cli import main
for line in sys.argv[1:]:
    try:
        main(line.split(","))
    except SystemExit as done:
        if done.code:
            raise
"""


def start(*calls: list[str]) -> subprocess.Popen[str]:
    """Run ``gnnlib`` with each of these argument lists, one after another, in a new process."""
    return subprocess.Popen(
        [sys.executable, "-c", SEVERAL, *(",".join(call) for call in calls)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_a_killed_process_resumes_to_the_same_bits(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    arguments = [*ARGUMENTS, "--epochs", "150"]
    process = start([*arguments, "--out", str(killed)])
    wait_for(killed / "seed-0" / "best.ckpt", process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "seed-0" / "metrics.json").exists()
    state = torch.load(killed / "seed-0" / "last.ckpt", weights_only=True)
    assert 0 < state["epoch"] < 150
    process = start([*arguments, "--out", str(killed), "--resume"], [*arguments, "--out", str(whole)])
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert_equal_runs(whole / "seed-0", killed / "seed-0")


def test_ctrl_c_leaves_a_checkpoint_and_one_line(tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = start([*ARGUMENTS, "--epochs", "100000", "--set", "patience=none", "--out", str(out)])
    wait_for(out / "seed-0" / "best.ckpt", process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("SIGINT: stopped after epoch ")
    assert last.endswith(f"resume with: gnnlib train --resume --out {out}")
    assert not output
    epoch = torch.load(out / "seed-0" / "last.ckpt", weights_only=True)["epoch"]
    assert f"after epoch {epoch} of 100000" in last
