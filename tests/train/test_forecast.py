"""Forecasts: windows, scaling, masked errors and baselines by hand, and a short run end to end."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnnlib import data, models
from gnnlib.data.card import CardFile
from gnnlib.data.loaded import Graphs
from gnnlib.data.readers.series import window_split
from gnnlib.data.series import diffusion_series
from gnnlib.train import TrainConfig, run
from gnnlib.train.predict import predict
from gnnlib.train.tasks import ForecastTask, make_task
from gnnlib.train.tasks.forecast import at_horizons, masked_error
from tests.tolerances import assert_close
from tests.train.conftest import ring

Quick = Callable[..., TrainConfig]
Given = Callable[[data.Loaded], None]
STEPS, NODES, HISTORY, HORIZON = 60, 6, 4, 3


def waves() -> data.Loaded:
    """A wave that runs around a ring; some values are missing."""
    step, node = torch.arange(STEPS), torch.arange(NODES)
    value = 10 + 3 * torch.sin(2 * math.pi * (step[None] / 12 - node[:, None] / NODES))
    known = (step[None] + 2 * node[:, None]) % 11 != 0
    x = torch.stack([value * known, (2 * math.pi * step / 12).sin().expand(NODES, -1)], dim=-1)
    graph = Data(x=x, edge_index=ring(NODES))
    graph.known = known
    options = {"history": HISTORY, "horizon": HORIZON, "steps_per_day": 12}
    card = data.Card("waves", "waves", "forecast", "none", "here", "none", "in time", "mae", options=options)
    split = window_split(STEPS, HISTORY + HORIZON, 0.6, 0.2)
    graphs = Graphs([graph], "waves")
    return data.Loaded(card, graphs, split, data.get_metric("mae"), [split], ["in-time"], 0, 2, HORIZON)


def task(quick: Quick, **changes: Any) -> Any:
    config = quick(dataset="synthetic-flow", **{"model": "stgcn", **changes})
    return make_task(waves(), config, torch.device("cpu"))


def test_windows_are_cut_in_time() -> None:
    split = window_split(30, 7, 0.5, 0.25)
    assert (split.train.tolist(), split.val.tolist()) == (list(range(12)), list(range(12, 18)))
    assert split.test.tolist() == list(range(18, 24))
    with pytest.raises(ValueError, match="6 steps are shorter than a window of 7"):
        window_split(6, 7, 0.5, 0.25)


def test_the_scale_comes_from_known_training_values_only(quick: Quick) -> None:
    made = task(quick)
    last = int(made.index["train"].max()) + HISTORY + HORIZON
    value, known = made.value.numpy()[:last], made.known.numpy()[:last]
    assert made.mean == pytest.approx(value[known].mean(), rel=1e-6)
    assert made.std == pytest.approx(value[known].std(), rel=1e-6)
    assert (made.x[..., 0][~made.known] == 0).all()
    changed = waves()
    changed.dataset._data.x[:, last:, 0] += 100  # the future
    other = make_task(changed, quick(dataset="synthetic-flow", model="stgcn"), torch.device("cpu"))
    assert (other.mean, other.std) == (made.mean, made.std)  # type: ignore[attr-defined]


def test_windows_hold_the_right_steps(quick: Quick) -> None:
    made = task(quick)
    windows = torch.tensor([2, 17])
    x, label = made._inputs(windows), made._labels(windows)
    assert x.shape == (2, HISTORY, NODES, 2)
    assert label.shape == (2, HORIZON, NODES)
    assert torch.equal(x[1, 3], made.x[20])
    known = made.known[21]
    assert torch.equal(label[1, 0][known], made.value[21][known])
    assert label[1, 0][~known].isnan().all()
    batches = list(made.batches(torch.Generator().manual_seed(0)))
    assert torch.cat(batches).sort().values.tolist() == made.index["train"].tolist()


def test_errors_by_hand() -> None:
    label = torch.tensor([[[10.0, math.nan]], [[20.0, 5.0]]])  # two windows, one step, two nodes
    forecast = torch.tensor([[[11.0, 7.0]], [[16.0, 5.0]]])
    assert float(masked_error(forecast, label)) == pytest.approx((1 + 4 + 0) / 3)
    found = at_horizons(forecast.expand(2, 3, 2), label.expand(2, 3, 2))
    assert found["mae@3"] == found["mae"] == pytest.approx(5 / 3)
    assert found["rmse@3"] == pytest.approx(math.sqrt(17 / 3))
    assert found["mape@3"] == pytest.approx((0.1 + 0.2 + 0) / 3)
    assert "mae@6" not in found
    nothing = torch.full((1, 1, 2), math.nan)
    leaf = torch.zeros(1, 1, 2, requires_grad=True)
    masked_error(leaf, nothing).backward()
    assert leaf.grad is not None
    assert not leaf.grad.any()


def test_baselines_by_hand(quick: Quick) -> None:
    made = task(quick)
    windows = made.index["test"]
    last, usual = made.baselines(windows)
    steps = made.label
    for i, w in enumerate(windows.tolist()):
        for v in range(NODES):
            seen = [float(z) for z in steps[w : w + HISTORY, v] if not z.isnan()]
            assert last[i, :, v].tolist() == pytest.approx([seen[-1] if seen else made.mean] * HORIZON)
            for h in range(HORIZON):
                moment = (w + HISTORY + h) % 12
                rows = [
                    float(steps[t, v])
                    for t in range(STEPS)
                    if made.seen[t] and t % 12 == moment and not steps[t, v].isnan()
                ]
                assert float(usual[i, h, v]) == pytest.approx(sum(rows) / len(rows), rel=1e-5)


@pytest.mark.parametrize("model", models.names("forecast"))
def test_a_wave_is_learned_and_better_than_the_last_value(
    model: str, quick: Quick, given: Given, real_report: None, tmp_path: Path
) -> None:
    given(waves())
    options: dict[str, Any] = {"hidden_channels": 6}
    if model == "stgcn":
        options |= {"history": HISTORY, "kernel_size": 2, "num_layers": 1}
    if model == "graph-wavenet":
        options |= {"num_layers": 1, "skip_channels": 16, "end_channels": 16, "dropout": 0.0, "rank": 2}
    if model == "dcrnn":
        options |= {"num_layers": 1, "sampling_decay": 20.0}
    changes: dict[str, Any] = {"epochs": 20, "lr": 0.02, "batch_size": 8, "model_options": options}
    result = run(quick(dataset="synthetic-flow", model=model, **changes))
    details = result.runs[0]["details"]
    assert details["mae@3"] < 0.5 * details["last value: mae@3"]
    assert result.mean("test") == pytest.approx(details["mae"], rel=1e-5)
    assert result.content["dataset"]["task"] == "forecast"
    assert "last value: mae@3" in result.report.read_text()  # type: ignore[union-attr]
    assert result.details().row_count == len(details)  # type: ignore[union-attr]
    arrays = np.load(result.path / "seed-0" / "predictions.npz")
    assert arrays["test_index"].shape == (2, arrays["test_label"].shape[0])
    assert arrays["test_label"].shape == arrays["test_score"].shape
    rows = list(csv.DictReader(predict(result.path, tmp_path / "rows.csv").open()))
    assert len(rows) == (STEPS - HISTORY - HORIZON + 1) * NODES
    assert list(rows[0]) == ["step", "node", "part"] + [
        f"{k}_{h}" for k in ("label", "prediction") for h in range(HORIZON)
    ]
    assert rows[0]["step"] == str(HISTORY)


def test_the_resume_point_knows_how_far_scheduled_sampling_is(quick: Quick, given: Given) -> None:
    given(waves())
    options = {"num_layers": 1, "hidden_channels": 4, "sampling_decay": 5.0}
    changes: dict[str, Any] = {"model": "dcrnn", "batch_size": 8, "model_options": options}
    whole = run(quick(dataset="synthetic-flow", epochs=4, **changes))
    half = quick(dataset="synthetic-flow", epochs=2, **changes, out=str(quick().out) + "-half")
    run(half)
    first, state = (
        torch.load(Path(r) / "seed-0" / "last.ckpt", weights_only=True)["model"]
        for r in (whole.path, half.out)  # type: ignore[arg-type]
    )
    assert int(first["seen"]) == 2 * int(state["seen"]) > 0


def test_the_scale_of_rows_has_no_meaning_here(quick: Quick) -> None:
    with pytest.raises(ValueError, match="waves: normalize_features is for rows"):
        task(quick, normalize_features=True)
    still = waves()
    still.dataset._data.x[..., 0] = 1.0
    with pytest.raises(ValueError, match="training values do not vary"):
        make_task(still, quick(dataset="synthetic-flow", model="stgcn"), torch.device("cpu"))
    assert isinstance(task(quick), ForecastTask)


def test_the_synthetic_set_is_what_its_card_says() -> None:
    loaded = data.load("synthetic-flow")
    series, known = loaded.dataset[0].x, loaded.dataset[0].known
    assert series.shape == (100, 960, 3)
    assert float((~known).float().mean()) == pytest.approx(0.02, abs=0.004)
    assert (series[..., 0][~known] == 0).all()
    assert float(series[..., 0][known].min()) >= 5
    assert torch.equal(diffusion_series(100, 960, seed=0).x, series)
    assert not torch.equal(diffusion_series(100, 960, seed=1).x, series)
    assert data.names("forecast") == ["synthetic-flow"]


def test_a_node_tells_what_its_neighbours_will_do() -> None:
    """Without season, the walk over the edges explains the next value better than any other permutation."""
    made = diffusion_series(100, 2000, steps_per_day=10**6, stay=0.2, spread=0.7, missing=0.0, seed=3)
    value = made.x[..., 0].double()
    z = value - value.mean(dim=1, keepdim=True)
    source, target = made.edge_index
    weight = made.edge_weight.double()
    walked = torch.zeros_like(z).index_add_(0, target, weight[:, None] * z[source])
    walked = walked / torch.zeros(100, dtype=torch.float64).index_add_(0, target, weight)[:, None]
    own, near, ahead = z[:, :-1].flatten(), walked[:, :-1].flatten(), z[:, 1:].flatten()
    fit = torch.linalg.lstsq(torch.stack([own, near], 1), ahead[:, None]).solution.flatten()
    assert fit.tolist() == pytest.approx([0.2, 0.7], abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": 1.0}, "a share below 1"),
        ({"stay": 0.5, "spread": 0.5}, "sum must be below 1"),
        ({"num_nodes": 5}, "pass 100 or more"),
    ],
)
def test_the_generator_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diffusion_series(**{"num_nodes": 100, "num_steps": 10, **options})


def test_a_series_from_two_arrays(tmp_path: Path) -> None:
    """The form of PyTorch Geometric Temporal's METR-LA: values [T, N, F] and a dense adjacency, no pickle."""
    draw = np.random.RandomState(0)
    values = 50 + draw.randn(30, 4, 2)
    values[5, 2, 0], values[6, 1, 0] = 0.0, np.nan
    weights = np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0.25], [0, 0, 0, 0], [0.75, 0, 0, 0]])
    (tmp_path / "tiny").mkdir()
    np.save(tmp_path / "tiny" / "values.npy", values)
    np.save(tmp_path / "tiny" / "adj.npy", weights)
    options = {
        "values": "values.npy", "adjacency": "adj.npy", "missing": 0.0, "steps_per_day": 10,
        "history": 3, "horizon": 2, "train": 0.7, "val": 0.1,
    }  # fmt: skip
    files = (CardFile("values.npy"), CardFile("adj.npy"))
    card = data.Card(
        "tiny", "tiny", "forecast", "series", "here", "none", "in time", "mae",
        folder="tiny", files=files, options=options,
    )  # fmt: skip
    loaded = data.load(card, tmp_path)
    graph = loaded.dataset[0]
    assert (graph.known.sum(), graph.known[2, 5], graph.known[1, 6]) == (118, False, False)
    assert torch.equal(graph.x[..., 0], torch.from_numpy(np.nan_to_num(values[..., 0].T)).float())
    assert_close(graph.x[1, :, 1], (2 * math.pi * torch.arange(30) / 10).sin())
    edges = {
        (u, v): w for (u, v), w in zip(graph.edge_index.t().tolist(), graph.edge_weight.tolist(), strict=True)
    }
    assert edges == {(0, 0): 1.0, (0, 1): 0.5, (1, 1): 1.0, (1, 3): 0.25, (3, 0): 0.75}
    assert loaded.split.train.numel() == int(0.7 * 26)
    np.save(tmp_path / "tiny" / "adj.npy", weights[:3])
    with pytest.raises(ValueError, match=r"adjacency has shape \[3, 4\] but the series has 4 nodes"):
        data.load(card, tmp_path)
    np.save(tmp_path / "tiny" / "adj.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        data.load(card, tmp_path)
