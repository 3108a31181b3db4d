from __future__ import annotations

import math

import pytest
import torch

from gnnlib.nn import MLP, JumpingKnowledge, Linear, global_add_pool, global_max_pool, global_mean_pool
from tests.tolerances import assert_close


def test_linear_draws_from_the_named_distributions() -> None:
    default, glorot = Linear(64, 100), Linear(64, 100, weight_initializer="glorot", bias_initializer="zeros")
    for lin, bound in ((default, 1 / 8), (glorot, math.sqrt(6 / 164))):
        assert lin.weight.abs().max() <= bound
        assert abs(lin.weight.std().item() - bound / math.sqrt(3)) < 0.02 * bound
    assert default.bias.abs().max() <= 1 / 8
    assert not glorot.bias.any()
    with pytest.raises(ValueError, match="weight_initializer='orthogonal'"):
        Linear(3, 4, weight_initializer="orthogonal")  # type: ignore[arg-type]


def test_mlp_by_hand() -> None:
    mlp = MLP([1, 2, 1], norm=None)
    weights = ([[1.0], [-1.0]], [[2.0, 3.0]])
    with torch.no_grad():
        for lin, weight in zip(mlp.lins, weights, strict=True):
            lin.weight.copy_(torch.tensor(weight))
            lin.bias.fill_(1.0)
    # relu(x + 1) and relu(-x + 1), then 2a + 3b + 1
    assert_close(mlp(torch.tensor([[0.0], [4.0]])), torch.tensor([[6.0], [11.0]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "at least two widths"),
        ({"channel_list": [3]}, "at least two widths"),
        ({"in_channels": 3, "out_channels": 2}, "num_layers=None"),
        ({"in_channels": 3, "num_layers": 2}, "without out_channels"),
        ({"in_channels": 3, "out_channels": 2, "num_layers": 2}, "needs hidden_channels"),
        ({"channel_list": [3, 4, 5], "dropout": [0.5]}, "dropout has 1 entries but there are 2"),
        ({"channel_list": [3, 4, 5], "bias": [True] * 3}, "bias has 3 entries"),
        ({"channel_list": [3, 4, 5], "act": "rellu"}, "activation 'rellu' is unknown"),
    ],
    ids=str,
)
def test_mlp_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)  # type: ignore[arg-type]


def test_jumping_knowledge_by_hand() -> None:
    xs = [torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 2.0]])]
    assert_close(JumpingKnowledge("cat")(xs), torch.tensor([[1.0, 5.0, 3.0, 2.0]]))
    assert_close(JumpingKnowledge("max")(xs), torch.tensor([[3.0, 5.0]]))
    lstm = JumpingKnowledge("lstm", 2, 2)
    torch.nn.init.zeros_(lstm.att.weight)  # equal scores: the mean of the layers
    assert_close(lstm(xs), torch.tensor([[2.0, 3.5]]))


def test_jumping_knowledge_refuses() -> None:
    with pytest.raises(ValueError, match="mode='sum' is unknown"):
        JumpingKnowledge("sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channels=4 and num_layers=None"):
        JumpingKnowledge("lstm", 4)


def test_readouts_by_hand() -> None:
    x = torch.tensor([[1.0], [-2.0], [-6.0], [5.0]])
    batch = torch.tensor([2, 0, 0, 2])
    assert_close(global_add_pool(x, batch), torch.tensor([[-8.0], [0.0], [6.0]]))
    assert_close(global_mean_pool(x, batch), torch.tensor([[-4.0], [0.0], [3.0]]))
    assert_close(global_max_pool(x, batch, 4), torch.tensor([[-2.0], [0.0], [5.0], [0.0]]))
    assert_close(global_max_pool(x, None), torch.tensor([[5.0]]))


def test_readouts_of_nothing_are_zero() -> None:
    x, batch = torch.empty(0, 3), torch.empty(0, dtype=torch.int64)
    for pool in (global_add_pool, global_mean_pool, global_max_pool):
        assert_close(pool(x, batch, 2), torch.zeros(2, 3))
        assert_close(pool(x, None), torch.zeros(1, 3))
        assert pool(x, batch).shape == (0, 3)


def test_readouts_refuse_a_batch_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="4"):
        global_add_pool(torch.randn(4, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="5"):
        global_mean_pool(torch.randn(2, 2), torch.tensor([0, 5]), 3)
