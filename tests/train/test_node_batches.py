"""Node training on sampled neighbours: the same loss where nothing is left out, seeds, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gnnlib import data
from gnnlib.train import TrainConfig, configure, run
from gnnlib.train.tasks import make_task
from tests.tolerances import assert_close

Quick = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def gradients(task: Any, model: torch.nn.Module, batch: Any) -> list[torch.Tensor]:
    loss, size = task.loss(model, batch)
    assert size == task.counts["train"]
    return [loss, *torch.autograd.grad(loss, list(model.parameters()))]


@pytest.mark.parametrize("dataset", ["digits", "karate"])
def test_all_neighbours_in_one_batch_are_the_whole_graph(dataset: str) -> None:
    """Loss and gradients of two layers, without dropout."""
    loaded = data.load(dataset)
    config = configure(dataset, "sage", dropout=0.0)
    whole = make_task(loaded, config, CPU)
    parts = make_task(loaded, config.replace(fanout=(-1, -1), batch_size=10_000), CPU)
    torch.manual_seed(0)
    model = whole.build()
    draw = torch.Generator().manual_seed(0)
    (none,), (batch,) = (list(t.batches(draw)) for t in (whole, parts))
    assert none is None
    assert batch.num_nodes <= loaded.dataset[0].num_nodes
    assert_close(gradients(parts, model, batch), gradients(whole, model, none))


def test_an_epoch_takes_every_training_node_once() -> None:
    loaded = data.load("digits")
    task = make_task(loaded, configure("digits", "sage", fanout="4,3", batch_size=100), CPU)
    draw = torch.Generator().manual_seed(0)
    batches = list(task.batches(draw))
    seeds = torch.cat([b.n_id[: b.batch_size] for b in batches])
    assert sorted(seeds.tolist()) == sorted(loaded.split.train.tolist())
    assert [b.batch_size for b in batches[:-1]] == [100] * (len(batches) - 1)
    assert not torch.equal(seeds, torch.cat([b.n_id[: b.batch_size] for b in task.batches(draw)]))


def test_a_run_learns_and_repeats(quick: Quick) -> None:
    found = []
    for name in ("one", "two"):
        options = {"fanout": (5, 5), "batch_size": 128, "epochs": 6}
        config = quick(dataset="digits", model="sage", **options)
        result = run(config.replace(out=f"{config.out}-{name}"))
        found.append(result.content["summary"]["test"]["mean"])
    assert found[0] == found[1]
    assert found[0] > 0.8  # ten classes


@pytest.mark.parametrize("value", [(), (-2,)])
def test_a_fanout_is_checked(value: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="option fanout is"):
        TrainConfig(fanout=value)


def test_other_tasks_have_no_fanout() -> None:
    with pytest.raises(ValueError, match="les-miserables is no node dataset of one graph; drop it"):
        make_task(data.load("les-miserables"), configure("les-miserables", fanout="3"), CPU)
