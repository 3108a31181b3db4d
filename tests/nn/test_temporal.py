"""Layers of series against dense matrices, torch's GRU, and what must not see the future."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from gnnlib.nn import (
    ChebConv,
    DCGRUCell,
    DiffusionConv,
    GatedTemporalConv,
    GCNConv,
    GraphWaveNetLayer,
    STGCNBlock,
    adaptive_adjacency,
)
from gnnlib.sparse import use_backend
from tests.nn.cases import awkward_graph, weighted_graph
from tests.nn.graphs import dense
from tests.tolerances import assert_close

N, B, T, F_IN = 20, 3, 9, 4


def series(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walks(edge_index: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """D_O^-1 W and D_I^-1 W^T with W from row to column, both dense."""
    w = dense(edge_index, N, weight).t()

    def mean(m: Tensor) -> Tensor:
        total = m.sum(1, keepdim=True)
        return torch.where(total > 0, m / total.clamp(min=1e-300), 0)

    return mean(w), mean(w.t())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("out", [2, 6])  # narrower and wider than the input: maps first, walks first
@pytest.mark.parametrize("K", [1, 2, 4])
def test_diffusion_is_its_dense_sum(K: int, out: int, weighted: bool) -> None:
    edge_index = awkward_graph(N)
    weight = series(edge_index.size(1), seed=1).abs() if weighted else None
    conv = DiffusionConv(F_IN, out, K, adaptive=True).double()
    e1, e2 = series(N, 3, seed=2), series(N, 3, seed=3)
    adaptive = adaptive_adjacency(e1, e2)
    scores = (e1 @ e2.t()).clamp(min=0).exp()
    learned = scores / scores.sum(1, keepdim=True)
    assert_close(adaptive, learned)
    x = series(B, T, N, F_IN)
    torch.nn.init.normal_(conv.bias)
    maps = [lin.weight for lin in conv.lins]
    expected = x @ maps[0].t() + conv.bias
    for i, walk in enumerate([*walks(edge_index, weight), learned]):
        for k in range(1, K):
            expected = expected + torch.matrix_power(walk, k) @ x @ maps[i * (K - 1) + k].t()
    assert_close(conv(x, edge_index, weight, adaptive), expected)


def test_a_batch_takes_one_product_with_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    import gnnlib.nn.temporal.diffusion as module

    seen: list[tuple[int, ...]] = []
    real = module.propagate

    def counted(adj: object, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        seen.append(tuple(x.shape))
        return real(adj, x, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "propagate", counted)
    DiffusionConv(F_IN, 8, 3)(series(B, T, N, F_IN).float(), awkward_graph(N))
    assert seen == [(N, B * T * F_IN)] * 2  # along and against the edges


def test_diffusion_refuses() -> None:
    x, edge_index = series(N, F_IN).float(), awkward_graph(N)
    with pytest.raises(ValueError, match="K=0 leaves no term"):
        DiffusionConv(F_IN, 2, 0)
    with pytest.raises(ValueError, match="adaptive=True but no matrix came"):
        DiffusionConv(F_IN, 2, 2, adaptive=True)(x, edge_index)
    with pytest.raises(ValueError, match="adaptive=False; build"):
        DiffusionConv(F_IN, 2, 2)(x, edge_index, None, torch.eye(N))
    with pytest.raises(ValueError, match=r"\[3, 3\] but x has 20 nodes"):
        DiffusionConv(F_IN, 2, 2, adaptive=True)(x, edge_index, None, torch.eye(3))
    with pytest.raises(ValueError, match=r"expected \[\*, N, F\]"):
        DiffusionConv(F_IN, 2, 2)(x[0], edge_index)
    with pytest.raises(TypeError, match=r"x is torch\.int64"):
        DiffusionConv(F_IN, 2, 2)(x.long(), edge_index)
    with pytest.raises(ValueError, match="two of the same shape"):
        adaptive_adjacency(torch.ones(3, 2), torch.ones(2, 2))


def test_on_one_node_the_cell_is_a_gru() -> None:
    """Cho's unit, which is torch's where the candidate's recurrent matrix is diagonal and has no bias."""
    width = 5
    cell, gru = DCGRUCell(F_IN, width, 1).double(), nn.GRUCell(F_IN, width).double()
    diagonal = series(width, seed=1)
    with torch.no_grad():
        gru.weight_hh[2 * width :] = torch.diag(diagonal)
        gru.bias_hh[2 * width :] = 0
        (gates,), (candidate,) = cell.gates.lins, cell.candidate.lins
        both = torch.cat([gru.weight_ih, gru.weight_hh], dim=1)
        gates.weight.copy_(both[: 2 * width])
        candidate.weight.copy_(both[2 * width :])
        cell.gates.bias.copy_((gru.bias_ih + gru.bias_hh)[: 2 * width])
        cell.candidate.bias.copy_(gru.bias_ih[2 * width :])
    nothing, h, expected = torch.empty(2, 0, dtype=torch.int64), None, None
    for t in range(4):
        x = series(B, 1, F_IN, seed=t)
        h = cell(x, nothing, None, h)
        expected = gru(x[:, 0], expected)
        assert_close(h[:, 0], expected)


