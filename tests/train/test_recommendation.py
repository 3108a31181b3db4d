"""Recommendation: metrics by naive loops, what a ranking leaves out, negatives, a run end to end."""

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
from gnnlib.data.loaded import Graphs
from gnnlib.data.readers.interactions import core, user_split
from gnnlib.train import TrainConfig, run
from gnnlib.train.predict import predict
from gnnlib.train.tasks import make_task

Quick = Callable[..., TrainConfig]
Given = Callable[[data.Loaded], None]
USERS, ITEMS = 40, 24


def tastes() -> data.Loaded:
    """Four tastes: a user takes most items of the own one, and a few others."""
    draw = np.random.RandomState(0)
    user, item = np.arange(USERS)[:, None], np.arange(ITEMS)[None]
    taken = np.where(user % 4 == item % 4, 0.9, 0.05) > draw.rand(USERS, ITEMS)
    pairs = np.stack(taken.nonzero())
    splits = [user_split(pairs, 0.1, 0.2, seed) for seed in range(2)]
    graph = Data(edge_index=torch.empty(2, 0, dtype=torch.int64))
    graph.num_nodes, graph.num_users, graph.num_items = USERS + ITEMS, USERS, ITEMS
    card = data.Card("tastes", "tastes", "recommendation", "none", "here", "none", "some", "ndcg@5")
    metric = data.get_metric("ndcg@5")
    return data.Loaded(
        card, Graphs([graph], "tastes"), splits[0], metric, splits, ["seed-0", "seed-1"], 0, 0, 0
    )


def task(quick: Quick, **changes: Any) -> Any:
    config = quick(dataset="bitcoin-otc-trust", **{"model": "lightgcn", **changes})
    return make_task(tastes(), config, torch.device("cpu"))


def naive(label: np.ndarray, score: np.ndarray, k: int) -> dict[str, float]:
    """One user at a time, as the definitions read."""
    sums = {"recall": 0.0, "precision": 0.0, "ndcg": 0.0}
    count = 0
    for row, values in zip(label, score, strict=True):
        places = sorted((m for m in range(len(row)) if not math.isnan(row[m])), key=lambda m: -values[m])[:k]
        relevant = sum(1 for v in row if v == 1)
        if relevant == 0:
            continue
        count += 1
        hits = [row[m] == 1 for m in places]
        sums["recall"] += sum(hits) / relevant
        sums["precision"] += sum(hits) / k
        best = sum(1 / math.log2(p + 2) for p in range(min(k, relevant)))
        sums["ndcg"] += sum(1 / math.log2(p + 2) for p, hit in enumerate(hits) if hit) / best
    return {name: value / count for name, value in sums.items()}


@pytest.mark.parametrize("k", [1, 5, 40])
def test_metrics_are_their_definitions(k: int) -> None:
    draw = np.random.RandomState(k)
    label = (draw.rand(25, 30) < 0.15).astype(float)
    label[draw.rand(25, 30) < 0.2] = np.nan
    label[3] = 0  # a user without relevant items
    score = draw.randn(25, 30)
    for name, expected in naive(label, score, k).items():
        metric = data.get_metric(f"{name}@{k}")
        assert metric.higher_is_better
        assert metric(label, score) == pytest.approx(expected)
        assert metric(torch.from_numpy(label), torch.from_numpy(score)) == pytest.approx(expected)


