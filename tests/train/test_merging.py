"""Training on merged nodes: scores and gradients of all nodes, fewer of them, and blocks of graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gnnlib import data
from gnnlib.train import TrainConfig, run
from gnnlib.train.tasks import NodesTask, make_task
from gnnlib.train.tasks.graph import shuffled
from gnnlib.train.tasks.merging import MergedGraphs
from gnnlib.train.tasks.packing import PackedGraphs
from tests.tolerances import assert_close
from tests.train.conftest import graph_dataset
from tests.train.test_nodes import rings

CPU = torch.device("cpu")
STACK = {"hidden_channels": 16, "num_layers": 3, "norm": "layer", "order": "norm_last", "input_dropout": 0.0}


@pytest.mark.parametrize("model", ["residual-gcn", "residual-gat", "ggnn", "gcn", "sage"])
def test_scores_and_gradients_are_those_of_all_nodes(model: str, quick: Callable[..., TrainConfig]) -> None:
    loaded = data.load("tree-neighbors-match-3")
    residual = model.startswith("residual") or model == "ggnn"
    options = STACK if residual else {"dropout": 0.0}
    config = quick(dataset=loaded.name, model=model, model_options=options, batch_size=200)
    plain, merged = (make_task(loaded, config.replace(merge_nodes=m), CPU) for m in (False, True))
    assert isinstance(merged, NodesTask)
    torch.manual_seed(0)
    network = plain.build()
    found: list[tuple[Any, ...]] = []
    for task in (plain, merged):
        batch = next(iter(task.batches(torch.Generator().manual_seed(0))))
        loss, count = task.loss(network, batch)
        network.zero_grad()
        loss.backward()
        grads = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        with torch.no_grad():
            scores, rows = task.evaluate(network, ["train"]), task.rows(network)
        found.append((loss.detach(), count, grads, scores, rows))
    (one, count, grads, scores, rows), (other, count_2, grads_2, scores_2, rows_2) = found
    assert_close(one, other)
    assert count == count_2 == 200
    for a, b in zip(grads, grads_2, strict=True):
        assert_close(a, b)
    assert scores["train"].metric == scores_2["train"].metric
    assert rows.keys() == rows_2.keys()
    for name, column in rows.items():
        if column.dtype.kind == "f":
            assert_close(torch.from_numpy(column), torch.from_numpy(rows_2[name]))
        else:
            assert column.tolist() == rows_2[name].tolist()


def test_a_batch_holds_what_its_labels_depend_on() -> None:
    loaded = data.load("tree-neighbors-match-3")
    packed = PackedGraphs(loaded.dataset, CPU, loaded.name, labels="node")
    merged = MergedGraphs(packed)
    same = merged.batch(torch.arange(8))  # one permutation with its eight keys: one tree below eight roots
    assert same.x.shape[0] == 8 + 14
    assert same.edge_index.shape == (2, 8 * 3 + 6 * 3 + 8)
    assert same.y.tolist() == packed.batch(torch.arange(8)).y.tolist()
    twice = merged.batch(torch.tensor([3, 3]))
    assert twice.x.shape[0] == 15
    one, other = torch.as_tensor(twice.labelled).tolist()
    assert one == other
    assert twice.x[one].tolist() == [4, 0]  # the root of the fourth key
    assert twice.size == 2
    # with other edges turned round, the nodes they lead to do not matter
    graphs = [g.clone() for g in loaded.dataset[:2]]
    for graph in graphs:
        graph.edge_index = graph.edge_index.flip(0)
    assert MergedGraphs(PackedGraphs(graphs, CPU, "out", labels="node")).batch(torch.tensor([0])).x.shape == (
        1,
        2,
    )


def test_models_that_see_more_are_refused(
    given: Callable[[data.Loaded], None], quick: Callable[..., TrainConfig]
) -> None:
    loaded = data.load("tree-neighbors-match-2")
    config = quick(dataset=loaded.name, model="dirgnn", merge_nodes=True)
    for model in ("dirgnn", "dirresolvnet", "magnet", "sheafnn"):
        task = make_task(loaded, config.replace(model=model, model_options={}), CPU)
        with pytest.raises(ValueError, match=rf"scores of {model} differ by up to .* more than in-edges"):
            task.build()
    with pytest.raises(ValueError, match="merge_nodes: pathnn reads paths"):
        make_task(loaded, config.replace(model="pathnn", model_options={}), CPU)
    with pytest.raises(ValueError, match="merge_nodes is True but rings is no set of graphs with labels of"):
        make_task(graph_dataset(), quick(dataset="rings", model="gin", merge_nodes=True), CPU)
    with pytest.raises(ValueError, match="shuffle_block is 4 but digits is no set of graphs"):
        make_task(data.load("digits"), quick(dataset="digits", model="gcn", shuffle_block=4), CPU)
    with pytest.raises(ValueError, match="shuffle_block is 0; it takes 1 or more"):
        TrainConfig(shuffle_block=0)


def test_undirected_graphs_with_edge_features_train_merged(
    given: Callable[[data.Loaded], None], quick: Callable[..., TrainConfig]
) -> None:
    given(rings())
    config = quick(model="gatedgcn", epochs=60, lr=0.02, batch_size=3, merge_nodes=True)
    options = {"hidden_channels": 16, "dropout": 0.0, "num_layers": 2}
    assert run(config.replace(model_options=options)).mean("train") == 1.0


def test_blocks_stay_together_in_random_order() -> None:
    index = torch.tensor([0, 1, 3, 4, 5, 8, 9, 10, 11, 12])
    seen = set()
    for seed in range(8):
        order = shuffled(index, 4, torch.Generator().manual_seed(seed)).tolist()
        assert sorted(order) == index.tolist()
        blocks = [k // 4 for k in order]
        assert [b for n, b in enumerate(blocks) if n == 0 or blocks[n - 1] != b] == list(
            dict.fromkeys(blocks)
        )
        seen.add(tuple(dict.fromkeys(blocks)))
    assert len(seen) > 4
    plain = shuffled(index, 1, torch.Generator().manual_seed(0))
    assert plain.tolist() == index[torch.randperm(10, generator=torch.Generator().manual_seed(0))].tolist()