def test_the_cell_is_its_dense_equation() -> None:
    edge_index = weighted_graph(N)
    weight = series(edge_index.size(1), seed=1).abs()
    along, against = walks(edge_index, weight)
    cell = DCGRUCell(F_IN, 3, 2).double()
    x, h = series(B, N, F_IN), series(B, N, 3, seed=2)

    def product(conv: DiffusionConv, z: Tensor) -> Tensor:
        own, first, second = (lin.weight.t() for lin in conv.lins)
        return z @ own + along @ z @ first + against @ z @ second + conv.bias

    r, u = product(cell.gates, torch.cat([x, h], -1)).sigmoid().split(3, -1)
    new = product(cell.candidate, torch.cat([x, r * h], -1)).tanh()
    assert_close(cell(x, edge_index, weight, h), u * h + (1 - u) * new)
    assert_close(cell(x, edge_index, weight), cell(x, edge_index, weight, torch.zeros_like(h)))
    with pytest.raises(ValueError, match=r"h has shape \[20, 3\]"):
        cell(x, edge_index, weight, h[0])


@pytest.mark.parametrize("form", ["linear", "tanh"])
@pytest.mark.parametrize(("k", "dilation"), [(1, 1), (2, 3), (3, 2)])
def test_gated_convolution_is_torchs(form: str, k: int, dilation: int) -> None:
    conv = GatedTemporalConv(F_IN, 6, k, dilation=dilation, form=form).double()  # type: ignore[arg-type]
    x = series(B, T, N, F_IN)
    kernel = conv.lin.weight.view(12, k, F_IN).permute(0, 2, 1)[..., None]  # [2 out, in, k, 1]
    image = x.permute(0, 3, 1, 2)  # [B, F, T, N]
    full = nn.functional.conv2d(image, kernel, conv.lin.bias, dilation=(dilation, 1)).permute(0, 2, 3, 1)
    p, q = full.split(6, -1)
    out = conv(x)
    assert out.shape == (B, T - dilation * (k - 1), N, 6)
    assert_close(out, (p.tanh() if form == "tanh" else p) * q.sigmoid())


def test_gated_convolution_refuses() -> None:
    conv = GatedTemporalConv(F_IN, 6, 3, dilation=2)
    with pytest.raises(ValueError, match="at least 5 steps"):
        conv(torch.randn(4, N, F_IN))
    with pytest.raises(ValueError, match=r"expected \[\*, T, N, F\]"):
        conv(torch.randn(N, F_IN))
    with pytest.raises(ValueError, match="both are 1 or more"):
        GatedTemporalConv(F_IN, 6, 0)
    with pytest.raises(ValueError, match="form='relu'"):
        GatedTemporalConv(F_IN, 6, 2, form="relu")  # type: ignore[arg-type]


