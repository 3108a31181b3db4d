"""Hypergraph layers against dense float64 algebra, and the identities that their papers state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn import (
    AllDeepSetsConv,
    AllSetTransformerConv,
    EDHNNConv,
    EDHNNIIConv,
    HGNNConv,
    HGNNPlusConv,
    HNHNConv,
    HyperGCNConv,
    PhenomNN,
    PhenomNNSimple,
    UniGATConv,
    UniGCNConv,
    UniGCNIIConv,
    UniGINConv,
    UniSAGEConv,
)
from gnnlib.nn.hyper import hypergcn_graph, hypergraph_from_sets
from gnnlib.sparse import Hypergraph
from tests.nn.graphs import dense, normalised
from tests.tolerances import assert_close

N, M, F_IN, OUT = 9, 7, 5, 4


def incidences() -> Tensor:
    """Hyperedge 3 is empty, hyperedge 5 has one member, node 8 is in none; one incidence comes twice."""
    sets = [[0, 1, 2], [2, 3, 4, 5], [6, 0], [], [1, 3, 6, 7], [4], [7, 5, 2, 0, 1]]
    index = torch.tensor([(v, e) for e, s in enumerate(sets) for v in s] + [(3, 1)]).t()
    return index[:, torch.randperm(index.size(1), generator=torch.Generator().manual_seed(2))]


def matrix(index: Tensor | None = None) -> Tensor:
    """H ``[N, M]``, binary."""
    index = incidences() if index is None else index
    h = torch.zeros(N, M, dtype=torch.float64)
    h[index[0], index[1]] = 1
    return h


def leaf(*shape: int, seed: int = 1, positive: bool = False) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x.abs() + 0.2 if positive else x).requires_grad_()


def inv(d: Tensor, power: float = 1.0) -> Tensor:
    return torch.where(d == 0, 0, d.masked_fill(d == 0, 1).pow(-power))


def agree(layer: nn.Module, out: Tensor, wanted: Tensor, *leaves: Tensor) -> None:
    """Values, and gradients of the leaves and of every parameter."""
    assert_close(out, wanted)
    inputs = [*leaves, *layer.parameters()]
    weight = leaf(*out.shape, seed=9).detach()
    found = torch.autograd.grad((out * weight).sum(), inputs, retain_graph=True)
    assert_close(list(found), list(torch.autograd.grad((wanted * weight).sum(), inputs)))


def with_bias(lin: Any, x: Tensor) -> Tensor:
    return F.linear(x, lin.weight) if lin.bias is None else F.linear(x, lin.weight) + lin.bias


# -- HGNN ---------------------------------------------------------------------------------------------


def symmetric(h: Tensor, w: Tensor) -> Tensor:
    left = torch.diag(inv(h @ w, 0.5))
    return left @ h @ torch.diag(w * inv(h.sum(0))) @ h.t() @ left


def walk(h: Tensor, w: Tensor) -> Tensor:
    return torch.diag(inv(h @ w)) @ h @ torch.diag(w * inv(h.sum(0))) @ h.t()


@pytest.mark.parametrize("out", [2, 8], ids=["narrower", "wider"])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(("cls", "operator"), [(HGNNConv, symmetric), (HGNNPlusConv, walk)])
def test_hgnn(cls: Any, operator: Any, before: bool, out: int) -> None:
    layer = cls(F_IN, out, bias_before=before).double()
    x, w, index = leaf(N, F_IN), leaf(M, seed=3, positive=True), incidences()
    y = F.linear(x, layer.lin.weight)
    p = operator(matrix(), w)
    wanted = p @ (y + layer.lin.bias) if before else p @ y + layer.lin.bias
    agree(layer, layer(x, index, w), wanted, x, w)
    assert_close(layer(x, index), layer(x, index, torch.ones(M, dtype=torch.float64)))


@pytest.mark.parametrize(("cls", "operator"), [(HGNNConv, symmetric), (HGNNPlusConv, walk)])
def test_real_incidences(cls: Any, operator: Any) -> None:
    index = torch.unique(incidences(), dim=1)
    index = index[:, torch.randperm(index.size(1))]
    value, w, x = leaf(index.size(1), seed=4, positive=True), leaf(M, seed=3, positive=True), leaf(N, F_IN)
    h = torch.zeros(N, M, dtype=torch.float64).index_put((index[0], index[1]), value)
    layer = cls(F_IN, OUT).double()
    wanted = operator(h, w) @ F.linear(x, layer.lin.weight) + layer.lin.bias
    agree(layer, layer(x, index, w, value), wanted, x, w, value)
    held = Hypergraph(index, N, M, incidence_value=value, hyperedge_weight=w)
    assert_close(layer(x, held), wanted)


def test_learned_weights_and_groups() -> None:
    x, index = leaf(N, F_IN), incidences()
    learned = HGNNConv(F_IN, OUT, learn_weights=M).double()
    with torch.no_grad():
        learned.hyperedge_weight.copy_(leaf(M, positive=True))
    wanted = (
        symmetric(matrix(), learned.hyperedge_weight) @ F.linear(x, learned.lin.weight) + learned.lin.bias
    )
    agree(learned, learned(x, index), wanted, x)
    group = torch.tensor([0, 1, 0, 1, 1, 0, 0])
    fused = HGNNPlusConv(F_IN, OUT, fusion="adaptive", num_groups=2).double()
    assert_close(
        fused(x, index, hyperedge_group=group), fused(x, index, None, None, None, torch.zeros_like(group))
    )
    with torch.no_grad():
        fused.omega.copy_(torch.tensor([1.0, -2.0]))
    wanted = walk(matrix(), fused.omega.sigmoid()[group]) @ F.linear(x, fused.lin.weight) + fused.lin.bias
    agree(fused, fused(x, index, hyperedge_group=group), wanted, x)
    with pytest.raises(ValueError, match="needs hyperedge_group"):
        fused(x, index)
    with pytest.raises(ValueError, match="takes the number of groups"):
        HGNNPlusConv(F_IN, OUT, fusion="adaptive")


PAIRS = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3], [4, 0]])


def two_uniform() -> tuple[Tensor, Tensor]:
    """Edges as hyperedges of two on five nodes, and the adjacency of the graph."""
    index = torch.stack([PAIRS.flatten(), torch.arange(len(PAIRS)).repeat_interleave(2)])
    return index, dense(torch.cat([PAIRS.t(), PAIRS.t().flip(0)], 1), 5)


def test_a_graph_makes_hgnn_a_lazy_gcn() -> None:
    index, a = two_uniform()
    layer, x = HGNNConv(F_IN, OUT).double(), leaf(5, F_IN)
    lazy = (torch.eye(5, dtype=torch.float64) + normalised(a)) / 2
    assert_close(layer(x, index), lazy @ F.linear(x, layer.lin.weight) + layer.lin.bias)


def test_equal_degrees_make_both_one() -> None:
    index = torch.tensor([[0, 1, 1, 2, 2, 0], [0, 0, 1, 1, 2, 2]])
    a, b, x = HGNNConv(F_IN, OUT).double(), HGNNPlusConv(F_IN, OUT).double(), leaf(3, F_IN)
    b.load_state_dict(a.state_dict())
    assert_close(a(x, index), b(x, index))


def test_hgnn_plus_keeps_constants() -> None:
    layer = HGNNPlusConv(F_IN, F_IN, bias=False).double()
    nn.init.eye_(layer.lin.weight)
    x = torch.full((N, F_IN), 3.0, dtype=torch.float64)
    assert_close(layer(x, incidences())[:8], x[:8])
    assert (layer(x, incidences())[8] == 0).all()


# -- HNHN ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta"), [(-1.5, -0.5), (0.0, 0.0), (0.7, 1.2)])
@pytest.mark.parametrize("nonlinear", [True, False])
def test_hnhn(alpha: float, beta: float, nonlinear: bool) -> None:
    layer = HNHNConv(F_IN, OUT, hidden_channels=6, alpha=alpha, beta=beta, nonlinear=nonlinear).double()
    x, h = leaf(N, F_IN), matrix()
    into = h * inv(h.sum(1), -beta)[:, None]
    into = into * inv(into.sum(0))
    z = into.t() @ with_bias(layer.lin_hyperedge, x)
    z = F.relu(z) if nonlinear else z
    back = h * inv(h.sum(0), -alpha)
    back = back * inv(back.sum(1))[:, None]
    agree(layer, layer(x, incidences()), back @ with_bias(layer.lin_node, z), x)


# -- UniGNN -------------------------------------------------------------------------------------------


def mean_of(h: Tensor, first: str = "mean") -> Tensor:
    return (h * inv(h.sum(0))).t() if first == "mean" else h.t()


def unigcn(h: Tensor, y: Tensor, first: str = "mean") -> Tensor:
    p = mean_of(h, first)
    d = h.sum(1)
    return inv(d, 0.5)[:, None] * (h @ (inv(p @ d, 0.5)[:, None] * (p @ y)))


@pytest.mark.parametrize("first", ["mean", "sum"])
@pytest.mark.parametrize("normalize", [False, True])
def test_uni(first: Any, normalize: bool) -> None:
    x, h = leaf(N, F_IN), matrix()
    options = {"heads": 2, "first_aggr": first, "normalize": normalize}

    def norm(y: Tensor) -> Tensor:
        length = y.detach().norm(dim=1, keepdim=True)
        return y / torch.where(length > 0, length, 1) if normalize else y

    gcn = UniGCNConv(F_IN, OUT, **options).double()
    agree(gcn, gcn(x, incidences()), norm(unigcn(h, gcn.lin(x), first)), x)
    gin = UniGINConv(F_IN, OUT, eps=0.3, **options).double()
    y = gin.lin(x)
    agree(gin, gin(x, incidences()), norm((1 + gin.eps) * y + h @ (mean_of(h, first) @ y)), x)
    sage = UniSAGEConv(F_IN, OUT, **options).double()
    y = sage.lin(x)
    agree(sage, sage(x, incidences()), norm(y + h @ (mean_of(h, first) @ y)), x)


@pytest.mark.parametrize("aggr", ["sum", "mean", "max", "min"])
def test_unisage_aggregates_hyperedges(aggr: Any) -> None:
    layer, x, h = UniSAGEConv(F_IN, OUT, second_aggr=aggr).double(), leaf(N, F_IN), matrix()
    y = layer.lin(x)
    z = mean_of(h) @ y
    rows = []
    for v in range(N):
        mine = z[h[v] > 0]
        reduce: Callable[..., Any] = getattr(mine, {"max": "amax", "min": "amin"}.get(aggr, aggr))
        rows.append(reduce(0) if len(mine) else torch.zeros_like(z[0]))
    assert_close(layer(x, incidences()), y + torch.stack(rows))


@pytest.mark.parametrize("node_term", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_unigat(node_term: bool, skip: bool) -> None:
    layer = UniGATConv(F_IN, OUT, heads=3, node_term=node_term, skip=skip).double()
    x, h = leaf(N, F_IN), matrix()
    y = layer.lin(x).view(N, 3, OUT)
    z = torch.einsum("mv,vhc->mhc", mean_of(h), y)
    score = (z * layer.att).sum(-1)[None].expand(N, -1, -1)
    if layer.att_node is not None:
        score = score + (y * layer.att_node).sum(-1)[:, None]
    score = F.leaky_relu(score, 0.2).masked_fill(h[:, :, None] == 0, -torch.inf)
    alpha = score.softmax(1).nan_to_num(0)
    wanted = torch.einsum("vmh,mhc->vhc", alpha, z).flatten(1)
    agree(layer, layer(x, incidences()), wanted + (y.flatten(1) if skip else 0), x)


def test_unigat_drops_attention_in_training_only() -> None:
    layer, x = UniGATConv(F_IN, OUT, dropout=0.5), leaf(N, F_IN).float()
    assert not torch.equal(layer(x, incidences()), layer(x, incidences()))
    layer.eval()
    assert torch.equal(layer(x, incidences()), layer(x, incidences()))


def test_unigcnii() -> None:
    layer, x, x_0, h = (
        UniGCNIIConv(F_IN, alpha=0.3, beta=0.4).double(),
        leaf(N, F_IN),
        leaf(N, F_IN, seed=5),
        matrix(),
    )
    mixed = 0.7 * unigcn(h, x) + 0.3 * x_0
    agree(layer, layer(x, x_0, incidences()), 0.6 * mixed + 0.4 * layer.lin(mixed), x, x_0)
    blind = UniGCNIIConv(F_IN, alpha=1.0).double()
    assert_close(blind(x, x_0, incidences()), blind(2 * x, x_0, incidences()[:, :3]))


def test_uni_sum_is_gin_without_epsilon() -> None:
    gin, sage, x = UniGINConv(F_IN, OUT).double(), UniSAGEConv(F_IN, OUT).double(), leaf(N, F_IN)
    sage.lin.load_state_dict(gin.lin.state_dict())
    assert_close(gin(x, incidences()), sage(x, incidences()))


# -- AllSet -------------------------------------------------------------------------------------------


def set_mlp(mlp: Any, x: Tensor) -> Tensor:
    """The block by its parts: norm of the input, then linear, ReLU, norm; the last map plain."""
    if isinstance(mlp.input_norm, nn.LayerNorm):
        x = F.layer_norm(x, x.shape[1:], mlp.input_norm.weight, mlp.input_norm.bias)
    for lin, norm in zip(mlp.lins[:-1], mlp.norms, strict=True):
        x = F.relu(F.linear(x, lin.weight, lin.bias))
        x = F.layer_norm(x, x.shape[1:], norm.weight, norm.bias) if isinstance(norm, nn.LayerNorm) else x
    return F.linear(x, mlp.lins[-1].weight, mlp.lins[-1].bias)


@pytest.mark.parametrize("aggr", ["sum", "mean"])
@pytest.mark.parametrize("norm", ["layer", "none"])
def test_alldeepsets(aggr: Any, norm: Any) -> None:
    layer = AllDeepSetsConv(F_IN, OUT, hidden_channels=6, norm=norm, dropout=0.4, aggr=aggr).double().eval()
    x, h = leaf(N, F_IN), matrix()

    def half(f: Any, s: Tensor, x: Tensor) -> Tensor:
        s = s if aggr == "sum" else s * inv(s.sum(1))[:, None]
        return F.relu(set_mlp(f.decode, s @ F.relu(set_mlp(f.encode, x))))

    agree(layer, layer(x, incidences()), half(layer.e2v, h, half(layer.v2e, h.t(), x)), x)


def test_alldeepsets_without_mlps_counts_paths() -> None:
    layer, x, h = (
        AllDeepSetsConv(F_IN, F_IN, mlp_layers=0, act=False, dropout=0).double(),
        leaf(N, F_IN),
        matrix(),
    )
    assert_close(layer(x, incidences()), h @ h.t() @ x)
    with pytest.raises(ValueError, match="mlp_layers=0 keeps the width"):
        AllDeepSetsConv(F_IN, OUT, mlp_layers=0)


def pooled(f: Any, s: Tensor, x: Tensor) -> Tensor:
    """Pooling by attention with a seed, over the rows of a dense incidence matrix."""
    heads, width = f.heads, f.seed.size(2)
    key = with_bias(f.lin_key, x).view(-1, heads, width)
    value = with_bias(f.lin_value, x).view(-1, heads, width)
    score = F.leaky_relu((key * f.seed).sum(-1), 0.2)[None].expand(len(s), -1, -1)
    alpha = score.masked_fill(s[:, :, None] == 0, -torch.inf).softmax(1).nan_to_num(0)
    o = torch.einsum("enh,nhc->ehc", alpha, value) + f.seed
    o = F.layer_norm(o.flatten(1), (heads * width,), f.norm_first.weight, f.norm_first.bias)
    y = o + F.relu(set_mlp(f.mlp, o))
    return F.layer_norm(y, y.shape[1:], f.norm_last.weight, f.norm_last.bias)


def test_allset_transformer() -> None:
    layer = AllSetTransformerConv(F_IN, 4, hidden_channels=6, heads=2, dropout=0.3).double().eval()
    x, h = leaf(N, F_IN), matrix()
    wanted = pooled(layer.e2v, h, F.relu(pooled(layer.v2e, h.t(), x)))
    agree(layer, layer(x, incidences()), wanted, x)
    with pytest.raises(ValueError, match="hidden_channels=7 is not divisible by heads=2"):
        AllSetTransformerConv(F_IN, 4, hidden_channels=7, heads=2)


def test_a_seed_of_zeros_is_a_mean() -> None:
    layer, x, h = AllSetTransformerConv(F_IN, 4, heads=2).double().eval(), leaf(N, F_IN), matrix()
    nn.init.zeros_(layer.v2e.seed)
    f = layer.v2e
    o = F.layer_norm(mean_of(h) @ with_bias(f.lin_value, x), (4,), f.norm_first.weight, f.norm_first.bias)
    wanted = F.layer_norm(o + F.relu(f.mlp(o)), (4,), f.norm_last.weight, f.norm_last.bias)
    assert_close(f(x, Hypergraph(incidences(), N, M).v2e), wanted)


# -- ED-HNN -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggr", ["mean", "sum"])
@pytest.mark.parametrize("layers", [(0, 0, 0), (1, 1, 1), (2, 2, 2), (0, 3, 1)], ids=str)
@pytest.mark.parametrize("norm", ["layer", "none"])
def test_edhnn(aggr: Any, layers: tuple[int, int, int], norm: Any) -> None:
    a, b, c = layers
    layer = EDHNNConv(
        F_IN, mlp1_layers=a, mlp2_layers=b, mlp3_layers=c, aggr=aggr, alpha=0.3, norm=norm
    ).double()
    x, x_0, h = leaf(N, F_IN), leaf(N, F_IN, seed=6), matrix()
    into, back = h.t(), h
    if aggr == "mean":
        into, back = into * inv(into.sum(1))[:, None], back * inv(back.sum(1))[:, None]
    z = into @ (set_mlp(layer.mlp1, x) if a else x)
    rows = []
    for v in range(N):
        pairs = torch.cat([x[v].expand(M, -1), z], dim=1)
        rows.append(back[v] @ (set_mlp(layer.mlp2, pairs) if b else z))
    mixed = 0.7 * torch.stack(rows) + 0.3 * x_0
    agree(layer, layer(x, x_0, incidences()), set_mlp(layer.mlp3, mixed) if c else mixed, x, x_0)


def test_edhnn_without_mlps_is_hgnn_plus() -> None:
    layer = EDHNNConv(F_IN, mlp1_layers=0, mlp2_layers=0, mlp3_layers=1, alpha=0.0).double()
    plus, x = HGNNPlusConv(F_IN, F_IN).double(), leaf(N, F_IN)
    plus.lin.load_state_dict(layer.mlp3.lins[0].state_dict())
    assert_close(layer(x, None, incidences()), plus(x, incidences()))
    still = EDHNNConv(F_IN, mlp3_layers=0, alpha=1.0).double()
    assert_close(still(x, 3 * x, incidences()), 3 * x)


@pytest.mark.parametrize("layers", [(1, 1, 2), (0, 1, 1), (2, 2, 2), (1, 3, 1)], ids=str)
@pytest.mark.parametrize("norm", ["layer", "none"])
def test_edhnn_ii(layers: tuple[int, int, int], norm: Any) -> None:
    a, b, c = layers
    layer = EDHNNIIConv(F_IN, mlp1_layers=a, mlp2_layers=b, mlp3_layers=c, norm=norm).double()
    x, x_0, h = leaf(N, F_IN), leaf(N, F_IN, seed=6), matrix()
    sizes, degrees = h.sum(0), h.sum(1)
    assert degrees.min() == 0  # a node in no hyperedge: its messages and its logarithm are 0
    z = (h.t() * inv(sizes)[:, None]) @ (set_mlp(layer.mlp1, x) if a else x)
    rows = []
    for v in range(N):
        messages = torch.zeros(F_IN, dtype=torch.float64)
        for e in range(M):
            if h[v, e]:
                given = torch.cat([x[v], z[e], torch.tensor([math.log(sizes[e])], dtype=torch.float64)])
                messages = messages + h[v, e] * set_mlp(layer.mlp2, given[None])[0] / degrees[v]
        known = torch.tensor([math.log(max(float(degrees[v]), 1.0))], dtype=torch.float64)
        rows.append(torch.cat([messages, x[v], x_0[v], known]))
    agree(layer, layer(x, x_0, incidences()), set_mlp(layer.mlp3, torch.stack(rows)), x, x_0)
    assert_close(layer(x, None, incidences()), layer(x, x, incidences()))


def test_edhnn_ii_says_what_is_wrong() -> None:
    with pytest.raises(
        ValueError, match="EDHNNIIConv: mlp2_layers=0 and mlp3_layers=2; pass 1 or more of both"
    ):
        EDHNNIIConv(F_IN, mlp2_layers=0)
    with pytest.raises(ValueError, match=f"EDHNNIIConv: x has {F_IN} features but channels=3; pass as many"):
        EDHNNIIConv(3)(torch.randn(N, F_IN), None, incidences())


# -- HyperGCN -----------------------------------------------------------------------------------------


def hypergcn_by_hand(p: Tensor, sets: list[list[int]], mediators: bool) -> Tensor:
    a = torch.zeros(N, N, dtype=torch.float64)
    for s in sets:
        if len(s) < 2:
            continue
        i = max(s, key=lambda v: (float(p[v]), -v))
        j = min((v for v in s if v != i), key=lambda v: (float(p[v]), v))
        pairs = [(i, j)] + [(k, v) for v in s if v not in (i, j) for k in (i, j)]
        for k, v in pairs if mediators else pairs[:1]:
            a[k, v] += 1 / (2 * len(s) - 3) if mediators else 1 / len(s)
            a[v, k] += 1 / (2 * len(s) - 3) if mediators else 1 / len(s)
    return a


def sets_of(index: Tensor) -> list[list[int]]:
    return [sorted(set(index[0, index[1] == e].tolist())) for e in range(M)]


@pytest.mark.parametrize("mediators", [True, False])
@pytest.mark.parametrize("fast", [True, False])
def test_hypergcn(mediators: bool, fast: bool) -> None:
    layer, x = HyperGCNConv(F_IN, OUT, mediators=mediators, fast=fast).double(), leaf(N, F_IN)
    y = F.linear(x, layer.lin.weight)
    signal = (x if fast else y).detach()
    r = torch.rand(signal.size(1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = hypergcn_by_hand(signal @ r, sets_of(incidences()), mediators) + torch.eye(N)
    agree(layer, layer(x, incidences()), normalised(a) @ y + layer.lin.bias, x)


def test_hypergcn_exact_pairs_are_the_farthest() -> None:
    x = leaf(N, F_IN).detach()
    a = hypergcn_graph(x, incidences(), mediators=False, farthest="exact").to_dense()
    wanted = torch.zeros_like(a)
    for s in sets_of(incidences()):
        if len(s) > 1:
            i, j = max(
                ((i, j) for i in s for j in s if i < j), key=lambda p: float((x[p[0]] - x[p[1]]).norm())
            )
            wanted[i, j] += 1 / len(s)
            wanted[j, i] += 1 / len(s)
    assert_close(a, wanted)
    with pytest.raises(ValueError, match="farthest='nearest' is unknown"):
        hypergcn_graph(x, incidences(), farthest="nearest")  # type: ignore[arg-type]


@pytest.mark.parametrize("farthest", ["projection", "exact"])
def test_equal_features_give_two_members(farthest: Any) -> None:
    """The first two; the authors' code takes one member twice."""
    for mediators in (True, False):
        a = hypergcn_graph(torch.ones(N, 2), incidences(), mediators=mediators, farthest=farthest).to_dense()
        assert_close(a, hypergcn_by_hand(torch.ones(N), sets_of(incidences()), mediators))
        assert (a.diag() == 0).all()
    total = hypergcn_graph(torch.ones(N, 2), incidences()).to_dense().sum()
    assert float(total) == pytest.approx(2 * sum(len(s) > 1 for s in sets_of(incidences())))


