from __future__ import annotations

import pytest
import torch
from torch import nn

from gnnlib.nn import GINConv, global_add_pool
from tests.nn.cases import plain_graph
from tests.nn.graphs import cycle, dense
from tests.tolerances import assert_close

N = 20


def test_by_hand() -> None:
    conv = GINConv(nn.Identity(), eps=0.5)
    x = torch.tensor([[1.0], [2.0], [4.0]])
    out = conv(x, torch.tensor([[0, 1, 1], [2, 2, 2]]))  # the edge 1 -> 2 counts twice
    assert_close(out, torch.tensor([[1.5], [3.0], [11.0]]))


def test_equals_the_dense_product() -> None:
    x, edge_index = torch.randn(N, 5, dtype=torch.float64), plain_graph()
    out = GINConv(nn.Identity(), eps=0.25).double()(x, edge_index)
    assert_close(out, (dense(edge_index, N) + 1.25 * torch.eye(N)) @ x)


def test_epsilon_of_minus_one_leaves_the_neighbours() -> None:
    x, edge_index = torch.randn(N, 5), plain_graph()
    conv = GINConv(nn.Identity(), eps=-1)
    assert_close(conv(x, edge_index), conv((x, None), edge_index))


def test_epsilon_is_learned_or_a_buffer() -> None:
    assert [k for k, _ in GINConv(nn.Identity(), train_eps=True).named_parameters()] == ["eps"]
    assert [k for k, _ in GINConv(nn.Identity()).named_buffers()] == ["eps"]
    conv = GINConv(nn.Identity(), eps=0.3, train_eps=True)
    with torch.no_grad():
        conv.eps.fill_(9)
    conv.reset_parameters()
    assert_close(conv.eps.detach(), torch.tensor([0.3]))


def test_sees_what_colour_refinement_sees() -> None:
    conv = GINConv(nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 8))).double()

    def code(edge_index: torch.Tensor) -> torch.Tensor:
        n = int(edge_index.max()) + 1
        return global_add_pool(conv(torch.ones(n, 1, dtype=torch.float64), edge_index), None)

    assert_close(code(cycle(6)), code(cycle(3, 3)))  # two regular graphs of degree 2: not told apart
    path = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [1, 0, 2, 1, 3, 2, 4, 3, 5, 4]])
    assert (code(path) - code(cycle(6))).abs().max() > 1e-3


def test_widths_that_cannot_be_added() -> None:
    with pytest.raises(ValueError, match="sources have 5 features but targets 4"):
        GINConv(nn.Identity())((torch.randn(N, 5), torch.randn(N, 4)), plain_graph())
