"""Runs that start from the weights of another run, and models that are trained in part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gnnlib.train import Progress, TrainConfig, run

Quick = Callable[..., TrainConfig]


class Struck(Progress):
    """Breaks off after two epochs."""

    def epoch(self, epoch: int, *_: Any) -> None:
        if epoch == 2:
            raise RuntimeError("struck")


def weights(folder: Path) -> dict[str, Tensor]:
    content = torch.load(folder / "best.ckpt", weights_only=True)
    found: dict[str, Tensor] = content["model"]
    return found


def link(quick: Quick, model: str = "ncn", **options: Any) -> TrainConfig:
    sizes = {"hidden_channels": 8, **options.pop("model_options", {})}
    return quick(dataset="les-miserables", model=model, batch_size=64, model_options=sizes, **options)


def test_a_run_starts_from_its_seed_there_or_from_the_best(quick: Quick, tmp_path: Path) -> None:
    first = run(quick(seeds=2, out=str(tmp_path / "first")))
    again = run(quick(seeds=3, epochs=0, start=str(first.path), out=str(tmp_path / "again")))
    for seed in (0, 1):
        name = f"seed-{seed}"
        torch.testing.assert_close(weights(again.path / name), weights(first.path / name))
        assert again.runs[seed]["metrics"] == first.runs[seed]["metrics"]
    best = first.path / first.content["best_run"]
    torch.testing.assert_close(weights(again.path / "seed-2"), weights(best))


def test_another_model_with_the_same_parameters(quick: Quick, tmp_path: Path) -> None:
    plain = run(link(quick, out=str(tmp_path / "plain")))
    completed = run(
        link(
            quick,
            "ncnc",
            epochs=0,
            start=str(plain.path),
            model_options={"completion_weight": 0.0},
            out=str(tmp_path / "completed"),
        )
    )
    assert completed.runs[0]["metrics"] == plain.runs[0]["metrics"]


def test_a_frozen_encoder_stays_while_the_rest_learns(quick: Quick, tmp_path: Path) -> None:
    first = weights(run(link(quick, out=str(tmp_path / "first"))).path / "seed-0")
    second = run(
        link(
            quick, start=str(tmp_path / "first"), freeze_encoder=True, select="last", out=str(tmp_path / "b")
        )
    )
    after = weights(second.path / "seed-0")
    inside = [name for name in first if name.startswith("encoder.")]
    assert inside
    for name in inside:
        assert torch.equal(first[name], after[name])
    assert not torch.equal(first["predictor.lin.0.weight"], after["predictor.lin.0.weight"])


def test_a_resumed_run_does_not_start_again(quick: Quick, tmp_path: Path) -> None:
    first = run(quick(out=str(tmp_path / "first")))
    whole = run(quick(start=str(first.path), out=str(tmp_path / "whole")))

    parts = quick(start=str(first.path), checkpoint_seconds=0.0, out=str(tmp_path / "parts"))
    with pytest.raises(RuntimeError, match="struck"):
        run(parts, progress=Struck())
    assert (tmp_path / "parts" / "seed-0" / "last.ckpt").exists()
    resumed = run(parts, resume=True)
    torch.testing.assert_close(weights(resumed.path / "seed-0"), weights(whole.path / "seed-0"))


def test_what_cannot_start_is_told(quick: Quick, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"option start is .*nowhere, which is no run directory"):
        run(quick(start=str(tmp_path / "nowhere")))
    assert not (tmp_path / "run").exists()
    narrow = run(quick(model_options={"hidden_channels": 4}, out=str(tmp_path / "narrow")))
    with pytest.raises(ValueError, match=r"does not fit the model .*Was it trained with other model options"):
        run(quick(model_options={"hidden_channels": 8}, start=str(narrow.path), out=str(tmp_path / "wide")))
    with pytest.raises(ValueError, match="freeze_encoder: model 'gae' has no parameters outside its encoder"):
        run(
            quick(
                dataset="les-miserables", model="gae", freeze_encoder=True, out=str(tmp_path / "nothing left")
            )
        )


def test_links_are_ranked_in_full_precision(quick: Quick, tmp_path: Path) -> None:
    """In bfloat16, with its eight bits, most scores of many pairs would be the same."""
    result = run(link(quick, precision="bf16-mixed", out=str(tmp_path / "short")))
    with np.load(result.path / "seed-0" / "predictions.npz") as kept:
        score = torch.from_numpy(kept["test_score"])
    assert (score != score.bfloat16().float()).float().mean() > 0.9