@pytest.mark.parametrize("farthest", ["projection", "exact"])
def test_nan_counts_as_nearest(farthest: Any) -> None:
    """The last hyperedge has nothing else to take."""
    x = torch.tensor([[0.0], [torch.nan], [1.0], [5.0], [torch.nan], [-torch.inf], [torch.inf]])
    sets: list[set[int]] = [{0, 1, 2, 3}, {1, 2}, {1, 4}, {0, 5, 6}]
    h = hypergraph_from_sets(sets, 7)
    graph = hypergcn_graph(x, h, mediators=False, farthest=farthest)
    pairs = {(a, b) for a, b in graph.edge_index.t().tolist() if a < b}
    assert pairs >= {(0, 3), (1, 2), (1, 4)}
    assert len(pairs) == 4
    layer = HyperGCNConv(1, 2, farthest=farthest)
    x[5:] = 0
    out = layer(x, Hypergraph(torch.tensor([[0, 1, 2, 3, 5, 6], [0, 0, 0, 0, 1, 1]]), 7))
    assert out[5:].isfinite().all()


def test_a_graph_makes_hypergcn_a_gcn() -> None:
    index, a = two_uniform()
    layer, x = HyperGCNConv(F_IN, OUT).double(), leaf(5, F_IN)
    wanted = normalised(a + torch.eye(5)) @ F.linear(x, layer.lin.weight) + layer.lin.bias
    assert_close(layer(x, index), wanted)


