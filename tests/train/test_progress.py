"""What is shown while a model trains: live on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from gnnlib import data
from gnnlib.train import LiveProgress, PlainProgress, Progress, progress_on
from gnnlib.train import progress as module
from gnnlib.train.progress import shown, span


class Clock:
    """A clock that moves when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def watch(progress: Progress, clock: Clock, *, epochs: int, seconds: float) -> None:
    """Two runs of so many epochs of so many seconds."""
    with progress:
        progress.begin("karate with gcn", 2, epochs, data.get_metric("accuracy"))
        for index in range(2):
            progress.run_begin(f"seed-{index}", index, 0)
            for epoch in range(1, epochs + 1):
                clock.now += seconds
                progress.epoch(epoch, 1 / epoch, 0.5, 0.75)
            progress.run_end(f"seed-{index}", epochs, {"val": 0.75, "test": None}, epochs * seconds)
        progress.note("done")


def test_plain_lines_come_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, out = Clock(monkeypatch), io.StringIO()
    watch(PlainProgress(Console(file=out, width=40)), clock, epochs=12, seconds=1.0)
    lines = out.getvalue().splitlines()
    assert lines[0] == "karate with gcn"
    assert lines[1] == ("seed-0 (1/2)  epoch 5/12  loss 0.2000  val accuracy 50.00 (best 75.00)  19 s left")
    assert lines[2].startswith("seed-0 (1/2)  epoch 10/12")
    assert lines[2].endswith("14 s left")
    assert lines[3] == "seed-0 (1/2)  12 epochs  accuracy: val 75.00  test -  12 s"
    assert lines[-1] == "done"
    assert len(lines) == 7


def test_short_runs_have_their_closing_line_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, out = Clock(monkeypatch), io.StringIO()
    watch(PlainProgress(Console(file=out)), clock, epochs=40, seconds=0.1)
    assert len(out.getvalue().splitlines()) == 4


def test_the_live_line_shows_loss_metric_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, legacy_windows=False)
    progress = LiveProgress(console)
    clock = Clock(monkeypatch)
    progress.begin("karate with gcn", 1, 10, data.get_metric("accuracy"))
    with progress:
        progress.run_begin("seed-0", 0, 0)
        clock.now += 2.0
        progress.epoch(4, 0.25, 0.5, 0.75)
        progress._bars.refresh()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "4/10" in text
    assert "loss 0.2500  val accuracy 50.00 (best 75.00)  3.0 s left" in text


def test_the_display_follows_the_console() -> None:
    assert isinstance(progress_on(Console(file=io.StringIO())), PlainProgress)
    assert isinstance(progress_on(Console(file=io.StringIO(), force_terminal=True)), LiveProgress)


def test_words() -> None:
    assert [span(s) for s in (3.21, 42.4, 61, 3599.6, 7325)] == [
        "3.2 s", "42 s", "1 min 01 s", "1 h 00 min", "2 h 02 min",
    ]  # fmt: skip
    assert [shown(v, k) for v, k in ((0.8151, "multiclass"), (1.23456, "regression"), (None, "binary"))] == [
        "81.51", "1.235", "-",
    ]  # fmt: skip
