from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.nn import GATConv
from gnnlib.sparse import as_csr, segment_reduce
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import dense, with_loops
from tests.tolerances import assert_close

N = 20


def test_by_hand() -> None:
    # W = 1, a_src = 1, a_dst = 2; 0 -> 1. Node 1 scores node 0 by 1 + 2*3 = 7 and itself by 3 + 6 = 9.
    conv = GATConv(1, 1)
    with torch.no_grad():
        conv.lin.weight.fill_(1)
        conv.att_src.fill_(1)
        conv.att_dst.fill_(2)
    out = conv(torch.tensor([[1.0], [3.0]]), torch.tensor([[0], [1]]))
    a = torch.tensor([7.0, 9.0]).softmax(0)
    assert_close(out, torch.stack([torch.tensor([1.0]), (a[0] + 3 * a[1])[None]]))


def test_equals_dense_attention() -> None:
    conv = GATConv(5, 3, heads=2).double()
    x, edge_index = torch.randn(N, 5, dtype=torch.float64), plain_graph()
    h = conv.lin(x).view(N, 2, 3)
    score = (h * conv.att_dst).sum(-1)[:, None] + (h * conv.att_src).sum(-1)[None]
    edges = with_loops(dense(edge_index, N))[:, :, None]
    score = torch.where(edges > 0, torch.nn.functional.leaky_relu(score, 0.2), -torch.inf)
    expected = torch.einsum("ijh,jhc->ihc", score.softmax(1), h).flatten(1) + conv.bias
    assert_close(conv(x, edge_index), expected)


def test_equal_scores_average_the_neighbours() -> None:
    conv = GATConv(5, 3, add_self_loops=False, bias=False)
    torch.nn.init.zeros_(conv.att_src)
    torch.nn.init.zeros_(conv.att_dst)
    x, edge_index = torch.randn(N, 5, dtype=torch.float64), plain_graph()
    a = dense(edge_index, N)
    expected = (a / a.sum(1, keepdim=True).clamp(min=1)) @ conv.double().lin(x)
    assert_close(conv(x, edge_index), expected)


def test_attention_sums_to_one() -> None:
    conv = GATConv(5, 3, heads=2)
    _, (edges, alpha) = conv(torch.randn(N, 5), awkward_graph(), return_attention_weights=True)
    adj = as_csr(edges, N)
    assert_close(segment_reduce(adj.to_slots(alpha), adj.indptr), torch.ones(N, 2))
    assert ((edges[0] == edges[1]).sum() == N).item()


def test_heads_do_not_mix() -> None:
    x, edge_index = torch.randn(N, 5), awkward_graph()
    both, one = GATConv(5, 3, heads=2, bias=False), GATConv(5, 3, bias=False)
    for head in range(2):
        one.lin.load_state_dict({"weight": both.lin.weight.view(2, 3, 5)[head]})
        one.att_src.data, one.att_dst.data = both.att_src.data[:, [head]], both.att_dst.data[:, [head]]
        assert_close(one(x, edge_index), both(x, edge_index)[:, 3 * head : 3 * head + 3])
    mean = GATConv(5, 3, heads=2, concat=False, bias=False)
    mean.load_state_dict(both.state_dict())
    assert_close(mean(x, edge_index), both(x, edge_index).view(N, 2, 3).mean(1))


def test_dropout_acts_in_training_only() -> None:
    x, edge_index = torch.randn(N, 5), awkward_graph()
    conv, plain = GATConv(5, 3, dropout=0.5), GATConv(5, 3)
    plain.load_state_dict(conv.state_dict())
    assert_close(conv.eval()(x, edge_index), plain(x, edge_index))
    conv.train()
    _, (_, alpha) = conv(x, edge_index, return_attention_weights=True)
    assert (alpha == 0).any()
    conv.dropout = 1.0
    assert_close(conv(x, edge_index), conv.bias.expand(N, 3))


def test_large_scores_stay_finite() -> None:
    conv = GATConv(5, 3)
    torch.nn.init.constant_(conv.att_src, 1e4)
    assert conv(torch.randn(N, 5), awkward_graph()).isfinite().all()


def test_loops_belong_to_nodes_on_both_sides() -> None:
    conv = GATConv((5, 4), 3)
    x_src, x_dst = torch.randn(6, 5), torch.randn(3, 4)
    _, (edges, _) = conv((x_src, x_dst), torch.tensor([[5], [0]]), return_attention_weights=True)
    assert edges.tolist() == [[5, 0, 1, 2], [0, 0, 1, 2]]


def test_no_array_of_edges_times_features(monkeypatch: pytest.MonkeyPatch) -> None:
    n, e = 50, 3000
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(t, Tensor):
                    largest = max(largest, t.numel())
            return out

    conv, x = GATConv(16, 16, heads=4), torch.randn(n, 16, requires_grad=True)
    edge_index = torch.randint(0, n, (2, e))
    with Watch():
        conv(x, edge_index).sum().backward()
    assert largest < e * 16  # scores are e * 4; messages would be e * 64


def test_bad_options_and_inputs() -> None:
    with pytest.raises(NotImplementedError, match="fill_value='mul'"):
        GATConv(5, 3, fill_value="mul")
    x, edge_index = torch.randn(N, 5), plain_graph()
    with pytest.raises(ValueError, match="edge_attr came but edge_dim is None"):
        GATConv(5, 3)(x, edge_index, torch.randn(60, 2))
    with pytest.raises(ValueError, match=r"edge_attr has shape \[59, 2\]; expected \[60, 2\]"):
        GATConv(5, 3, edge_dim=2)(x, edge_index, torch.randn(59, 2))
