"""HypergraphConv against dense algebra, and where it and PyG's layer part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch_geometric.nn
from torch import Tensor

from gnnlib.nn import HypergraphConv
from gnnlib.sparse import as_csr
from tests.nn.graphs import dense
from tests.nn.test_parity_gates import F_IN, M, N, incidences, leaf
from tests.tolerances import assert_close

OUT = 4


def incidence(index: Tensor) -> Tensor:
    """H ``[N, M]``."""
    h = torch.zeros(N, M, dtype=torch.float64)
    return h.index_put((index[0], index[1]), torch.ones(index.size(1), dtype=torch.float64), accumulate=True)


def inverse(degree: Tensor) -> Tensor:
    return torch.where(degree == 0, 0, 1 / degree.masked_fill(degree == 0, 1))


def masked_softmax(score: Tensor, h: Tensor, dim: int) -> Tensor:
    """Softmax over the incidences of a dense matrix ``[N, M, H]``."""
    value = score.masked_fill(h[:, :, None] == 0, -torch.inf)
    return value.softmax(dim).nan_to_num(0)


def formula(layer: Any, x: Tensor, index: Tensor, w: Tensor, attr: Tensor | None = None) -> Tensor:
    """The docstring, with dense matrices."""
    h = incidence(index)
    y = layer.lin(x).view(N, layer.heads, OUT)
    first = (inverse(h.sum(0)) * h)[:, :, None].expand(-1, -1, layer.heads)
    second = (inverse(h @ w)[:, None] * h * w)[:, :, None].expand(-1, -1, layer.heads)
    if attr is not None:
        g = layer.lin(attr).view(M, layer.heads, OUT)
        node, edge = layer.att[0].split(OUT, dim=-1)
        score = (y * node).sum(-1)[:, None] + (g * edge).sum(-1)[None]
        score = torch.nn.functional.leaky_relu(score, layer.negative_slope)
        if layer.attention_mode in ("node", "both"):
            first = masked_softmax(score, h, 0)
        if layer.attention_mode in ("edge", "both"):
            second = masked_softmax(score, h, 1) * w[:, None]
            second = second * inverse(second.sum(1, keepdim=True))
    z = torch.einsum("vmh,vhf->mhf", first, y)
    out = torch.einsum("vmh,mhf->vhf", second, z)
    return (out.flatten(1) if layer.concat else out.mean(1)) + layer.bias


MODES = [
    {},
    *({"use_attention": True, "heads": 3, "attention_mode": m} for m in ("node", "edge", "both")),
    {"use_attention": True, "heads": 2, "concat": False, "negative_slope": 0.4},
]


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_formula(options: dict[str, Any], weighted: bool) -> None:
    layer = HypergraphConv(F_IN, OUT, **options).double()
    torch.nn.init.normal_(layer.bias)
    x, index = leaf(N, F_IN), incidences()
    attr = leaf(M, F_IN) if layer.use_attention else None
    w = leaf(M, positive=True)
    given = w if weighted else None
    unit = w if weighted else torch.ones(M, dtype=torch.float64)
    out, wanted = layer(x, index, given, attr, num_edges=M), formula(layer, x, index, unit, attr)
    assert_close(out, wanted)
    leaves = [x, *layer.parameters(), *([w] if weighted else []), *([attr] if attr is not None else [])]
    found = torch.autograd.grad(out.square().sum(), leaves)
    assert_close(list(found), list(torch.autograd.grad(wanted.square().sum(), leaves)))


def test_without_weights_and_attention_pyg_agrees() -> None:
    ours = HypergraphConv(F_IN, OUT).double()
    theirs = torch_geometric.nn.HypergraphConv(F_IN, OUT).double()
    theirs.load_state_dict(ours.state_dict())
    x, index = leaf(N, F_IN), incidences()
    assert_close(ours(x, index), theirs(x, index))


def test_a_common_factor_of_the_weights() -> None:
    """It cancels in the formula; in PyG's it divides the output."""
    x, index, w = leaf(N, F_IN), incidences(), leaf(M, positive=True)
    layer = HypergraphConv(F_IN, OUT, bias=False).double()
    assert_close(layer(x, index, 3 * w), layer(x, index, w))
    compat = HypergraphConv(F_IN, OUT, bias=False, pyg_compat=True).double()
    assert_close(compat(x, index, 4 * w), compat(x, index, w) / 4)


@pytest.mark.parametrize("mode", ["node", "edge", "both"])
def test_equal_scores_give_means(mode: Any) -> None:
    layer = HypergraphConv(F_IN, OUT, use_attention=True, attention_mode=mode).double()
    plain = HypergraphConv(F_IN, OUT).double()
    torch.nn.init.zeros_(layer.att)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "att"})
    x, index, w = leaf(N, F_IN), incidences(), leaf(M, positive=True)
    assert_close(layer(x, index, w, leaf(M, F_IN)), plain(x, index, w))


def test_a_graph_is_a_lazy_walk() -> None:
    """Edges as hyperedges of two: half of each node stays with it."""
    pairs = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3], [4, 0]])
    index = torch.stack([pairs.flatten(), torch.arange(len(pairs)).repeat_interleave(2)])
    a = dense(torch.cat([pairs.t(), pairs.t().flip(0)], 1), 5)
    layer = HypergraphConv(F_IN, OUT, bias=False).double()
    x = leaf(5, F_IN)
    y = layer.lin(x)
    assert_close(layer(x, index), (y + a @ y / a.sum(1, keepdim=True)) / 2)


def test_number_of_hyperedges() -> None:
    """Hyperedges after the last one named have no members; weights and features say how many there are."""
    layer = HypergraphConv(F_IN, OUT).double()
    x, index = leaf(N, F_IN), incidences()
    for out in (
        layer(x, index, num_edges=M + 4),
        layer(x, index, torch.ones(M + 4).double()),
        layer(x, as_csr(index, (N, M + 4))),
    ):
        assert_close(out, layer(x, index))


def test_dropout_leaves_some_incidences() -> None:
    layer = HypergraphConv(F_IN, OUT, use_attention=True, dropout=0.5).double()
    x, index, attr = leaf(N, F_IN), incidences(), leaf(M, F_IN)
    assert not torch.equal(layer(x, index, None, attr), layer(x, index, None, attr))
    layer.eval()
    assert torch.equal(layer(x, index, None, attr), layer(x, index, None, attr))


def test_wrong_inputs_fail_clearly() -> None:
    layer, x, index = HypergraphConv(F_IN, OUT), torch.randn(N, F_IN), incidences()
    attended = HypergraphConv(F_IN, OUT, use_attention=True)
    for call, error, message in (
        (
            lambda: layer(x, index, torch.ones(3), num_edges=M),
            ValueError,
            r"hyperedge_weight has shape \[3\]",
        ),
        (
            lambda: layer(x, index, torch.ones(3)),
            ValueError,
            "target node 8 but the graph has 3 target nodes",
        ),
        (lambda: attended(x, index), ValueError, "needs hyperedge_attr"),
        (lambda: attended(x, index, None, x[:4], num_edges=M), ValueError, "hyperedge_attr has shape"),
        (lambda: HypergraphConv(F_IN, 4, attention_mode="x"), ValueError, "choose one of node, edge, both"),
        (
            lambda: HypergraphConv(F_IN, 4, attention_mode="both", pyg_compat=True),
            ValueError,
            "choose one of node, edge$",
        ),
        (lambda: HypergraphConv(F_IN, 4, aggr="max"), NotImplementedError, "aggr='max' is not offered"),
    ):
        with pytest.raises(error, match=message):
            call()
