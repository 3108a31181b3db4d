"""Layers of directed graphs against dense matrices, and the identities that their papers name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import DirGNNConv as PyGDirGNNConv
from torch_geometric.nn import GCNConv as PyGGCNConv
from torch_geometric.nn import SAGEConv as PyGSAGEConv

from gnnlib.nn import (
    ChebConv,
    ComplexFaberConv,
    DirGCNConv,
    DirGNNConv,
    DirResolvConv,
    FaberConv,
    GATConv,
    GCNConv,
    MagNetConv,
    SAGEConv,
)
from gnnlib.nn.conv import resolvent as resolvents
from gnnlib.nn.conv.directed_norm import directed_norm
from gnnlib.nn.conv.magnet import magnetic_step
from gnnlib.nn.conv.resolvent import Resolvent
from gnnlib.sparse import as_csr
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import dense
from tests.tolerances import assert_close

N, F_IN, F_OUT = 20, 6, 3
WEIGHTED = pytest.mark.parametrize("weighted", [False, True])


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def weights(weighted: bool) -> Tensor | None:
    return torch.rand(plain_graph().size(1), dtype=torch.float64) + 0.5 if weighted else None


def scaled(a: Tensor, exponent: float) -> Tensor:
    def power(d: Tensor) -> Tensor:
        return torch.where(d > 0, d.clamp(min=1e-300) ** exponent, 0)

    return power(a.sum(1))[:, None] * a * power(a.sum(0))[None]


def undirected() -> Tensor:
    edge_index = plain_graph()
    return torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)


# -- FaberConv and Dir-GCN ----------------------------------------------------------------------------


def faber(conv: Any, x: Tensor, a: Tensor, maps: Any) -> Tensor:
    """The equation, from powers of dense matrices; ``maps`` turns a map's module into a matrix."""
    t = scaled(a, conv.exponent)
    first = 0 if conv.zero_order else 1
    out = torch.zeros(x.size(0), 1, dtype=x.dtype)
    for share, lins, step in ((conv.alpha, conv.lins_out, t.t()), (1 - conv.alpha, conv.lins_in, t)):
        for k, lin in enumerate(lins, first):
            factor = 2.0 ** (1 - k) if conv.penalty == "exp" else {0: 1, 1: 1, 2: 1, 3: 1 / 2}[k]
            power = torch.linalg.matrix_power(step, k)
            out = out + share * factor * (power.to(x.dtype) @ x @ maps(lin))
    return out


@WEIGHTED
@pytest.mark.parametrize("out", [F_OUT, 9])
@pytest.mark.parametrize(
    "options",
    [
        {"K": 1},
        {"K": 3, "alpha": 0.0},
        {"K": 3, "alpha": 1.0, "zero_order": True},
        {"K": 3, "alpha": 0.3, "penalty": "lin", "exponent": -0.5},
        {"K": 2, "alpha": 0.7, "learn_alpha": True, "zero_order": True, "penalty": "lin"},
    ],
    ids=str,
)
def test_faber_is_the_sum_of_powers_in_both_directions(
    weighted: bool, out: int, options: dict[str, Any]
) -> None:
    conv, x, weight = FaberConv(F_IN, out, **options).double(), draw(N, F_IN), weights(weighted)
    expected = faber(conv, x, dense(plain_graph(), N, weight), lambda lin: lin.weight.t())
    assert_close(conv(x, plain_graph(), weight), expected + conv.bias)


def as_complex(x: Tensor) -> Tensor:
    real, imag = x.chunk(2, dim=1)
    return torch.complex(real, imag)


@pytest.mark.parametrize("out", [F_OUT, 9])
@pytest.mark.parametrize("real", [False, True])
def test_complex_faber_is_the_same_sum_with_complex_maps(out: int, real: bool) -> None:
    conv = ComplexFaberConv(F_IN, out, 3, alpha=0.4, zero_order=True).double()
    nn.init.normal_(conv.bias)
    x = draw(N, F_IN) if real else draw(N, 2 * F_IN)
    z = x.to(torch.complex128) if real else as_complex(x)
    expected = faber(conv, z, dense(plain_graph(), N), lambda m: torch.complex(m.real, m.imag).t())
    assert conv.bias is not None
    assert_close(as_complex(conv(x, plain_graph())).real, (expected + as_complex(conv.bias[None])).real)
    assert_close(as_complex(conv(x, plain_graph())).imag, (expected + as_complex(conv.bias[None])).imag)