def test_metrics_by_hand_and_their_complaints() -> None:
    label, score = [[1.0, 0.0, 1.0, math.nan]], [[0.1, 0.9, 0.5, 2.0]]  # order: item 1, 2, 0
    assert data.get_metric("recall@2")(label, score) == 0.5
    assert data.get_metric("precision@2")(label, score) == 0.5
    best = 1 + 1 / math.log2(3)
    assert data.get_metric("ndcg@2")(label, score) == pytest.approx(1 / math.log2(3) / best)
    with pytest.raises(ValueError, match="no user has a relevant item"):
        data.get_metric("ndcg@2")([[0.0, 0.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="a row a user"):
        data.get_metric("ndcg@2")([0.0, 1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="K must be a positive whole number, as in recall@20"):
        data.get_metric("recall@0")


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_rankings_in_batches_are_the_metric(part: str, quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnnlib.train.tasks.recommendation.USERS", 7)
    made, model = task(quick), task(quick).build().eval()
    split = tastes().split
    label = np.zeros((USERS, ITEMS))
    pairs = {"train": split.train_edges, "val": split.val_pos, "test": split.test_pos}
    label[tuple(pairs[part].numpy())] = 1
    for before in {"train": (), "val": ("train",), "test": ("train", "val")}[part]:
        label[tuple(pairs[before].numpy())] = np.nan
    with torch.no_grad():
        users, items = model.codes(made.interactions)
        found = made.evaluate(model, (part,))[part].metric
        score = (users @ items.t()).numpy()
        if part == "test":
            details = made.details(model)
    assert found == pytest.approx(naive(label, score, 5)["ndcg"], rel=1e-6)
    if part == "test":
        for k in (5, 10, 20):
            for name, expected in naive(label, score, k).items():
                assert details[f"{name}@{k}"] == pytest.approx(expected, rel=1e-6)


def test_every_user_keeps_items_of_each_part() -> None:
    pairs = np.stack([np.repeat(np.arange(5), [1, 2, 3, 10, 21]), np.arange(37)])
    split = user_split(pairs, 0.1, 0.2, seed=3)
    parts = [split.train_edges, split.val_pos, split.test_pos]
    together = torch.cat(parts, dim=1)
    assert sorted(map(tuple, together.t().tolist())) == sorted(map(tuple, pairs.T.tolist()))
    counts = [[int((part[0] == u).sum()) for part in parts] for u in range(5)]
    assert counts == [[1, 0, 0], [2, 0, 0], [1, 1, 1], [7, 1, 2], [15, 2, 4]]
    assert not torch.equal(user_split(pairs, 0.1, 0.2, seed=4).test_pos, split.test_pos)


def test_core_is_the_largest_set_with_enough_on_both_sides() -> None:
    block = [(u, i) for u in range(3) for i in range(3)]
    chain = [(3, 0), (3, 9), (4, 9), (4, 8)]  # falls apart step by step
    kept = core(np.array(block + chain), 3)
    assert sorted(map(tuple, kept.tolist())) == block
    assert len(core(np.array(chain), 3)) == 0


def test_negatives_are_items_that_a_user_has_not_taken(quick: Quick) -> None:
    made = task(quick)
    known = set(map(tuple, made.positives.t().tolist()))
    seen = []
    for seed in range(30):
        (batch,) = made.batches(torch.Generator().manual_seed(seed))
        assert sorted(map(tuple, batch[:2].t().tolist())) == sorted(known)
        drawn = list(zip(batch[0].tolist(), batch[2].tolist(), strict=True))
        assert not set(drawn) & known
        seen += drawn
    free = [(0, i) for i in range(ITEMS) if (0, i) not in known]
    assert {pair for pair in seen if pair[0] == 0} == set(free)  # also the item of the user's own number


@pytest.mark.parametrize("model", models.names("recommendation"))
def test_tastes_are_learned(
    model: str, quick: Quick, given: Given, real_report: None, tmp_path: Path
) -> None:
    given(tastes())
    options = {"hidden_channels": 8}
    if model == "lcfn":
        options |= {"user_frequencies": 4, "item_frequencies": 4}
    changes: dict[str, Any] = {
        "epochs": 40,
        "lr": 0.05,
        "batch_size": 100,
        "seeds": 2,
        "model_options": options,
    }
    result = run(quick(dataset="bitcoin-otc-trust", model=model, **changes))
    details = result.runs[0]["details"]
    assert details["ndcg@5"] > details["most taken: ndcg@5"] + 0.15
    assert result.runs[0]["metrics"]["test"] == pytest.approx(details["ndcg@5"])
    assert [r["split"] for r in result.runs] == [0, 1]
    assert "most taken: recall@20" in result.report.read_text()  # type: ignore[union-attr]
    arrays = np.load(result.path / "seed-0" / "predictions.npz")
    assert arrays["test_index"].shape == (2, arrays["test_label"].size)
    assert arrays["embedding"].shape[0] == USERS + ITEMS
    rows = list(csv.DictReader(predict(result.path, tmp_path / "rows.csv").open()))
    assert len(rows) == USERS * 20
    assert [r["place"] for r in rows[:20]] == [str(p) for p in range(1, 21)]


def test_refusals(quick: Quick) -> None:
    with pytest.raises(ValueError, match="tastes: interactions have no features"):
        task(quick, normalize_features=True)
    with pytest.raises(ValueError, match="does not serve recommendation tasks"):
        task(quick, model="gcn")


def test_the_trust_of_bitcoin_otc(data_root: Path) -> None:
    loaded = data.load("bitcoin-otc-trust", data_root, split=1)
    graph, split = loaded.dataset[0], loaded.split
    assert (graph.num_users, graph.num_items) == (1063, 1065)
    assert torch.equal(
        graph.edge_index[:, : split.train_edges.size(1)] - split.train_edges,
        torch.tensor([[0], [1063]]).expand(2, split.train_edges.size(1)),
    )
    together = torch.cat([split.train_edges, split.val_pos, split.test_pos], dim=1)
    assert together.size(1) == 18029
    for side in (0, 1):
        assert int(together[side].bincount().min()) >= 5
    assert data.names("recommendation") == ["bitcoin-otc-trust", "movielens-100k"]
    assert data.find_card("movielens-100k").downloadable == "checked"


def test_a_table_of_films(tmp_path: Path) -> None:
    """MovieLens's columns: user, film, stars and time, with tabs."""
    lines = [f"{u}\t{10 * i}\t{1 + (u + i) % 5}\t88{u}{i}" for u in (7, 3, 5) for i in range(1, 6)]
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "u.data").write_text("\n".join([*lines, lines[0]]) + "\n")
    options = {"delimiter": "\t", "above": 0, "core": 1, "val": 0.1, "test": 0.2, "splits": 2}
    files = (data.card.CardFile("u.data"),)  # type: ignore[attr-defined]
    card = data.Card(
        "tiny", "tiny", "recommendation", "interactions", "here", "none", "two", "recall@5",
        folder="tiny", files=files, options=options,
    )  # fmt: skip
    loaded = data.load(card, tmp_path)
    assert (loaded.dataset[0].num_users, loaded.dataset[0].num_items) == (3, 5)
    assert loaded.split.train_edges.size(1) == 9
    assert loaded.split.val_pos.size(1) == loaded.split.test_pos.size(1) == 3
    assert (loaded.metric.kind, loaded.num_outputs, loaded.num_features) == ("ranking", 0, 0)
    with pytest.raises(ValueError, match="no interactions are left"):
        data.load(data.Card(**{**vars(card), "options": {**options, "core": 6}}), tmp_path)
