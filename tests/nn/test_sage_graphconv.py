from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from gnnlib.nn import GINConv, GraphConv, SAGEConv
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import dense
from tests.tolerances import assert_close

N = 20


def test_sage_by_hand() -> None:
    conv = SAGEConv(1, 1)
    with torch.no_grad():
        conv.lin_l.weight.fill_(2)
        conv.lin_l.bias.fill_(5)
        conv.lin_r.weight.fill_(10)
    x = torch.tensor([[1.0], [3.0], [7.0]])
    out = conv(x, torch.tensor([[0, 1], [2, 2]]))  # node 2 has the mean 2, the others nothing
    assert_close(out, torch.tensor([[15.0], [35.0], [79.0]]))


@pytest.mark.parametrize("aggr", ["mean", "sum", "max", "min"])
@pytest.mark.parametrize("out_channels", [3, 9])
def test_sage_equals_the_dense_reduction(aggr: str, out_channels: int) -> None:
    conv = SAGEConv(5, out_channels, aggr=aggr).double()
    x, edge_index = torch.randn(N, 5, dtype=torch.float64), plain_graph()
    a = dense(edge_index, N)
    if aggr in ("sum", "mean"):
        h = a @ x
        h = h / a.sum(1, keepdim=True).clamp(min=1) if aggr == "mean" else h
    else:
        sign = 1 if aggr == "max" else -1
        h = torch.where(a[:, :, None] > 0, sign * x[None], -torch.inf).amax(1)
        h = sign * torch.where(h.isinf(), 0, h)
    assert_close(conv(x, edge_index), conv.lin_l(h) + conv.lin_r(x))


def test_sage_normalises_rows() -> None:
    out = SAGEConv(5, 3, normalize=True)(torch.randn(N, 5), plain_graph())
    assert_close(out.norm(dim=1), torch.ones(N))


def test_sage_of_several_reductions_is_their_concatenation() -> None:
    conv = SAGEConv(5, 3, aggr=["mean", "max"], root_weight=False, bias=False)
    x, edge_index = torch.randn(N, 5), awkward_graph()
    total = torch.zeros(N, 3)
    for aggr, part in zip(("mean", "max"), conv.lin_l.weight.split(5, dim=1), strict=True):
        one = SAGEConv(5, 3, aggr=aggr, root_weight=False, bias=False)
        one.lin_l.load_state_dict({"weight": part})
        total += one(x, edge_index)
    assert_close(conv(x, edge_index), total)
    assert repr(conv) == "SAGEConv(5, 3, aggr=['mean', 'max'])"


@pytest.mark.parametrize(
    ("aggr", "error", "message"),
    [
        ("mode", ValueError, r"SAGEConv: aggregation 'mode' is unknown; choose one of add, .*mean"),
        (["mean", "mode"], ValueError, "SAGEConv: aggregation 'mode'"),
        (nn.Identity(), TypeError, "SAGEConv: aggr=.* is no aggregation"),
        (None, TypeError, "SAGEConv: aggr=None"),
        ([], ValueError, r"aggrs=\[\]"),
    ],
    ids=str,
)
def test_sage_refuses_what_is_no_aggregation(aggr: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SAGEConv(5, 3, aggr=aggr)


def test_sage_projects_before_it_aggregates() -> None:
    conv = SAGEConv(5, 3, project=True)
    x, edge_index = torch.randn(N, 5), plain_graph()
    plain = SAGEConv(5, 3)
    plain.load_state_dict({k: v for k, v in conv.state_dict().items() if not k.startswith("lin.")})
    assert_close(conv(x, edge_index), plain((conv.lin(x).relu(), x), edge_index))
    with pytest.raises(ValueError, match="project=True came with in_channels=-1"):
        SAGEConv(-1, 3, project=True)


def test_a_watched_or_pruned_map_is_called() -> None:
    conv, x, edge_index = SAGEConv(5, 3), torch.randn(N, 5), plain_graph()
    expected, calls = conv(x, edge_index), []
    handle = conv.lin_l.register_forward_hook(lambda m, args, out: calls.append(args[0].shape))
    assert_close(conv(x, edge_index), expected)
    assert calls == [(N, 5)]
    handle.remove()
    mask = torch.zeros(3, 5)
    prune.custom_from_mask(conv.lin_l, "weight", mask)
    with torch.no_grad():
        conv.lin_l.weight_orig.fill_(7.0)
    assert_close(conv(x, edge_index), conv.lin_l.bias + conv.lin_r(x))


def test_graphconv_with_unit_maps_is_gin() -> None:
    conv = GraphConv(5, 5).double()
    with torch.no_grad():
        conv.lin_rel.weight.copy_(torch.eye(5))
        conv.lin_root.weight.copy_(torch.eye(5))
        conv.lin_rel.bias.zero_()
    x, edge_index = torch.randn(N, 5, dtype=torch.float64), awkward_graph()
    assert_close(conv(x, edge_index), GINConv(nn.Identity()).double()(x, edge_index))


def test_graphconv_equals_the_weighted_dense_product() -> None:
    conv = GraphConv(5, 3).double()
    x, edge_index = torch.randn(N, 5, dtype=torch.float64), plain_graph()
    weight = torch.randn(60, dtype=torch.float64)
    expected = conv.lin_rel(dense(edge_index, N, weight) @ x) + conv.lin_root(x)
    assert_close(conv(x, edge_index, weight), expected)


def test_sizes_that_disagree() -> None:
    conv, x, edge_index = SAGEConv((5, 4), 3), torch.randn(N, 5), plain_graph() % 9
    x_dst = torch.randn(9, 4)
    assert conv((x, x_dst), edge_index, size=(N, 9)).shape == (9, 3)
    assert conv((x, None), edge_index, size=(N, 9)).shape == (9, 3)
    assert conv((x, None), edge_index).shape == (N, 3)
    with pytest.raises(ValueError, match=r"size=\(19, 9\) names 19 source nodes but x has 20"):
        conv((x, x_dst), edge_index, size=(19, 9))
    with pytest.raises(ValueError, match=r"size=\(20, 10\) names 10 target nodes but x has 9"):
        conv((x, x_dst), edge_index, size=(N, 10))
    with pytest.raises(NotImplementedError, match="target_to_source"):
        SAGEConv((5, 4), 3, flow="target_to_source")((x, x_dst), edge_index)
    with pytest.raises(TypeError, match="x is str"):
        conv("features", edge_index)


@pytest.mark.parametrize("width", [2, 9], ids=["narrow", "wide"])
def test_what_a_hook_has_seen_stays(width: int) -> None:
    """The root's part is written over the neighbours' part, but not over a tensor that someone may keep."""
    torch.manual_seed(0)
    edge_index, x = torch.randint(6, (2, 15)), torch.randn(6, 5)
    conv = SAGEConv(5, width)
    plain = conv(x, edge_index)
    seen: list[torch.Tensor] = []
    conv.lin_l.register_forward_hook(lambda module, args, out: seen.append(out))
    conv.lin_r.register_forward_hook(lambda module, args, out: seen.append(out))
    torch.testing.assert_close(conv(x, edge_index), plain)
    torch.testing.assert_close(seen[0] + seen[1], plain)