def test_complex_faber_without_imaginary_maps_is_the_real_one() -> None:
    conv, real = (cls(F_IN, F_OUT, 2).double() for cls in (ComplexFaberConv, FaberConv))
    with torch.no_grad():
        for theirs, ours in ((conv.lins_out, real.lins_out), (conv.lins_in, real.lins_in)):
            for m, lin in zip(theirs, ours, strict=True):
                m.imag.zero_()
                m.real.copy_(lin.weight)
    x = draw(N, F_IN)
    out = conv(x, plain_graph())
    assert_close(out[:, :F_OUT], real(x, plain_graph()))
    assert not out[:, F_OUT:].any()


def test_faber_on_a_path_forgets_all_powers_beyond_its_depth() -> None:
    path = torch.tensor([[0, 1, 2], [1, 2, 3]])  # nilpotent: T^4 = 0
    conv, x = FaberConv(F_IN, F_OUT, 6).double(), draw(4, F_IN)
    before = conv(x, path)
    with torch.no_grad():
        for lins in (conv.lins_out, conv.lins_in):
            for lin in lins[3:]:
                lin.weight.fill_(100.0)
    assert_close(conv(x, path), before)


def test_faber_with_tied_maps_on_an_undirected_graph_knows_no_direction() -> None:
    outs, x = [], draw(N, F_IN)
    for alpha in (0.2, 0.5, 0.9):
        conv = FaberConv(F_IN, F_OUT, 2, alpha=alpha).double()
        torch.manual_seed(1)
        for a, b in zip(conv.lins_out, conv.lins_in, strict=True):
            nn.init.normal_(a.weight)
            b.load_state_dict(a.state_dict())
        outs.append(conv(x, undirected()))
    assert_close(outs[0], outs[1])
    assert_close(outs[0], outs[2])


def test_dir_gcn_by_hand() -> None:
    # Edges 0 -> 1, 0 -> 2, 1 -> 2 and x = (1, 10, 100): node 0 sends although nothing points to it.
    edge_index, x = torch.tensor([[0, 0, 1], [1, 2, 2]]), torch.tensor([[1.0], [10.0], [100.0]])
    one = torch.ones(1, 1)
    conv = DirGCNConv(1, 1, alpha=0.0, bias=False)
    conv.lins_in[0].weight = nn.Parameter(one)
    assert_close(conv(x, edge_index), torch.tensor([[0.0], [0.5**0.5], [0.5 + 10 / 2**0.5]]))
    conv = DirGCNConv(1, 1, alpha=1.0, bias=False)
    conv.lins_out[0].weight = nn.Parameter(one)
    assert_close(conv(x, edge_index), torch.tensor([[10 / 2**0.5 + 50], [100 / 2**0.5], [0.0]]))


@WEIGHTED
def test_dir_gnn_of_gcn_is_dir_gcn(weighted: bool) -> None:
    x, weight = draw(N, F_IN), weights(weighted)
    direct = DirGCNConv(F_IN, F_OUT, alpha=0.3, root_weight=True).double()
    wrapped = DirGNNConv(GCNConv(F_IN, F_OUT, bias=False), 0.3).double()
    assert wrapped.lin is not None
    assert direct.lin is not None
    with torch.no_grad():
        direct.lins_in[0].weight.copy_(wrapped.conv_in.lin.weight)
        direct.lins_out[0].weight.copy_(wrapped.conv_out.lin.weight)
        direct.lin.weight.copy_(wrapped.lin.weight)
        direct.bias.copy_(wrapped.lin.bias)
    assert_close(wrapped(x, plain_graph(), weight), direct(x, plain_graph(), weight))


