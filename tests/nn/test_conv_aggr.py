"""Convolutions with any aggregation, against PyG's with the same weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn
from torch import Tensor, nn

import gnnlib.nn
from gnnlib.nn.aggr import LSTMAggregation, MeanAggregation, MultiAggregation
from tests.nn.cases import awkward_graph, plain_graph, weighted_graph
from tests.tolerances import assert_close

N, N_DST, F_IN = 20, 12, 6
# PyG writes the propagate of a class for its first layer, without the fused product if that one has no use
# for it; so the first layers of this process have.
for _first in ("SAGEConv", "GraphConv", "GCNConv"):
    getattr(torch_geometric.nn, _first)(1, 1)
torch_geometric.nn.GINConv(nn.Identity())
Build = Callable[[Any, Any], nn.Module]

OPTIONS: dict[str, dict[str, Any]] = {
    "softmax": {"aggr": "softmax"},
    "learned softmax": {"aggr": "softmax", "aggr_kwargs": {"learn": True, "t": 0.4}},
    "power mean": {"aggr": "PowerMeanAggregation"},
    "std": {"aggr": "std"},
    "var": {"aggr": "VarAggregation"},
    "mul": {"aggr": "mul"},
    "module": {"aggr": "module"},
    "plain module": {"aggr": "plain"},
    "list in place": {"aggr": ["mean", "std", "max"], "aggr_kwargs": {"mode": "sum"}},
    "list": {
        "aggr": ["add", "softmax"],
        "aggr_kwargs": {"aggrs_kwargs": [{}, {"learn": True}], "mode": "max"},
    },
    "list of modules": {"aggr": ["softmax", "module"], "aggr_kwargs": {"mode": "mean"}},
}


def options(library: Any, given: dict[str, Any]) -> dict[str, Any]:
    def made(aggr: Any) -> Any:
        if isinstance(aggr, list):
            return [made(a) for a in aggr]
        if aggr == "plain":
            return library.aggr.MaxAggregation()
        if aggr == "module":
            return library.aggr.AttentionalAggregation(nn.Linear(F_IN, 1), nn.Linear(F_IN, F_IN))
        return aggr

    return {**given, "aggr": made(given["aggr"])}


def build(name: str, given: dict[str, Any], channels: Any = F_IN, out: int = F_IN, **more: Any) -> Build:
    def make(library: Any) -> nn.Module:
        kwargs = {**options(library, given), **more}
        if name == "GINConv":
            layer: nn.Module = library.GINConv(nn.Linear(F_IN, 3), **kwargs)
        else:
            layer = getattr(library, name)(channels, out, **kwargs)
        return layer

    return make


def pair(make: Callable[[Any], nn.Module]) -> tuple[nn.Module, nn.Module]:
    theirs, ours = make(torch_geometric.nn).double(), make(gnnlib.nn).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    return theirs, ours


def compare(theirs: nn.Module, ours: nn.Module, leaves: list[Tensor], call: Callable[[Any], Tensor]) -> None:
    results = []
    for layer in (theirs, ours):
        out = call(layer)
        torch.manual_seed(7)
        wanted = [*leaves, *layer.parameters()]
        grads = torch.autograd.grad((out * torch.randn(out.shape)).sum(), wanted, allow_unused=True)
        results.append(
            [out, *(torch.zeros_like(p) if g is None else g for p, g in zip(wanted, grads, strict=True))]
        )
    assert_close(results[1], results[0])


def leaf(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


GRAPHS = {
    "awkward": awkward_graph,
    "plain": plain_graph,
    "empty": lambda: torch.empty(2, 0, dtype=torch.int64),
}


@pytest.mark.parametrize("name", ["SAGEConv", "GraphConv", "GINConv", "GCNConv"])
@pytest.mark.parametrize("case", list(OPTIONS))
@pytest.mark.parametrize("graph", list(GRAPHS))
def test_edge_index(name: str, case: str, graph: str) -> None:
    edge_index = weighted_graph() if name == "GCNConv" and graph == "awkward" else GRAPHS[graph]()
    theirs, ours = pair(build(name, OPTIONS[case]))
    x = leaf(N, F_IN)
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))


@pytest.mark.parametrize("name", ["GraphConv", "GCNConv"])
@pytest.mark.parametrize("case", list(OPTIONS))
def test_edge_weight(name: str, case: str) -> None:
    theirs, ours = pair(build(name, OPTIONS[case]))
    x, edge_index = leaf(N, F_IN), weighted_graph()
    weight = (torch.rand(edge_index.size(1), dtype=torch.float64) + 0.2).requires_grad_()
    compare(theirs, ours, [x, weight], lambda layer: layer(x, edge_index, weight))


@pytest.mark.parametrize("name", ["SAGEConv", "GraphConv", "GINConv"])
@pytest.mark.parametrize("case", ["softmax", "list", "list in place"])
def test_bipartite_and_matrices(name: str, case: str) -> None:
    theirs, ours = pair(build(name, OPTIONS[case], (F_IN, F_IN)))
    x_src, x_dst, edge_index = leaf(N, F_IN), leaf(N_DST, F_IN), plain_graph()
    edge_index[1] %= N_DST - 2
    edge_index = edge_index.unique(dim=1)
    compare(theirs, ours, [x_src, x_dst], lambda layer: layer((x_src, x_dst), edge_index))
    compare(theirs, ours, [x_src], lambda layer: layer((x_src, None), edge_index, size=(N, N_DST)))
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.2
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), weight, (N_DST, N)).coalesce().to_sparse_csr()
    compare(theirs, ours, [x_src, x_dst], lambda layer: layer((x_src, x_dst), adj_t))


@pytest.mark.parametrize(
    "given",
    [
        {"aggr": ["mean", "max", "std"]},
        {"aggr": ["mean"]},
        {"aggr": ["softmax", "add"], "aggr_kwargs": {"aggrs_kwargs": [{"learn": True}, {}]}},
        {
            "aggr": ["mean", "max"],
            "aggr_kwargs": {"mode": "proj", "mode_kwargs": {"in_channels": F_IN, "out_channels": 5}},
        },
        {
            "aggr": ["mean", "max"],
            "aggr_kwargs": {
                "mode": "attn",
                "mode_kwargs": {"in_channels": F_IN, "out_channels": 4, "num_heads": 2},
            },
        },
    ],
    ids=str,
)
def test_sage_takes_the_width_of_what_it_gets(given: dict[str, Any]) -> None:
    theirs, ours = pair(build("SAGEConv", given, out=3))
    x, edge_index = leaf(N, F_IN), awkward_graph()
    compare(theirs, ours, [x], lambda layer: layer(x, edge_index))
    assert repr(ours) == repr(theirs)
    lazy = build("SAGEConv", given, -1, 3)(gnnlib.nn).double()
    lazy(x, edge_index)
    assert {k: v.shape for k, v in lazy.state_dict().items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }


def test_sage_by_lstm() -> None:
    for given in ({}, {"aggr_kwargs": {"num_layers": 2}}):
        theirs, ours = pair(build("SAGEConv", {"aggr": "lstm", **given}, out=3))
        x = leaf(N, F_IN)
        edge_index = torch.stack([torch.arange(60) % 17, torch.arange(60) // 3])  # three neighbours each
        compare(theirs, ours, [x], lambda layer, x=x, e=edge_index: layer(x, e))
    order = torch.randperm(60)
    assert_close(ours(x, edge_index[:, order.sort().values]), ours(x, edge_index))
    more = torch.cat([edge_index, torch.stack([torch.arange(15), torch.full((15,), 19)])], dim=1)
    assert_close(ours(x, more)[:19], ours(x, edge_index)[:19])  # a large neighbourhood changes no other one
    assert (theirs(x, more)[:19] - theirs(x, edge_index)[:19]).abs().max() > 1e-3
    assert repr(ours) == repr(theirs)


def test_an_aggregation_of_pyg_serves_as_well() -> None:
    x, edge_index = torch.randn(N, F_IN), awkward_graph()
    for aggr in (
        torch_geometric.nn.SoftmaxAggregation(0.3),
        torch_geometric.nn.MLPAggregation(F_IN, F_IN, 17, num_layers=1),
    ):
        ours, theirs = gnnlib.nn.SAGEConv(F_IN, 3, aggr), torch_geometric.nn.SAGEConv(F_IN, 3, aggr)
        theirs.load_state_dict(ours.state_dict())
        by_target = edge_index[:, edge_index[1].argsort(stable=True)]
        assert_close(ours.eval()(x, edge_index), theirs.eval()(x, by_target))


def test_plain_reductions_stay_in_place() -> None:
    conv = gnnlib.nn.SAGEConv(F_IN, 3, aggr=["mean", "max"])
    assert isinstance(conv.aggr_module, MultiAggregation)
    rows = []
    conv.aggr_module.forward = lambda *args, **kwargs: rows.append(args)  # type: ignore[method-assign]
    conv(torch.randn(N, F_IN), awkward_graph())  # no message reaches a forward
    assert rows == []
    for aggr in ("max", "MaxAggregation", MeanAggregation()):
        assert gnnlib.nn.GraphConv(F_IN, 3, aggr=aggr).aggr_module is None
    watched, seen = MeanAggregation(), []
    watched.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0].shape))
    conv = gnnlib.nn.SAGEConv(F_IN, 3, aggr=watched)
    plain = gnnlib.nn.SAGEConv(F_IN, 3)
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(N, F_IN)
    assert_close(conv(x, awkward_graph()), plain(x, awkward_graph()))
    assert seen == [(60, F_IN)]


def test_reset_and_pickle() -> None:
    conv = gnnlib.nn.SAGEConv(F_IN, 3, aggr=LSTMAggregation(F_IN, F_IN))
    before = {k: v.clone() for k, v in conv.state_dict().items()}
    assert all(k.startswith(("aggr_module.lstm.", "lin_")) for k in before)
    conv.reset_parameters()
    assert not any(torch.equal(v, before[k]) for k, v in conv.state_dict().items())
    x, edge_index = torch.randn(N, F_IN), awkward_graph()
    assert torch.equal(pickle.loads(pickle.dumps(conv))(x, edge_index), conv(x, edge_index))


def test_one_graph_when_compiled() -> None:
    torch._dynamo.reset()
    for aggr in ("softmax", ["mean", "std"]):
        conv = gnnlib.nn.SAGEConv(F_IN, 3, aggr)
        x, edge_index = torch.randn(N, F_IN), awkward_graph()
        compiled = torch.compile(conv, fullgraph=True, dynamic=True, backend="aot_eager")
        assert_close(compiled(x, edge_index), conv(x, edge_index))


def test_layers_without_a_place_for_messages_say_so() -> None:
    with pytest.raises(NotImplementedError, match="GATConv: aggr='softmax' is not offered"):
        gnnlib.nn.GATConv(F_IN, 3, aggr="softmax")
