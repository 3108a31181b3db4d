"""TU datasets by any name: folds, features from the structure, regression."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gnnlib.data import load
from gnnlib.data.readers import tu
from tests.data.tiny import write_tu

pytestmark = pytest.mark.usefixtures("cache")


def test_a_set_without_features_gets_degrees(tmp_path: Path) -> None:
    write_tu(tmp_path, "RINGS")
    loaded = load("TU:RINGS", tmp_path)
    assert (loaded.task, loaded.num_features, loaded.num_outputs, loaded.metric.name) == (
        "graph",
        3,
        2,
        "accuracy",
    )
    assert len(loaded.splits) == 10
    assert loaded.split.test.numel() == 2
    for graph in loaded.dataset:
        assert graph.x.tolist() == [[0.0, 0.0, 1.0]] * graph.num_nodes  # every node of a ring has degree 2
        assert graph.num_nodes in (3, 4)


def test_large_hubs_get_a_constant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tu, "_WIDEST", 1)
    write_tu(tmp_path, "RINGS")
    assert load("TU:RINGS", tmp_path).dataset[3].x.equal(torch.ones(4, 1))


def test_real_targets_make_a_regression(tmp_path: Path) -> None:
    write_tu(tmp_path, "RINGS", attributes=True)
    loaded = load("TU:RINGS", tmp_path)
    assert (loaded.metric.name, loaded.metric.kind, loaded.num_outputs) == ("mae", "regression", 1)
    assert float(loaded.dataset[3].y) == 1.5


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    raw = write_tu(tmp_path, "RINGS")
    (raw / "RINGS_graph_labels.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"RINGS/raw/RINGS_graph_labels.txt is missing"):
        load("tu:rings", tmp_path)
