"""Each task once on real benchmark data, for a few epochs: the numbers must already point the right way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gnnlib.train import configure, run


@pytest.mark.parametrize(
    ("dataset", "model", "options", "at_least"),
    [
        ("cora", "gcn", {"epochs": 25}, 0.6),
        ("texas", "sage", {"epochs": 10}, 0.5),
        ("minesweeper", "gcn", {"epochs": 3}, 0.4),
        ("mutag", "gin", {"epochs": 5, "folds": 2}, 0.5),
        ("ogbg-molbace", "gcn", {"epochs": 1, "batch_size": 64, "hidden_channels": 16}, 0.35),
        ("ogbg-molesol", "gcn", {"epochs": 1, "batch_size": 64, "hidden_channels": 16}, 0.5),
        ("cora-links", "gae", {"epochs": 5, "negatives": "uniform"}, 0.6),
    ],
)
def test_a_short_run(
    dataset: str, model: str, options: dict[str, Any], at_least: float, data_root: Path, tmp_path: Path
) -> None:
    if dataset.startswith("ogb"):
        pytest.importorskip("ogb")
    config = configure(dataset, model, seeds=1, root=str(data_root), out=str(tmp_path / "run"), **options)
    result = run(config)
    assert result.mean("val") > at_least  # of a chance result, or of an error that cannot be smaller yet
    assert len(result.runs) == options.get("folds", 1)