@pytest.mark.parametrize("K", [None, 1, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_stgcn_block_is_its_parts(K: int | None, kernel: int) -> None:
    """Step by step, with the layers that serve single graphs."""
    edge_index = weighted_graph(N)
    weight = series(edge_index.size(1), seed=1).abs()
    block = STGCNBlock(F_IN, 6, 3, kernel, K).double()
    single = GCNConv(6, 6).double() if K is None else ChebConv(6, 6, K).double()
    lins = [single.lin] if K is None else single.lins
    with torch.no_grad():
        for ours, its in zip(block.spatial.lins, lins, strict=True):
            its.weight.copy_(ours.weight)
        torch.nn.init.normal_(block.spatial.bias)
        single.bias.copy_(block.spatial.bias)
    x = series(B, T, N, F_IN)
    h = block.first(x)
    h = torch.stack([torch.stack([single(step, edge_index, weight) for step in one]) for one in h]).relu()
    h = block.second(h)
    mean, variance = h.mean(-1, keepdim=True), h.var(-1, unbiased=False, keepdim=True)
    out = block(x, edge_index, weight)
    assert out.shape == (B, T - 2 * (kernel - 1), N, 3)
    assert_close(out, (h - mean) / (variance + 1e-5).sqrt())


def test_stgcn_block_refuses() -> None:
    with pytest.raises(ValueError, match="STGCNBlock: K=0"):
        STGCNBlock(F_IN, 6, 3, K=0)
    with pytest.raises(ValueError, match="normalization='left'"):
        STGCNBlock(F_IN, 6, 3, normalization="left")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 3 steps"):
        STGCNBlock(F_IN, 6, 3)(torch.randn(4, N, F_IN), awkward_graph(N))


def test_wavenet_layer_is_its_parts() -> None:
    edge_index = awkward_graph(N)
    layer = GraphWaveNetLayer(F_IN, 6, dilation=2, adaptive=True).double()
    x, adaptive = series(B, T, N, F_IN), torch.softmax(series(N, N, seed=1), 1)
    out, z = layer(x, edge_index, None, adaptive)
    assert_close(z, layer.temporal(x))
    assert_close(out, layer.spatial(z, edge_index, None, adaptive) + x[:, 2:])
    assert out.shape == (B, T - 2, N, F_IN)


@pytest.mark.parametrize("when", [0, 4, 8])
def test_no_layer_sees_the_future(when: int) -> None:
    """Two layers of dilation 1 and 2: output t belongs to step t + 3."""
    edge_index = awkward_graph(N)
    first, second = GraphWaveNetLayer(F_IN).double(), GraphWaveNetLayer(F_IN, dilation=2).double()

    def run(x: Tensor) -> Tensor:
        out: Tensor = second(first(x, edge_index)[0], edge_index)[0]
        return out

    x = series(B, T, N, F_IN)
    other = x.clone()
    other[:, when] += 1
    differs = (run(x) - run(other)).abs().amax(dim=(0, 2, 3)) > 0
    assert differs.tolist() == [when <= t + 3 <= when + 3 for t in range(T - 3)]


@pytest.mark.parametrize("layer", ["diffusion", "cell", "stgcn", "wavenet"])
def test_gradients_reach_features_weights_and_the_learned_graph(layer: str) -> None:
    edge_index = weighted_graph(6, 9)
    weight = series(9, seed=1).abs().add(0.1).requires_grad_()
    x, e = series(2, 5, 6, 2).requires_grad_(), series(6, 6, seed=2).requires_grad_()
    built = {
        "diffusion": DiffusionConv(2, 3, 3, adaptive=True),
        "cell": DCGRUCell(2, 2, 2),
        "stgcn": STGCNBlock(2, 3, 2, 2),
        "wavenet": GraphWaveNetLayer(2, 3, adaptive=True),
    }[layer].double()

    def run(x: Tensor, weight: Tensor, e: Tensor) -> Tensor:
        extra = (e.softmax(1),) if layer in ("diffusion", "wavenet") else ()
        out = built(x, edge_index, weight, *extra)
        return out[0] if isinstance(out, tuple) else out + 0 * e.sum()

    assert gradcheck(run, (x, weight, e), fast_mode=True)


def test_every_backend_gives_the_same_diffusion() -> None:
    conv, x, edge_index = DiffusionConv(F_IN, 6, 3), series(B, N, F_IN).float(), awkward_graph(N)
    with use_backend("reference"):
        expected = conv(x, edge_index)
    assert_close(conv(x, edge_index), expected)
