"""Training on labelled pairs of nodes of many graphs, judged by filtered ranks."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnnlib import data
from gnnlib.data.loaded import Graphs
from gnnlib.train import TrainConfig, predict, run
from gnnlib.train.tasks import PairsTask, make_task
from gnnlib.train.tasks.packing import PackedGraphs
from gnnlib.train.tasks.pairs import questions
from tests.train.conftest import ring


def contacts(count: int = 12) -> data.Loaded:
    """Rings with marked nodes; the contacts are the pairs of equal marks that are no edge."""
    graphs = []
    draw = torch.Generator().manual_seed(3)
    for k in range(count):
        size = 6 + k % 3
        mark = torch.randint(3, (size,), generator=draw)
        mark[[0, 3]] = k % 3  # at least one contact
        u, v = torch.triu_indices(size, size, 2)
        apart = (u > 0) | (v < size - 1)
        u, v = u[apart], v[apart]
        label = (mark[u] == mark[v]).long()
        graphs.append(
            Data(
                x=torch.stack([mark, torch.zeros_like(mark)], dim=1),
                edge_index=ring(size),
                edge_attr=torch.zeros(2 * size, 1, dtype=torch.int64),
                edge_label_index=torch.stack([u, v]),
                edge_label=label,
            )
        )
    card = data.Card("marks", "marks", "link", "none", "made here", "none", "one split", "filtered_mrr")
    order = torch.arange(count)
    split = data.Split(order[:6], order[6:9], order[9:])
    return data.Loaded(
        card,
        Graphs(graphs, "marks"),
        split,
        data.get_metric("filtered_mrr"),
        [split],
        ["all"],
        0,
        2,
        0,
        (3, 1),
        (1,),
    )


def naive(graphs: list, decode: Callable[[int, int, int], float]) -> float:
    """Ranks one by one, as the words say."""
    means = []
    for k, g in enumerate(graphs):
        pairs = [tuple(p) for p, y in zip(g.edge_label_index.t().tolist(), g.edge_label, strict=True) if y]
        ranks = []
        for u, v in pairs:
            others = [w for w in range(g.num_nodes) if w != v and (u, w) not in pairs and (w, u) not in pairs]
            mine = decode(k, u, v)
            scores = np.array([decode(k, u, w) for w in others])
            ranks.append(1 + (scores > mine).sum() + (scores == mine).sum() / 2)
        means.append(np.mean(1 / np.array(ranks)))
    return float(np.mean(means))


def test_ranks_against_a_loop() -> None:
    loaded = contacts()
    packed = PackedGraphs(loaded.dataset, torch.device("cpu"), "marks", labels="pair")
    order = torch.tensor([4, 0, 11])
    batch = packed.batch(order)
    graphs = [loaded.dataset[int(k)] for k in order]
    assert batch.pairs is not None
    assert batch.y.tolist() == torch.cat([g.edge_label for g in graphs]).tolist()
    start = [0, graphs[0].num_nodes, graphs[0].num_nodes + graphs[1].num_nodes]
    shifted = [g.edge_label_index + s for g, s in zip(graphs, start, strict=True)]
    assert batch.pairs.equal(torch.cat(shifted, dim=1))
    z = torch.randint(-1, 2, (batch.x.size(0), 2), generator=torch.Generator().manual_seed(0)).double()
    pairs, true = questions(batch)
    scores = (z[pairs[0]] * z[pairs[1]]).sum(1)
    expected = naive(graphs, lambda k, u, v: float(z[start[k] + u] @ z[start[k] + v]))
    assert 0.1 < expected < 0.9
    assert loaded.metric(true, scores) == pytest.approx(expected, abs=1e-12)
    bad = [Data(x=torch.zeros(3, 1), edge_index=ring(3))]
    with pytest.raises(ValueError, match="graph 0 has no label edge_label"):
        PackedGraphs(bad, torch.device("cpu"), "bad", labels="pair")


@pytest.mark.parametrize("model", ["mlp", "gatedgcn"])
def test_it_learns_and_predicts(
    model: str, given: Callable[[data.Loaded], None], quick: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    loaded = contacts()
    given(loaded)
    options: dict[str, Any] = {"hidden_channels": 16, "dropout": 0.0, "num_layers": 2}
    config = quick(model=model, epochs=40, lr=0.02, batch_size=3, model_options=options)
    assert isinstance(make_task(loaded, config, torch.device("cpu")), PairsTask)
    result = run(config)
    # a node is an answer to itself, level with every node of its mark: 1/1.5 is about the best there is
    assert result.mean("test") > 0.5
    rows = list(csv.DictReader(predict(result.path, tmp_path / "out.csv").open()))
    assert [int(r["label"]) for r in rows] == loaded.dataset._data.edge_label.tolist()
    assert [int(r["source"]) for r in rows] == loaded.dataset._data.edge_label_index[0].tolist()
    graph = [int(r["graph"]) for r in rows]
    assert sorted(set(graph)) == list(range(12))
    assert {r["part"] for r in rows if int(r["graph"]) < 6} == {"train"}
    with np.load(next(Path(result.path).rglob("predictions.npz"))) as saved:
        assert saved["test_index"].shape == (2, saved["test_score"].size)
        held = [k for k, r in enumerate(rows) if r["part"] == "test"]
        close = [float(rows[k]["score"]) for k in held]
        np.testing.assert_allclose(close, saved["test_score"], rtol=1e-5, atol=1e-6)