@pytest.mark.parametrize("root_weight", [False, True])
@pytest.mark.parametrize("kind", ["gcn", "sage"])
def test_dir_gnn_has_pygs_weights_and_compat_its_numbers(kind: str, root_weight: bool) -> None:
    inner = {"gcn": (GCNConv, PyGGCNConv), "sage": (SAGEConv, PyGSAGEConv)}[kind]
    ours = DirGNNConv(inner[0](F_IN, F_OUT), 0.3, root_weight, pyg_compat=True)
    theirs = PyGDirGNNConv(inner[1](F_IN, F_OUT), 0.3, root_weight)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(N, F_IN)
    assert_close(ours(x, plain_graph()), theirs(x, plain_graph()))


def test_dir_gnn_takes_attention_with_heads() -> None:
    x = torch.randn(N, F_IN)
    conv = DirGNNConv(GATConv(F_IN, F_OUT, heads=2), 0.3)
    back, forth = conv.conv_out(x, plain_graph().flip(0)), conv.conv_in(x, plain_graph())
    assert conv.lin is not None
    assert_close(conv(x, plain_graph()), 0.3 * back + 0.7 * forth + conv.lin(x))
    assert not conv.conv_in.add_self_loops


def test_dir_gnn_tells_a_path_from_a_collider() -> None:
    path, collider = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[0, 2], [1, 1]])
    conv, x = DirGNNConv(SAGEConv(2, 4, "sum")), torch.ones(3, 2)
    assert (conv(x, path)[1] - conv(x, collider)[1]).abs().max() > 1e-3


# -- MagNet -------------------------------------------------------------------------------------------


def laplacian(a: Tensor, q: float) -> Tensor:
    """L of the matrix with row = source."""
    sym = (a + a.t()) / 2
    d = sym.sum(1)
    scale = torch.where(d > 0, d.clamp(min=1e-300).rsqrt(), 0)
    h = sym * torch.exp(2j * math.pi * q * (a - a.t()))
    return torch.eye(a.size(0)) - scale[:, None] * h * scale[None]


@WEIGHTED
@pytest.mark.parametrize("q", [0.0, 0.1, 0.25])
@pytest.mark.parametrize("k", [0, 1, 2, 4])
@pytest.mark.parametrize("out", [F_OUT, 9])
def test_magnet_is_the_complex_chebyshev_filter(weighted: bool, q: float, k: int, out: int) -> None:
    conv, x, weight = MagNetConv(F_IN, out, k, q=q).double(), draw(N, 2 * F_IN), weights(weighted)
    a = dense(plain_graph(), N, weight).t()
    z, l_tilde = as_complex(x), laplacian(a, q) - torch.eye(N)
    terms = [z, l_tilde @ z]
    while len(terms) <= k:
        terms.append(2 * l_tilde @ terms[-1] - terms[-2])
    expected = sum(t @ w.to(t.dtype) for t, w in zip(terms[: k + 1], conv.weight, strict=True))
    found = as_complex(conv(x, plain_graph(), weight))
    assert_close(found.real, expected.real)
    assert_close(found.imag, expected.imag)


@pytest.mark.parametrize("q", [0.05, 0.25])
def test_the_magnetic_laplacian_is_hermitian_and_positive(q: float) -> None:
    eye = torch.cat([torch.eye(N, dtype=torch.float64), torch.zeros(N, N, dtype=torch.float64)], dim=1)
    step = magnetic_step(as_csr(awkward_graph(), N), None, eye, q)
    found = as_complex(step(eye)) + torch.eye(N)
    assert_close(found.real, found.real.t())
    assert_close(found.imag, -found.imag.t())
    values = torch.linalg.eigvalsh(found)
    assert values.min() > -1e-12
    assert values.max() < 2 + 1e-12
    a = dense(awkward_graph(), N).clamp(max=1).t()  # parallel edges count once
    assert_close(found.real, laplacian(a, q).real)
    assert_close(found.imag, laplacian(a, q).imag)


