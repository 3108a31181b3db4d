"""Cayley filters against dense complex matrices, and what the transform promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from gnnlib.nn import CayleyConv
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import dense, normalised
from tests.tolerances import assert_close

N, F_IN, F_OUT = 20, 6, 3


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def undirected() -> tuple[Tensor, Tensor]:
    """Edges in both directions with the same weight; the last three nodes are isolated."""
    edge_index = plain_graph()
    one_way = edge_index[:, edge_index[0] < edge_index[1]].unique(dim=1)
    weight = torch.rand(one_way.size(1), dtype=torch.float64) + 0.5
    return torch.cat([one_way, one_way.flip(0)], dim=1), torch.cat([weight, weight])


def laplacian_of(a: Tensor, normalization: str | None) -> Tensor:
    a = a - torch.diag(a.diag())
    if normalization == "sym":
        return torch.eye(len(a), dtype=a.dtype) - normalised(a)
    return torch.diag(a.sum(1)) - a


def built(*args: Any, **options: Any) -> Any:
    """A layer whose zoom is drawn in double, not rounded to float first."""
    conv = CayleyConv(*args, **options).double()
    conv.reset_parameters()
    return conv


def jacobi(laplacian: Tensor, h: float, steps: int) -> Tensor:
    """The transform that the layer applies, as a dense complex matrix."""
    i = 1j * torch.eye(len(laplacian), dtype=torch.complex128)
    left, right = h * laplacian + i, h * laplacian - i
    inverse = torch.diag(1 / left.diag())
    step, first = -inverse @ (left - torch.diag(left.diag())), inverse @ right
    out = first
    for _ in range(steps):
        out = step @ out + first
    return out


def filtered(conv: Any, x: Tensor, transform: Tensor) -> Tensor:
    """The equation, from powers of a dense transform."""
    out = x @ conv.lin.weight.t()
    power, wide = torch.eye(len(x), dtype=torch.complex128), x.to(torch.complex128)
    for map_j in conv.maps:
        power = power @ transform
        out = out + 2 * (power @ wide @ torch.complex(map_j.real, map_j.imag).t()).real
    return out + conv.bias


@pytest.mark.parametrize("normalization", ["sym", None])
@pytest.mark.parametrize("out", [F_OUT, 9])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_against_dense(normalization: Any, out: int, steps: int) -> None:
    conv = built(F_IN, out, 3, steps, h=0.7, normalization=normalization)
    torch.nn.init.normal_(conv.bias)
    edge_index, weight = undirected()
    x = draw(N, F_IN)
    for w in (None, weight):
        transform = jacobi(laplacian_of(dense(edge_index, N, w), normalization), 0.7, steps)
        assert_close(conv(x, edge_index, w), filtered(conv, x, transform))


def test_loops_do_not_count() -> None:
    conv = CayleyConv(F_IN, F_OUT, 2).double()
    x, edge_index = draw(N, F_IN), awkward_graph()
    kept = edge_index[:, edge_index[0] != edge_index[1]]
    assert kept.size(1) < edge_index.size(1)
    assert_close(conv(x, edge_index), conv(x, kept))


def transform_of(h: float, steps: int, normalization: Any = "sym") -> Tensor:
    """The layer's own transform, read off the unit features with maps 1/2 and i/2."""
    conv = built(N, N, 1, steps, h=h, normalization=normalization, bias=False)
    eye, edge_index = torch.eye(N, dtype=torch.float64), undirected()[0]
    parts = []
    for real, imag in ((0.5, 0.0), (0.0, -0.5)):  # Re C, and Re(-i C) = Im C
        with torch.no_grad():
            conv.lin.weight.zero_()
            conv.maps[0].real.copy_(real * eye)
            conv.maps[0].imag.copy_(imag * eye)
        parts.append(conv(eye, edge_index).detach())
    return torch.complex(*parts)


@pytest.mark.parametrize("normalization", ["sym", None])
def test_the_transform_is_unitary(normalization: Any) -> None:
    """As the eigendecomposition has it: eigenvalues (h lambda - i) / (h lambda + i), all of modulus 1."""
    h = 0.8
    transform = transform_of(h, 2000, normalization)
    values, vectors = torch.linalg.eigh(laplacian_of(dense(undirected()[0], N), normalization))
    circle = (h * values - 1j) / (h * values + 1j)
    wide = vectors.to(torch.complex128)
    assert_close(torch.view_as_real(transform), torch.view_as_real(wide @ torch.diag(circle) @ wide.t()))
    modulus = torch.linalg.eigvals(transform).abs()
    assert_close(modulus, torch.ones_like(modulus))
    size = draw(N, 2)
    turned = transform @ torch.complex(*size.unbind(1))
    assert_close(turned.abs().square().sum(), size.square().sum())


def test_jacobi_converges_at_the_promised_rate() -> None:
    h = 1.5
    exact = transform_of(h, 400)
    rate = h / (h * h + 1) ** 0.5
    first = torch.linalg.matrix_norm(transform_of(h, 0) - exact, 2)
    for steps in (1, 4, 16):
        error = torch.linalg.matrix_norm(transform_of(h, steps) - exact, 2)
        assert 1e-9 < error <= first * rate**steps * 1.0001


def test_the_zoom_is_positive_and_learned() -> None:
    conv = CayleyConv(F_IN, F_OUT, 2, 3, h=0.25).double()
    assert conv.h.item() == pytest.approx(0.25)
    with torch.no_grad():
        conv.log_h.fill_(-40.0)
    assert conv.h > 0
    edge_index, weight = undirected()
    x = draw(N, F_IN)
    weight.requires_grad_()

    def run(log_h: Tensor, weight: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(conv, {"log_h": log_h}, (x, edge_index, weight))
        return out

    assert gradcheck(run, (torch.zeros((), dtype=torch.float64, requires_grad=True), weight), fast_mode=True)


def test_a_small_zoom_leaves_the_features_alone() -> None:
    """h to 0 gives C = -1, a map of each node by itself."""
    conv = built(F_IN, F_OUT, 1, h=1e-9)
    x = draw(N, F_IN)
    own = x @ (conv.lin.weight - 2 * conv.maps[0].real).t()
    torch.testing.assert_close(conv(x, undirected()[0]), own, rtol=1e-7, atol=1e-7)  # h itself is left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "r=0"),
        ({"K": -1}, "K=-1"),
        ({"h": 0.0}, "h=0.0; pass r of 1 or more, K of 0 or more and a positive h"),
        ({"normalization": "rw"}, "normalization='rw' is unknown"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CayleyConv(F_IN, F_OUT, **options)
