"""The parts of the loop, each on its own: selection, optimiser groups, losses, batches, negatives, guards."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data

from gnnlib import train
from gnnlib.train import TrainConfig
from gnnlib.train.guards import check_input, check_rows, culprit, finite_parameters
from gnnlib.train.losses import loss_of, scores_of, targets_of
from gnnlib.train.optim import make_optimizer, make_schedule
from gnnlib.train.seeding import random_state, restore, seed_all
from gnnlib.train.selection import Evaluation, Selection
from gnnlib.train.tasks.base import row_normalised
from gnnlib.train.tasks.link import all_pairs_loss
from gnnlib.train.tasks.packing import PackedGraphs
from tests.train.conftest import ring


def kept(monitor: str, values: list[tuple[float, float]], *, higher: bool = True) -> list[bool]:
    selection = Selection(TrainConfig(monitor=monitor), higher)  # type: ignore[arg-type]
    return [selection.update(n, Evaluation(*pair)) for n, pair in enumerate(values, 1)]


def test_selection_by_metric_breaks_ties_by_loss() -> None:
    assert kept("metric", [(0.5, 1.0), (0.5, 0.9), (0.5, 0.95), (0.6, 2.0), (0.5, 0.1)]) == [
        True, True, False, True, False,
    ]  # fmt: skip


def test_selection_of_a_metric_that_should_fall() -> None:
    assert kept("metric", [(3.0, 1.0), (4.0, 0.5), (2.0, 2.0)], higher=False) == [True, False, True]


def test_selection_by_loss_and_by_both() -> None:
    values = [(0.5, 1.0), (0.4, 0.9), (0.6, 0.95), (0.6, 0.9)]
    assert kept("loss", values) == [True, True, False, False]
    assert kept("both", values) == [True, False, False, True]


def test_patience_counts_evaluations_without_a_better_one() -> None:
    selection = Selection(TrainConfig(patience=2), higher_is_better=True)
    for epoch, metric in enumerate([0.5, 0.4, 0.6, 0.6], 1):
        selection.update(epoch, Evaluation(metric, 1.0))
    assert not selection.exhausted
    selection.update(5, Evaluation(0.1, 1.0))
    assert selection.exhausted
    assert selection.epoch == 3


def test_a_metric_of_nan_is_never_better_than_a_number() -> None:
    assert kept("metric", [(math.nan, 1.0), (0.1, 2.0), (math.nan, 0.1)]) == [True, True, False]


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs[1](self.convs[0](x).relu())


def test_weight_decay_of_the_first_layer_only() -> None:
    model = TwoLayers()
    config = TrainConfig(weight_decay=0.1, weight_decay_scope="first", optimizer="adamw")
    first, rest = make_optimizer(config, model).param_groups
    assert [id(p) for p in first["params"]] == [id(p) for p in model.convs[0].parameters()]
    assert (first["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    (everything,) = make_optimizer(TrainConfig(weight_decay=0.1, optimizer="sgd"), model).param_groups
    assert len(everything["params"]) == 4
    with pytest.raises(ValueError, match="no parameters to train"):
        make_optimizer(config, nn.ReLU())


def test_a_learning_rate_behind_the_encoder() -> None:
    model = nn.ModuleDict(
        {"encoder": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4)), "lin": nn.Linear(4, 1)}
    )
    config = TrainConfig(lr=0.1, head_lr=0.2, weight_decay=0.3)
    encoder, head = make_optimizer(config, model).param_groups
    assert [id(p) for p in head["params"]] == [id(p) for p in model["lin"].parameters()]
    assert (len(encoder["params"]), encoder["lr"], head["lr"]) == (4, 0.1, 0.2)
    assert encoder["weight_decay"] == head["weight_decay"] == 0.3
    groups = make_optimizer(config.replace(weight_decay_scope="first"), model).param_groups
    assert [(len(g["params"]), g["lr"], g["weight_decay"]) for g in groups] == [
        (2, 0.1, 0.3), (2, 0.1, 0.0), (2, 0.2, 0.0),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"head_lr=0\.2 is for what follows the encoder, but model 'gcn'"):
        make_optimizer(config, TwoLayers())


def test_learning_rate_schedules() -> None:
    def rates(**options: object) -> list[float]:
        config = TrainConfig(lr=1.0, epochs=4, **options)  # type: ignore[arg-type]
        optimizer = make_optimizer(config, TwoLayers())
        schedule = make_schedule(config, optimizer)
        found = []
        for _ in range(4):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if schedule is not None:
                schedule.step()
        return found

    assert rates() == [1.0] * 4
    assert rates(lr_schedule="step", lr_step=2, lr_gamma=0.5) == [1.0, 1.0, 0.5, 0.5]
    assert rates(lr_schedule="cosine") == pytest.approx([1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])


def test_missing_targets_do_not_count() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[1.0, 0.0, math.nan], [math.nan] * 3, [0.0, 1.0, 1.0], [math.nan, 0.0, 1.0]])
    known = ~target.isnan()
    expected = nn.functional.binary_cross_entropy_with_logits(logits[known], target[known].double())
    loss = loss_of("multilabel", logits, target.double())
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[~known] == 0).all()
    nothing = loss_of("multilabel", logits, torch.full((4, 3), math.nan, dtype=torch.float64))
    assert nothing.item() == 0


def test_losses_and_scores_by_kind() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    torch.testing.assert_close(scores_of("multiclass", logits), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(
        loss_of("multiclass", logits, torch.tensor([1])), torch.tensor(math.log(4 / 3))
    )
    torch.testing.assert_close(
        loss_of("regression", torch.tensor([[3.0]]), torch.tensor([1.0])), torch.tensor(4.0)
    )
    assert scores_of("binary", torch.zeros(5, 1)).tolist() == [0.5] * 5
    assert scores_of("ranking", torch.tensor([-2.0])).tolist() == [-2.0]
    assert targets_of("multiclass", torch.tensor([[1], [0]])).tolist() == [1, 0]
    assert targets_of("binary", torch.tensor([[1], [0]])).tolist() == [1.0, 0.0]


def test_absolute_and_balanced_losses() -> None:
    values, wanted = torch.tensor([[3.0], [0.5], [7.0]]), torch.tensor([1.0, 1.0, math.nan])
    torch.testing.assert_close(loss_of("regression", values, wanted, "absolute"), torch.tensor(2.5 / 2))
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 3, generator=draw, dtype=torch.float64)
    target = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
    weight = torch.tensor([3, 8, 9], dtype=torch.float64) / 10
    each = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    expected = (weight[target] * each).sum() / weight[target].sum()
    torch.testing.assert_close(loss_of("multiclass", logits, target, "balanced"), expected)
    alone = loss_of("multiclass", logits[:7], target[:7], "balanced")
    torch.testing.assert_close(alone, each[:7].mean())


def test_a_loss_that_does_not_fit_the_targets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss is absolute, which is for regression targets.*multiclass"):
        train.run(train.configure("digits", loss="absolute", epochs=1, seeds=1))
    assert train.configure("peptides-struct", "gcn").loss == "absolute"
    assert train.configure("pascalvoc-sp", "gcn").loss == "balanced"


def test_a_packed_batch_is_the_batch_of_pyg() -> None:
    draw = torch.Generator().manual_seed(1)
    graphs = [
        Data(x=torch.randn(n, 2, generator=draw), edge_index=ring(n)[:, : n % 5], y=torch.tensor([[n, -n]]))
        for n in (3, 1, 6, 2, 4)
    ]
    packed = PackedGraphs(graphs, torch.device("cpu"), "some")
    index = torch.tensor([4, 0, 0, 1])
    found = packed.batch(index)
    expected = Batch.from_data_list([graphs[i] for i in index])
    assert torch.equal(found.x, expected.x)
    assert torch.equal(found.edge_index, expected.edge_index)
    assert torch.equal(found.batch, expected.batch)
    assert torch.equal(found.y, expected.y)
    assert found.size == 4
    with pytest.raises(ValueError, match="some: graph 0 has no features x"):
        PackedGraphs(
            [Data(edge_index=ring(3), y=torch.tensor([0]), num_nodes=3)], torch.device("cpu"), "some"
        )
    wrong = Data(x=torch.ones(2, 1), edge_index=ring(3), y=torch.tensor([0]), num_nodes=3)
    with pytest.raises(ValueError, match="x of graph 0 has 2 rows but the graph has 3 nodes"):
        PackedGraphs([wrong], torch.device("cpu"), "some")


def test_the_loss_over_all_pairs_is_the_published_one() -> None:
    z = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    dense = torch.eye(5, dtype=torch.float64)
    dense[0, 1] = dense[1, 0] = dense[3, 4] = dense[4, 3] = 1.0
    positives, total = dense.sum(), 25.0
    expected = (total / (2 * (total - positives))) * nn.functional.binary_cross_entropy_with_logits(
        z @ z.t(), dense, pos_weight=(total - positives) / positives
    )
    loss = all_pairs_loss(z, dense.nonzero().t())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, z), torch.autograd.grad(expected, z))


def test_rows_are_normalised_and_empty_rows_stay() -> None:
    x = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    assert row_normalised(x).tolist() == [[0.25, 0.75], [0.0, 0.0]]


def test_bad_features_are_named() -> None:
    x = torch.zeros(5, 3)
    check_input("x", x, "some")
    x[2, 1] = math.nan
    x[4, 0] = math.inf
    with pytest.raises(ValueError, match=r"some: x holds NaN at \[2, 1\] \(2 bad values in 2 rows of 5\)"):
        check_input("x", x, "some")
    with pytest.raises(ValueError, match=r"x has shape \[5, 3\] but the graph has 6 nodes"):
        check_rows("x", x, 6, "some")


def test_the_culprit_is_named() -> None:
    model = TwoLayers()

    def loss() -> torch.Tensor:
        return model(torch.ones(1, 3)).sum()

    assert finite_parameters(model)
    assert "the loss itself" in culprit(model, loss)
    with torch.no_grad():
        model.convs[0].bias.fill_(3e38)
    assert finite_parameters(model)  # their norm overflows, they do not
    with torch.no_grad():
        model.convs[1].weight.fill_(3.0)
    assert "the output of module 'convs.1' holds infinity" in culprit(model, loss)
    with torch.no_grad():
        model.convs[1].weight[0, 0] = math.nan
    assert not finite_parameters(model)
    assert "parameter 'convs.1.weight' holds NaN" in culprit(model, loss)


def test_generators_are_put_back() -> None:
    import random

    import numpy as np

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()  # noqa: NPY002

    cpu = torch.device("cpu")
    seed_all(3)
    first = draw()
    state = random_state(cpu)
    second = draw()
    restore(state, cpu)
    assert draw() == second
    seed_all(3)
    assert draw() == first