def test_magnet_without_charge_is_chebyshev_on_the_undirected_graph() -> None:
    magnet, cheb = MagNetConv(F_IN, F_OUT, 3, q=0.0).double(), ChebConv(F_IN, F_OUT, 4).double()
    x = draw(N, F_IN)
    with torch.no_grad():
        for lin, w in zip(cheb.lins, magnet.weight, strict=True):
            lin.weight.copy_(w.t())
    half = torch.full((2 * plain_graph().size(1),), 0.5, dtype=torch.float64)
    both = torch.cat([plain_graph(), plain_graph().flip(0)], dim=1)
    out = magnet(x, plain_graph())
    connected = dense(both, N).sum(1) > 0  # ChebConv gives an isolated node another entry on the diagonal
    assert_close(out[connected, :F_OUT], cheb(x, both, half)[connected])
    assert not out[:, F_OUT:].any()


def test_reversing_all_edges_conjugates_magnets_output() -> None:
    conv, x = MagNetConv(F_IN, F_OUT, 3, bias=False).double(), draw(N, F_IN)
    there, back = as_complex(conv(x, plain_graph())), as_complex(conv(x, plain_graph().flip(0)))
    assert there.imag.abs().max() > 0.1
    assert_close(back.real, there.real)
    assert_close(back.imag, -there.imag)


# -- Dir-ResolvNet ------------------------------------------------------------------------------------


def resolvent(a: Tensor, mass: Tensor | None = None) -> Tensor:
    m = torch.ones(a.size(0), dtype=a.dtype) if mass is None else mass
    return torch.linalg.inv(torch.diag(a.sum(1) + m) - a) @ torch.diag(m)


@WEIGHTED
@pytest.mark.parametrize("out", [F_OUT, 9])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_dir_resolv_is_the_sum_of_dense_inverses(weighted: bool, out: int, alpha: float) -> None:
    conv, x, weight = DirResolvConv(F_IN, out, 3, alpha=alpha).double(), draw(N, F_IN), weights(weighted)
    mass = torch.rand(N, dtype=torch.float64) + 0.5
    a = dense(plain_graph(), N, weight)
    expected = torch.zeros(N, out, dtype=torch.float64)
    for share, lins, r in (
        (alpha, conv.lins_out, resolvent(a.t(), mass)),
        (1 - alpha, conv.lins_in, resolvent(a, mass)),
    ):
        for k, lin in enumerate(lins, 1):
            expected += share * torch.linalg.matrix_power(r, k) @ x @ lin.weight.t()
    assert_close(conv(x, plain_graph(), weight, mass), expected)


def test_the_resolvent_is_a_stochastic_matrix() -> None:
    eye = torch.eye(N, dtype=torch.float64)
    r = Resolvent.of(as_csr(awkward_graph(), N), None, None, torch.float64)(eye)
    assert r.min() > -1e-12
    assert_close(r.sum(1), torch.ones(N, dtype=torch.float64))
    assert_close(r, resolvent(dense(awkward_graph(), N)))


def test_resolvents_have_second_derivatives() -> None:
    conv, edge_index = DirResolvConv(2, 2, 2).double(), torch.tensor([[0, 1, 2, 3, 1], [1, 2, 0, 1, 3]])
    x = draw(4, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: conv(x, edge_index).tanh(), (x,))
    slope = torch.autograd.grad(conv(x, edge_index).square().sum(), x, create_graph=True)[0]
    slope.square().sum().backward()
    for lin in (*conv.lins_in, *conv.lins_out):
        assert isinstance(lin, nn.Module)
        assert lin.weight.grad.abs().min() > 0


def test_a_hub_of_a_thousand_edges_is_solved() -> None:
    n = 1000
    hub = torch.stack([torch.arange(1, n), torch.zeros(n - 1, dtype=torch.long)])
    edge_index = torch.cat([hub, hub[:, ::3].flip(0), plain_graph()], dim=1)
    x = draw(n, 2)
    found = Resolvent.of(as_csr(edge_index, n), None, None, torch.float64)(x)
    assert_close(found, resolvent(dense(edge_index, n)) @ x)


