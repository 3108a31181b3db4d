"""Poolings against PyG's with the same weights: outputs and gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn
from torch import Tensor, nn
from torch_geometric.utils import to_dense_adj

import gnnlib.nn
from gnnlib.nn.aggr import GraphMultisetTransformer, LCMAggregation
from gnnlib.nn.pool import TopKPooling
from tests.nn.pool_cases import F_IN, graphs
from tests.tolerances import assert_close


def pair(name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    theirs = getattr(torch_geometric.nn, name)(*args, **kwargs).double()
    ours = getattr(gnnlib.nn, name)(*args, **kwargs).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_()
    ours.load_state_dict(theirs.state_dict())
    assert set(ours.state_dict()) == set(theirs.state_dict())
    return theirs, ours


def compare(theirs: nn.Module, ours: nn.Module, x: Tensor, call: Callable[[Any], list[Tensor]]) -> None:
    results = []
    for layer in (theirs, ours):
        leaves = {"x": x.requires_grad_(), **dict(layer.named_parameters())}
        leaves.pop("select.weight", None)  # without a gradient in SAG and ASAP of PyG, no parameter here
        outs = call(layer)
        torch.manual_seed(7)
        total = sum((o * torch.randn(o.shape, dtype=o.dtype)).sum() for o in outs if o.is_floating_point())
        grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)  # type: ignore[arg-type]
        zeros = [torch.zeros_like(p) for p in leaves.values()]
        found = {
            k: z if g is None else g for (k, z), g in zip(zip(leaves, zeros, strict=True), grads, strict=True)
        }
        results.append([outs, found])
    assert_close(results[1], results[0])


@pytest.mark.parametrize("name", ["TopKPooling", "SAGPooling"])
@pytest.mark.parametrize(
    "options",
    [{}, {"ratio": 0.3, "multiplier": 2.0}, {"ratio": 2}, {"min_score": 0.2}, {"nonlinearity": "sigmoid"}],
    ids=str,
)
def test_scores(name: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(name, F_IN, **options)
    x, edge_index, weight, batch = graphs()
    attn = torch.randn_like(x)
    for args in ((x, edge_index, weight, batch), (x, edge_index, weight[:, None], batch, attn)):
        compare(theirs, ours, x, lambda layer, args=args: list(layer(*args)))
    assert repr(ours) == repr(theirs)
    assert len(ours(x, edge_index)) == 6
    assert torch.equal(ours(x, edge_index)[4], theirs(x, edge_index)[4])


@pytest.mark.parametrize("name", ["ASAPooling", "EdgePooling", "SAGPooling", "TopKPooling"])
def test_arguments_have_the_names_of_pyg(name: str) -> None:
    theirs, ours = (
        inspect.signature(getattr(m, name).forward).parameters for m in (torch_geometric.nn, gnnlib.nn)
    )
    assert list(ours)[: len(theirs)] == list(theirs)
    with pytest.raises(TypeError, match=r"^[A-Z]\w+\.forward\(\) got an unexpected"):
        getattr(gnnlib.nn, name)(F_IN)(*graphs()[:2], nonsense=1)


@pytest.mark.parametrize("name", ["TopKPooling", "SAGPooling"])
def test_edge_features_go_with_their_edges(name: str) -> None:
    theirs, ours = pair(name, F_IN)
    x, edge_index, weight, batch = graphs()
    attr = torch.randn(weight.shape[0], 3)
    results = [list(layer(x, edge_index, edge_attr=attr, batch=batch)) for layer in (theirs, ours)]
    assert_close(results[1], results[0])


def test_top_k_learns_its_projection() -> None:
    theirs, ours = pair("TopKPooling", F_IN)
    x, edge_index, _, batch = graphs()
    grads = [
        torch.autograd.grad(layer(x, edge_index, None, batch)[0].sin().sum(), layer.select.weight)[0]
        for layer in (theirs, ours)
    ]
    assert_close(grads[1], grads[0])
    assert grads[1].abs().max() > 0


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("inside", [None, "GraphConv"])
def test_asap(loops: bool, weighted: bool, inside: str | None) -> None:
    kwargs = {"ratio": 0.6, "add_self_loops": loops}
    theirs, ours = (
        library.ASAPooling(F_IN, GNN=getattr(library, inside) if inside else None, **kwargs).double()
        for library in (torch_geometric.nn, gnnlib.nn)
    )
    ours.load_state_dict(theirs.state_dict())
    assert set(ours.state_dict()) == set(theirs.state_dict())
    x, edge_index, weight, batch = graphs()
    if inside is None:  # nodes of the same neighbours, as the third graph has, are tied
        x, edge_index, weight, _ = one_graph()
        batch = torch.zeros(9, dtype=torch.int64)

    def call(layer: nn.Module) -> list[Tensor]:
        ours_too = isinstance(layer, gnnlib.nn.ASAPooling)  # PyG's product needs weights in double precision
        value = weight if weighted else None if ours_too else torch.ones_like(weight)
        out, index, value, graph, perm = layer(x, edge_index, value, batch)
        coarse = to_dense_adj(index, edge_attr=value.detach(), max_num_nodes=out.shape[0])  # torch has no
        return [out, coarse, graph, perm]  # derivative of PyG's sparse products; ours is checked in test_pool

    compare(theirs, ours, x, call)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("method", ["softmax", "tanh", "sigmoid"])
def test_edge_pooling_graph_by_graph(method: str) -> None:
    theirs, ours = (
        library.EdgePooling(F_IN, getattr(library.EdgePooling, f"compute_edge_score_{method}")).double()
        for library in (torch_geometric.nn, gnnlib.nn)
    )
    ours.load_state_dict(theirs.state_dict())
    x, edge_index, _, batch = graphs()
    for b in range(4):
        own = batch == b
        start = int((batch < b).sum())
        part, edges = x[own].detach(), edge_index[:, own[edge_index[0]]] - start
        zeros = torch.zeros(part.shape[0], dtype=torch.int64)

        def call(
            layer: Any, part: Tensor = part, edges: Tensor = edges, zeros: Tensor = zeros
        ) -> list[Tensor]:
            out, index, graph, info = layer(part, edges, zeros)
            return [out, index, graph, info.cluster, info.new_edge_score, *layer.unpool(out.sin(), info)]

        compare(theirs, ours, part, call)
    assert repr(ours) == repr(theirs)


def one_graph() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, edge_index, weight, batch = graphs()
    own = batch == 0
    kept = own[edge_index[0]]
    edge_index, weight = edge_index[:, kept], weight[kept]
    return x[own], edge_index, weight, to_dense_adj(edge_index, edge_attr=weight, max_num_nodes=9)


@pytest.mark.parametrize("name", ["DMoNPooling", "MinCutPooling", "DiffPool"])
def test_dense_assignments_of_one_graph(name: str) -> None:
    x, edge_index, weight, adj = one_graph()
    ours = getattr(gnnlib.nn, name)([F_IN, 4], 3).double()

    def call(theirs: bool) -> list[Tensor]:
        if not theirs:
            out = ours(x, edge_index, weight)
            coarse = to_dense_adj(out.edge_index, edge_attr=out.edge_weight, max_num_nodes=3)
            return [out.x, coarse, *out.loss.values()]
        if name == "DMoNPooling":
            layer = torch_geometric.nn.DMoNPooling([F_IN, 4], 3).double()
            layer.load_state_dict(ours.state_dict())
            assert repr(layer) == repr(ours)
            layer.mlp = ours.mlp  # the gradients of one set of parameters are compared
            _, out, coarse, *losses = layer(x, adj)
        else:
            function = {"MinCutPooling": "dense_mincut_pool", "DiffPool": "dense_diff_pool"}[name]
            out, coarse, *losses = getattr(torch_geometric.nn, function)(x, adj, ours.mlp(x))
        return [out[0], coarse, *losses]

    x.requires_grad_()
    results = []
    for theirs in (True, False):
        outs = call(theirs)
        torch.manual_seed(3)
        total = sum((o * torch.randn(o.shape, dtype=o.dtype)).sum() for o in outs)
        results.append([outs, list(torch.autograd.grad(total, [x, *ours.parameters()]))])  # type: ignore[arg-type]
    assert_close(results[1], results[0])


def test_le_conv() -> None:
    theirs, ours = pair("LEConv", F_IN, 3)
    x, edge_index, weight, _ = graphs()
    compare(theirs, ours, x, lambda layer: [layer(x, edge_index), layer(x, edge_index, weight)])


def test_graph_multiset_transformer() -> None:
    args = {"channels": 6, "k": 3, "num_encoder_blocks": 2, "heads": 2, "layer_norm": True}
    theirs, ours = pair("GraphMultisetTransformer", **args)
    _, _, _, batch = graphs()
    x = torch.randn(20, 6, dtype=torch.float64)
    compare(theirs, ours, x, lambda layer: [layer(x, batch)])
    assert repr(ours) == repr(theirs)


def test_graph_multiset_transformer_with_convolutions_for_keys_and_values() -> None:
    aggr = GraphMultisetTransformer(F_IN, 3, gnn_kv=True).double()
    x, edge_index, _, batch = graphs()
    out = aggr(x, batch, edge_index=edge_index)
    assert aggr.key_conv is not None
    assert aggr.value_conv is not None
    attn = aggr.pma1.mab.attn
    query_map, query_bias = attn.in_proj_weight[:F_IN], attn.in_proj_bias[:F_IN]
    for b in range(4):
        own = batch == b
        key, value = aggr.key_conv(x, edge_index)[own], aggr.value_conv(x, edge_index)[own]
        query = aggr.pma1.seed[0] @ query_map.t() + query_bias
        h = aggr.pma1.seed[0] + attn.out_proj((query @ key.t() / F_IN**0.5).softmax(-1) @ value)
        h = h + aggr.pma1.mab.lin(h).relu()
        expected = aggr.pma2(aggr.encoders[0](h[None]))[0, 0]
        assert_close(out[b], expected)
    with pytest.raises(ValueError, match="gnn_kv=True but edge_index did not come"):
        aggr(x, batch)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8])
def test_lcm_on_sets_of_one_size(size: int) -> None:
    theirs, ours = pair("LCMAggregation", F_IN, 4)
    x, index = torch.randn(3 * size, F_IN, dtype=torch.float64), torch.arange(3).repeat_interleave(size)
    compare(theirs, ours, x, lambda layer: [layer(x, index)])
    assert repr(ours) == repr(theirs)


def test_lcm_does_not_see_other_sets() -> None:
    theirs, ours = pair("LCMAggregation", F_IN, 4)
    x, index = torch.randn(12, F_IN, dtype=torch.float64), torch.tensor([0] * 3 + [1] * 9)
    assert_close(ours(x, index)[0], ours(x[:3])[0])
    assert (theirs(x, index)[0] - theirs(x[:3], index[:3])[0]).abs().max() > 1e-2


def test_ties_go_to_the_lower_node_and_a_ratio_of_one_keeps_all() -> None:
    x, edge_index, _, batch = graphs()
    assert TopKPooling(F_IN, 3).double()(torch.ones_like(x), edge_index, None, batch).perm.tolist() == [
        *(0, 1, 2),
        9,
        *(10, 11, 12),
        *(16, 17, 18),
    ]
    assert TopKPooling(F_IN, 1.0).double()(x, edge_index, None, batch).x.shape == x.shape
    counts = TopKPooling(F_IN, 0.4).double()(x, edge_index, None, batch).batch.bincount()
    assert counts.tolist() == [4, 1, 3, 2]
    pool = TopKPooling(F_IN).double()
    with torch.no_grad():
        pool.select.weight.zero_()
    assert (pool(x, edge_index, None, batch).x == 0).all()
    for ratio in (0.0, 1.5, 0):
        with pytest.raises(ValueError, match=f"TopKPooling: ratio={ratio}; pass a share"):
            TopKPooling(F_IN, ratio)


def test_sag_has_no_number_that_is_drawn_and_not_learned() -> None:
    x, edge_index, _, batch = graphs()
    pool = gnnlib.nn.SAGPooling(F_IN, 0.5).double()
    assert "select.weight" not in dict(pool.named_parameters())
    assert_close(pool.state_dict()["select.weight"], torch.ones(1, 1, dtype=torch.float64))
    score = pool.gnn(x, edge_index).squeeze(-1).tanh()
    out = pool(x, edge_index, None, batch)
    assert_close(out.score, score[out.perm])
    assert out.perm[0] == score[batch == 0].argmax()


class _Projection(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.lin(x) / self.lin.weight.norm()


def test_sag_of_a_projection_is_top_k() -> None:
    x, edge_index, weight, batch = graphs()
    sag = gnnlib.nn.SAGPooling(F_IN, 0.5, GNN=_Projection).double()
    top = TopKPooling(F_IN, 0.5).double()
    with torch.no_grad():
        top.select.weight.copy_(sag.gnn.lin.weight)
    assert_close(list(sag(x, edge_index, weight, batch)), list(top(x, edge_index, weight, batch)))


def test_lcm_keyword_op_keeps_annotations() -> None:
    assert (
        LCMAggregation(4, 4, project=False, op=torch.add).combine(torch.ones(1, 4), torch.ones(1, 4)).sum()
        == 8
    )
