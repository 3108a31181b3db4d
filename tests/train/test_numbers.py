"""NaN and infinity: refused before training, named during training, and the last good weights stay."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gnnlib import data
from gnnlib.train import TrainConfig, run
from gnnlib.train.loop import Run
from gnnlib.train.tasks import NodeTask
from tests.train.conftest import graph_dataset, with_graph
from tests.train.test_run import weights

Quick = Callable[..., TrainConfig]
Given = Callable[[data.Loaded], None]


def test_features_with_nan_are_refused_before_training(quick: Quick, given: Given) -> None:
    loaded = data.load("karate")
    x = loaded.dataset[0].x.clone()
    x[17, 3] = math.nan
    given(with_graph(loaded, x=x))
    with pytest.raises(
        ValueError, match=r"karate: x holds NaN at \[17, 3\] \(1 bad values in 1 rows of 34\)"
    ):
        run(quick())
    assert not Path(quick().out or "").exists()


def test_graph_features_with_infinity_are_refused(quick: Quick, given: Given) -> None:
    loaded = graph_dataset()
    loaded.dataset._data.x[2, 0] = math.inf
    given(loaded)
    with pytest.raises(ValueError, match=r"rings: x holds infinity at \[2, 0\]"):
        run(quick(model="gin"))


def test_a_loss_of_nan_stops_and_keeps_the_best_weights(
    quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = run(quick(epochs=4, out=str(quick().out) + "-good"))
    honest, calls = NodeTask.loss, []

    def loss(self: NodeTask, model: torch.nn.Module, batch: object) -> tuple[torch.Tensor, int]:
        calls.append(1)
        value, size = honest(self, model, batch)
        return (value * math.nan if len(calls) > 4 else value), size

    monkeypatch.setattr(NodeTask, "loss", loss)
    with pytest.raises(
        FloatingPointError,
        match=r"training stopped in epoch 5: the loss is nan; the loss itself.*best.ckpt holds the best "
        r"weights so far \(epoch \d\); lower lr",
    ):
        run(quick(epochs=20))
    kept = Path(quick().out or "") / "seed-0"
    assert all(torch.isfinite(value).all() for value in weights(kept).values())
    torch.testing.assert_close(weights(kept), weights(good.path / "seed-0"), atol=0, rtol=0)


def test_a_broken_step_names_the_parameter(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = Run._train_epoch, []

    def epoch(self: Run) -> float:
        calls.append(1)
        if len(calls) == 3:
            with torch.no_grad():
                next(p for name, p in self.raw.named_parameters() if name.endswith("bias"))[0] = math.inf
        return honest(self)

    monkeypatch.setattr(Run, "_train_epoch", epoch)
    with pytest.raises(FloatingPointError, match=r"in epoch 3: .*parameter '.*bias' holds (infinity|NaN)"):
        run(quick(epochs=20, checkpoint_seconds=0))
    folder = Path(quick().out or "") / "seed-0"
    for name in ("last.ckpt", "best.ckpt"):
        assert all(torch.isfinite(value).all() for value in weights(folder, name).values())
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 2


def test_a_rate_far_too_high_is_caught(quick: Quick) -> None:
    with pytest.raises(FloatingPointError, match="lower lr, or set grad_clip=1"):
        run(quick(epochs=200, lr=1e30, optimizer="sgd", momentum=0.0))