def test_resolvents_are_stable_when_a_node_is_split() -> None:
    # Node 3 as a pair with a strong link and half the mass each: outputs tend to those of the merged graph.
    x, a = draw(5, 1), (torch.rand(5, 5) < 0.5).double().fill_diagonal_(0)
    merged = a.nonzero().t().flip(0)
    whole = torch.ones(5, dtype=torch.float64)
    gaps = []
    conv = DirResolvConv(1, 1, 2, alpha=0.0, bias=False).double()
    expected = (whole[:, None] * conv(x, merged, mass=whole)).sum()
    mass = torch.cat([whole, whole[:1] / 2])
    mass[3] = 0.5
    for coupling in (1e2, 1e4):
        edges, weight = [], []
        for s, t in merged.t().tolist():  # what came to node 3 comes to both halves, each with its mass
            for target in (t, 5) if t == 3 else (t,):
                for source in (s, 5) if s == 3 else (s,):
                    edges.append((source, target))
                    weight.append((0.5 if t == 3 else 1.0) * (0.5 if s == 3 else 1.0))
        edges += [(3, 5), (5, 3)]
        weight += [coupling, coupling]
        out = conv(
            torch.cat([x, x[3:4]]), torch.tensor(edges).t(), torch.tensor(weight, dtype=torch.float64), mass
        )
        gaps.append(float(((mass[:, None] * out).sum() - expected).detach().abs()))
    assert gaps[1] < 1e-3
    assert gaps[1] <= gaps[0] + 1e-12


def test_a_solve_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvents, "MAX_ITERATIONS", 2)
    with pytest.raises(RuntimeError, match=r"\d of 6 columns have not converged after 2 iter"):
        DirResolvConv(F_IN, 9)(torch.randn(N, F_IN), plain_graph())


# -- errors -------------------------------------------------------------------------------------------


def test_wrong_options_fail_clearly() -> None:
    for build, message in (
        (lambda: FaberConv(2, 2, 0), "FaberConv: K=0, alpha=0.5"),
        (lambda: ComplexFaberConv(2, 2, alpha=2), "ComplexFaberConv: K=1, alpha=2"),
        (lambda: FaberConv(2, 2, penalty="none"), "penalty='none' is unknown"),  # type: ignore[arg-type]
        (lambda: MagNetConv(2, 2, q=0.5), r"MagNetConv: K=1, q=0\.5"),
        (lambda: DirResolvConv(2, 2, 0), "DirResolvConv: K=0"),
        (lambda: DirGNNConv(GCNConv(2, 2), 3.0), r"DirGNNConv: alpha=3\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    with pytest.raises(TypeError, match="conv is Linear; pass a convolution of gnnlib"):
        DirGNNConv(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="edge_weight came but SAGEConv knows none"):
        DirGNNConv(SAGEConv(2, 2))(torch.ones(3, 2), torch.tensor([[0], [1]]), torch.ones(1))
    with pytest.raises(ValueError, match=r"MagNetConv: x has 5 features but in_channels=2; pass 2 real"):
        MagNetConv(2, 2)(torch.ones(3, 5), torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match=r"mass has shape \[2\]; expected \[3\]"):
        DirResolvConv(2, 2)(torch.ones(3, 2), torch.tensor([[0], [1]]), mass=torch.ones(2))
    with pytest.raises(NotImplementedError, match="mass asks for a gradient"):
        DirResolvConv(2, 2)(
            torch.ones(3, 2), torch.tensor([[0], [1]]), mass=torch.ones(3, requires_grad=True)
        )
    with pytest.raises(NotImplementedError, match="edge_weight asks for a gradient"):
        DirResolvConv(2, 2)(torch.ones(3, 2), torch.tensor([[0], [1]]), torch.ones(1, requires_grad=True))


def test_scales_and_factors_of_the_directed_norm() -> None:
    step = directed_norm(as_csr(plain_graph(), N), None, draw(N, 1), -0.5)
    expected = scaled(dense(plain_graph(), N), -0.5)
    assert_close(dense(plain_graph(), N, step.factors), expected)
    assert_close(step.reversed(torch.eye(N, dtype=torch.float64)), expected.t())
