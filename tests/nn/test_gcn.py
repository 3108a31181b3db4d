from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gnnlib.nn.conv.gcn_norm as gcn_norm_module
from gnnlib.nn import GCNConv
from gnnlib.nn.conv.gcn_norm import gcn_norm, inverse_sqrt
from gnnlib.sparse import as_csr
from tests.nn.cases import plain_graph
from tests.nn.graphs import dense, normalised, with_loops
from tests.tolerances import assert_close

N = 20


def identity(conv: GCNConv) -> GCNConv:
    with torch.no_grad():
        conv.lin.weight.copy_(torch.eye(*conv.lin.weight.shape))
    return conv


def test_by_hand() -> None:
    # 0 -> 1 with loops: degree 1 at node 0 and 2 at node 1, so S = [[1, 0], [1/sqrt 2, 1/2]].
    conv = identity(GCNConv(2, 2))
    out = conv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([[0], [1]]))
    assert_close(out, torch.tensor([[2.0, 0.0], [2**0.5, 2.0]]))


def test_by_hand_with_weights() -> None:
    # weight 3, loops 2 (improved): degrees 2 and 5.
    conv = identity(GCNConv(1, 1, improved=True))
    out = conv(torch.ones(2, 1), torch.tensor([[0], [1]]), torch.tensor([3.0]))
    assert_close(out, torch.tensor([[1.0], [3 / 10**0.5 + 2 / 5]]))


@pytest.mark.parametrize("out_channels", [3, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_dense_product(out_channels: int, weighted: bool) -> None:
    conv = GCNConv(5, out_channels).double()
    x, edge_index = torch.randn(N, 5, dtype=torch.float64), plain_graph()
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) if weighted else None
    s = normalised(with_loops(dense(edge_index, N, weight)))
    assert_close(conv(x, edge_index, weight), s @ x @ conv.lin.weight.t() + conv.bias)


def test_without_edges_it_is_a_linear_map() -> None:
    conv, x = GCNConv(5, 3), torch.randn(N, 5)
    assert_close(conv(x, torch.empty(2, 0, dtype=torch.int64)), conv.lin(x) + conv.bias)


@pytest.mark.parametrize(("out_channels", "width"), [(3, 3), (9, 5), (5, 5)])
def test_aggregates_on_the_narrower_side(
    out_channels: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    spmm = gcn_norm_module.spmm

    def watched(adj: object, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        widths.append(x.size(1))
        return spmm(adj, x, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(gcn_norm_module, "spmm", watched)
    GCNConv(5, out_channels)(torch.randn(N, 5), plain_graph())
    assert widths == [width]


def test_unweighted_graphs_have_no_edge_array_and_keep_their_scale() -> None:
    adj, x = as_csr(plain_graph(), N), torch.randn(N, 5)
    first, second = gcn_norm(adj, None, x), gcn_norm(adj, None, x)
    assert first.weight is None
    assert first.scale is second.scale
    assert first.adj is second.adj


def test_a_half_precision_degree_is_not_rounded() -> None:
    hub = torch.stack([torch.arange(1000) % N, torch.zeros(1000, dtype=torch.int64)])
    step = gcn_norm(as_csr(hub, N), None, torch.randn(N, 5, dtype=torch.bfloat16))
    assert step.scale is not None
    assert_close(step.scale[0], torch.tensor(951.0).rsqrt())  # 50 edges of node 0 to itself are one loop


def test_cached_keeps_the_first_graph() -> None:
    conv, x = GCNConv(5, 3, cached=True), torch.randn(N, 5)
    first = conv(x, plain_graph())
    empty = torch.empty(2, 0, dtype=torch.int64)
    assert torch.equal(conv(x, empty), first)
    conv.reset_parameters()
    assert_close(conv(x, empty), conv.lin(x) + conv.bias)


def test_a_changed_graph_is_seen() -> None:
    conv, x, edge_index = GCNConv(5, 3), torch.randn(N, 5), plain_graph()
    conv(x, edge_index)
    edge_index[0, :5] = 3
    assert_close(conv(x, edge_index), conv(x, edge_index.clone()))


def test_gradients_of_degree_zero_are_finite() -> None:
    degree = torch.tensor([0.0, 4.0], requires_grad=True)
    out = inverse_sqrt(degree)
    assert_close(out, torch.tensor([0.0, 0.5]))
    out.sum().backward()
    assert_close(degree.grad, torch.tensor([0.0, -0.0625]))


def test_bad_options_and_inputs() -> None:
    with pytest.raises(ValueError, match="add_self_loops=True came with normalize=False"):
        GCNConv(5, 3, add_self_loops=True, normalize=False)
    conv, x, edge_index = GCNConv(5, 3), torch.randn(N, 5), plain_graph()
    with pytest.raises(ValueError, match="GCNConv: x is tuple but the layer knows one set of nodes"):
        conv((x, x), edge_index)
    with pytest.raises(ValueError, match=r"edge_weight has shape \[7\] but the graph has 60 edges"):
        conv(x, edge_index, torch.ones(7))
    with pytest.raises(ValueError, match=r"edge_weight has shape \[60, 2\]"):
        conv(x, edge_index, torch.ones(60, 2))
    adj_t = torch.eye(N).to_sparse_csr()
    with pytest.raises(ValueError, match="edge_weight came with a sparse matrix that has values"):
        conv(x, adj_t, torch.ones(N))


def test_integer_weights_count_as_numbers() -> None:
    conv, x, edge_index = GCNConv(5, 3), torch.randn(N, 5), plain_graph()
    weight = torch.randint(1, 4, (60,))
    assert_close(conv(x, edge_index, weight), conv(x, edge_index, weight.float()))
    assert_close(conv(x, edge_index, weight[:, None]), conv(x, edge_index, weight.float()))
