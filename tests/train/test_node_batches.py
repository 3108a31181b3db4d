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


@pytest.mark.parametrize("dataset", ["digits", "karate"])
def test_a_lazy_model_sees_in_its_parts_what_it_sees_in_the_whole(dataset: str) -> None:
    """With nothing remembered, two steps from all nodes in one part: loss and gradients; then a memory."""
    loaded = data.load(dataset)
    options = {"dropout": 0.0, "input_dropout": 0.0, "norm": "none", "L": 2, "beta": 1.0, "gamma": 1.0}
    config = configure(dataset, "lazygnn", **options)
    whole = make_task(loaded, config, CPU)
    parts = make_task(loaded, config.replace(fanout=(-1, -1), batch_size=10_000), CPU)
    model: Any = whole.build()
    draw = torch.Generator().manual_seed(0)
    (batch,) = list(parts.batches(draw))
    loss = gradients(parts, model, batch)[0]
    targets = batch.n_id[: batch.batch_size]
    remembered = model.encoder.prop.z_mem.clone()
    assert model.encoder.prop.seen[0].nonzero().view(-1).tolist() == sorted(targets.tolist())
    model.encoder.prop.reset_memory()
    assert_close(loss, gradients(whole, model, None)[0])
    assert_close(remembered[targets], model.encoder.prop.z_mem[targets])

    for task in (whole, parts):  # when all nodes are targets, gradients are the same as well
        everyone = torch.arange(whole.y.size(0))
        task.index["train"], task.target["train"], task.counts["train"] = everyone, whole.y, len(everyone)
    found = []
    for task in (whole, parts):
        model.encoder.prop.reset_memory()
        found.append(gradients(task, model, next(iter(task.batches(draw)))))
    assert_close(found[1], found[0])


def test_a_lazy_model_learns_from_parts(quick: Quick) -> None:
    options = {"fanout": (-1, -1), "batch_size": 256, "epochs": 6}
    result = run(quick(dataset="digits", model="lazygnn", **options))
    assert result.content["summary"]["test"]["mean"] > 0.8  # ten classes
    with pytest.raises(ValueError, match="lazygnn remembers all nodes and takes all neighbours; pass -1"):
        make_task(data.load("digits"), configure("digits", "lazygnn", fanout="-1,5"), CPU)


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