def test_hypergcn_draws_from_its_generator() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    index = torch.stack([torch.arange(40), torch.arange(40) // 20])
    layer = HyperGCNConv(6, OUT, generator=torch.Generator().manual_seed(3))
    first = [layer(x, index) for _ in range(6)]
    assert not all(torch.equal(first[0], o) for o in first[1:])
    layer.generator = torch.Generator().manual_seed(3)
    assert torch.equal(layer(x, index), first[0])
    fixed = HyperGCNConv(6, OUT)
    assert torch.equal(fixed(x, index), fixed(x, index))
    graph = hypergcn_graph(x, index, generator=torch.Generator().manual_seed(3))
    assert torch.equal(layer(x, index, graph=graph), first[0])


# -- PhenomNN -----------------------------------------------------------------------------------------


def expansions(normalize: bool, loops: bool = True) -> tuple[Tensor, Tensor]:
    h, eye = matrix(), torch.eye(N, dtype=torch.float64)
    found = []
    for a in (h @ h.t(), h @ torch.diag(inv(h.sum(0))) @ h.t()):
        a = a + eye if loops else a
        found.append(normalised(a) if normalize else a)
    return found[0], found[1]


def laplacian(a: Tensor) -> Tensor:
    return torch.diag(a.sum(1)) - a


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize(("lam0", "lam1"), [(0.8, 1.7), (0.0, 2.0), (1.5, 0.0), (0.0, 0.0)])
def test_phenomnn_steps(lam0: float, lam1: float, normalize: bool, loops: bool) -> None:
    options = {"alpha": 0.4, "normalize": normalize, "self_loops": loops}
    x, (c, s) = leaf(N, F_IN), expansions(normalize, loops)
    q = 1 + lam0 * c.sum(1) + lam1 * s.sum(1)
    for prox in ("each", "last", None):
        simple = PhenomNNSimple(lam0, lam1, K=3, prox=prox, **options).double()
        learned = PhenomNN(F_IN, lam0, lam1, K=3, prox=prox, **options).double()
        zero = torch.zeros(F_IN, F_IN, dtype=torch.float64)
        h0 = zero if learned.compat0 is None else learned.compat0
        h1 = zero if learned.compat1 is None else learned.compat1
        y = z = x
        for _ in range(3):
            y = 0.6 * y + 0.4 * (lam0 * c @ y + lam1 * s @ y + x) / q[:, None]
            clique = c @ z @ (h0 + h0.t()) - c.sum(1)[:, None] * z @ h0 @ h0.t()
            star = laplacian(s) @ z + s @ z @ (h1 + h1.t()) - s.sum(1)[:, None] * z @ h1 @ h1.t()
            z = 0.6 * z + 0.4 * (x + lam0 * clique + lam1 * star) / q[:, None]
            y, z = (F.relu(y), F.relu(z)) if prox == "each" else (y, z)
        y, z = (F.relu(y), F.relu(z)) if prox == "last" else (y, z)
        agree(simple, simple(x, incidences()), y, x)
        agree(learned, learned(x, incidences()), z, x)


@pytest.mark.parametrize("normalize", [True, False])
def test_phenomnn_converges_to_its_dense_solve(normalize: bool) -> None:
    """The factor 2 of the clique energy is real: ordered pairs."""
    x, (c, s), eye = leaf(N, F_IN).detach(), expansions(normalize), torch.eye(N, dtype=torch.float64)
    options = {"prox": None, "normalize": normalize}
    simple = PhenomNNSimple(0.7, 1.3, alpha=1.0, K=500, **options).double()
    solved = torch.linalg.solve(eye + 0.7 * laplacian(c) + 1.3 * laplacian(s), x)
    assert_close(simple(x, incidences()), solved)
    learned = PhenomNN(F_IN, 0.7, 1.3, alpha=0.45, K=900, **options).double()
    with torch.no_grad():
        learned.compat0.copy_(torch.eye(F_IN))
        learned.compat1.copy_(torch.eye(F_IN))
    solved = torch.linalg.solve(eye + 1.4 * laplacian(c) + 1.3 * laplacian(s), x)
    assert_close(learned(x, incidences()), solved)


def test_the_energy_never_rises() -> None:
    x, index = leaf(N, F_IN).detach(), incidences()
    c, s = expansions(True)
    for alpha in (0.2, 1.0):
        layers = [PhenomNNSimple(3.0, 5.0, alpha=alpha, K=k, prox=None).double() for k in range(12)]
        energies = [float(layer.energy(layer(x, index), x, index)) for layer in layers]
        assert all(b <= a + 1e-12 for a, b in itertools.pairwise(energies))
        y = layers[3](x, index)
        wanted = (y - x).square().sum() + torch.trace(y.t() @ (3 * laplacian(c) + 5 * laplacian(s)) @ y)
        assert_close(layers[3].energy(y, x, index), wanted)


def test_phenomnn_edges() -> None:
    x = leaf(N, F_IN).detach()
    assert_close(PhenomNNSimple(0, 0, alpha=1.0, K=1, prox=None).double()(x, incidences()), x)
    assert PhenomNNSimple(20, 80).alpha == pytest.approx(1 / 101)
    with pytest.raises(ValueError, match="a step in"):
        PhenomNNSimple(alpha=1.5)
    with pytest.raises(ValueError, match="prox='first' is unknown"):
        PhenomNN(3, prox="first")  # type: ignore[arg-type]
    wide = PhenomNN(400, identity=False)
    assert float(wide.compat0.detach().std()) == pytest.approx(2 / 20, rel=0.02)
    near = PhenomNN(400)
    assert float((near.compat0.detach() - torch.eye(400)).std()) == pytest.approx(1 / 400, rel=0.02)


# -- all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [HNHNConv, HyperGCNConv, UniGCNConv, UniGATConv, UniGINConv, UniSAGEConv])
def test_weights_without_a_place_are_refused(cls: Any) -> None:
    h = Hypergraph(incidences(), N, M, hyperedge_weight=torch.ones(M))
    with pytest.raises(NotImplementedError, match=f"{cls.__name__}: the hypergraph has weights"):
        cls(F_IN, OUT)(torch.randn(N, F_IN), h)


def test_isolated_nodes_give_the_stated_value() -> None:
    x, index = leaf(N, F_IN), incidences()
    hgnn = HGNNConv(F_IN, OUT).double()
    assert_close(hgnn(x, index)[8], hgnn.lin.bias)
    sage = UniSAGEConv(F_IN, OUT).double()
    assert_close(sage(x, index)[8], sage.lin(x)[8])
    for layer in (HNHNConv(F_IN, OUT), UniGCNConv(F_IN, OUT), UniGATConv(F_IN, OUT)):
        assert (layer.double()(x, index)[8] == 0).all()
    transformer = AllSetTransformerConv(F_IN, 4).double().eval()
    f = transformer.e2v
    o = f.norm_first(f.seed.flatten(1))
    assert_close(transformer(x, index)[8:], f.norm_last(o + F.relu(f.mlp(o))))
