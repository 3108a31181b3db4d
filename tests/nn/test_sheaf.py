"""Sheaves against their coboundary as a dense matrix; the Laplacian's properties; both layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gnnlib.nn import NSDConv, SheafConv, sheaf_laplacian
from gnnlib.nn.topo.inverse_root import inverse_root
from gnnlib.nn.topo.maps import ORTHS, make_maps, num_parameters
from gnnlib.nn.topo.sheaf import undirected
from gnnlib.sparse import as_csr
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import cycle, dense, normalised, with_loops
from tests.tolerances import assert_close

N, D, C = 20, 3, 4
EYE = torch.eye(D, dtype=torch.float64)
VARIANTS = [
    ("diagonal", "householder"),
    ("general", "householder"),
    *(("orthogonal", orth) for orth in ORTHS),
]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def graph() -> Tensor:
    """Both directions of each edge, once, in no order; the last three nodes are isolated."""
    edge_index = plain_graph()
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)
    return both[:, torch.randperm(both.size(1))]


def full(maps: Tensor) -> Tensor:
    return torch.diag_embed(maps) if maps.dim() == 2 else maps


def coboundary(edge_index: Tensor, maps: Tensor, n: int) -> Tensor:
    """delta, a block row for each undirected edge: the definition."""
    maps, d = full(maps), maps.size(1)
    place = {(u, v): e for e, (u, v) in enumerate(edge_index.t().tolist())}
    edges = [(u, v) for u, v in place if u < v]
    delta = torch.zeros(len(edges) * d, n * d, dtype=maps.dtype)
    for i, (u, v) in enumerate(edges):
        delta[i * d : i * d + d, v * d : v * d + d] = maps[place[u, v]]  # the map of the target v
        delta[i * d : i * d + d, u * d : u * d + d] = -maps[place[v, u]]
    return delta


def blocks(matrix: Tensor, n: int, d: int) -> Tensor:
    """The diagonal blocks as a matrix."""
    return torch.block_diag(*(matrix[i * d : i * d + d, i * d : i * d + d] for i in range(n)))


def scaled(matrix: Tensor, n: int, d: int) -> Tensor:
    values, vectors = torch.linalg.eigh(blocks(matrix, n, d) + torch.eye(n * d, dtype=matrix.dtype))
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.t()
    return root @ matrix @ root


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_the_laplacian_is_the_square_of_the_coboundary(diagonal: bool, normalise: bool) -> None:
    edge_index = graph()
    maps = draw(edge_index.size(1), D) if diagonal else draw(edge_index.size(1), D, D)
    delta = coboundary(edge_index, maps, N)
    expected = delta.t() @ delta
    expected = scaled(expected, N, D) if normalise else expected
    lap = sheaf_laplacian(edge_index, maps, N, normalised=normalise)
    assert_close(lap.to_dense(), expected)
    x = draw(N, D, C)
    assert_close(lap(x), (expected @ x.reshape(N * D, C)).view(N, D, C))
    if not normalise:
        assert_close(lap.energy(x), (delta @ x.reshape(N * D, C)).square().sum())


@pytest.mark.parametrize("normalise", [False, True])
def test_the_laplacian_is_symmetric_and_positive_and_bounded(normalise: bool) -> None:
    edge_index = graph()
    found = sheaf_laplacian(edge_index, draw(edge_index.size(1), D, D), N, normalised=normalise).to_dense()
    assert_close(found, found.t())
    values = torch.linalg.eigvalsh(found)
    assert values.min() > -1e-10
    assert not normalise or values.max() < 2


def test_the_kernel_of_the_laplacian_is_the_global_sections() -> None:
    # Maps of a trivial sheaf in turned coordinates: F_v = Q_v^T, whose global sections are x_v = Q_v s.
    edge_index = torch.cat([cycle(6), cycle(5) + 6], dim=1)
    turns = make_maps(draw(11, 3), "orthogonal", 3)
    lap = sheaf_laplacian(edge_index, turns[edge_index[1]].transpose(1, 2), 11)
    section = torch.cat([turns[:6] @ draw(3, 1), turns[6:] @ draw(3, 1)])
    assert_close(lap(section), torch.zeros_like(section))
    zero = torch.linalg.eigvalsh(lap.to_dense()) < 1e-10
    assert int(zero.sum()) == 2 * 3  # a copy of R^3 for each component
    assert lap.energy(draw(11, 3, 1)) > 1e-3


def test_a_twist_leaves_no_global_section() -> None:
    edge_index = cycle(5)
    maps = torch.ones(10, 1, dtype=torch.float64)
    assert torch.linalg.eigvalsh(sheaf_laplacian(edge_index, maps, 5).to_dense())[0] < 1e-12
    maps[0] = -1  # the sign of one end of one edge: a Moebius band
    assert torch.linalg.eigvalsh(sheaf_laplacian(edge_index, maps, 5).to_dense())[0] > 1e-2


def test_signs_of_a_balanced_signed_graph_are_a_global_section() -> None:
    edge_index = graph()
    sign = torch.where(torch.rand(N) < 0.5, -1.0, 1.0).double()
    edge_sign = sign[edge_index[0]] * sign[edge_index[1]]
    # The sign belongs to one end of each edge.
    maps = torch.where(edge_index[0] < edge_index[1], edge_sign, 1)[:, None]
    lap = sheaf_laplacian(edge_index, maps, N)
    assert_close(lap(sign[:, None, None]), torch.zeros(N, 1, 1, dtype=torch.float64))


def test_identity_maps_give_a_copy_of_the_graphs_laplacian_for_each_coordinate() -> None:
    edge_index = graph()
    a = dense(edge_index, N)
    expected = torch.kron(torch.diag(a.sum(1)) - a, EYE)
    for maps in (EYE.expand(edge_index.size(1), D, D), torch.ones(edge_index.size(1), D).double()):
        assert_close(sheaf_laplacian(edge_index, maps, N).to_dense(), expected)


def test_turning_the_coordinates_of_nodes_keeps_the_energy() -> None:
    edge_index, x = graph(), draw(N, D, C)
    maps, turns = draw(edge_index.size(1), D, D), make_maps(draw(N, 3), "orthogonal", D)
    energy = sheaf_laplacian(edge_index, maps, N).energy(x)
    turned = maps @ turns[edge_index[1]].transpose(1, 2)
    assert_close(sheaf_laplacian(edge_index, turned, N).energy(turns @ x), energy)


# -- maps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orth", ORTHS)
@pytest.mark.parametrize("d", [2, 3, 5])
def test_orthogonal_maps_are_orthogonal_and_use_every_parameter(orth: Any, d: int) -> None:
    if orth == "euler" and d > 3:
        pytest.skip("Euler angles are of the plane and of space")
    parameters = draw(7, num_parameters("orthogonal", d)).requires_grad_()
    maps = make_maps(parameters, "orthogonal", d, orth)
    assert_close(maps @ maps.transpose(1, 2), torch.eye(d, dtype=torch.float64).expand(7, d, d))
    (maps * draw(7, d, d)).sum().backward()
    assert parameters.grad is not None
    assert (parameters.grad.abs() > 1e-8).all()


def test_inverse_roots_have_gradients_at_equal_eigenvalues() -> None:
    a = draw(4, D, D)
    matrix = a @ a.transpose(1, 2) + EYE
    matrix[0] = 2 * EYE
    root = inverse_root(matrix)
    assert_close(root @ matrix @ root, EYE.expand(4, D, D))

    def of_symmetric(m: Tensor) -> Tensor:
        return inverse_root((m + m.transpose(1, 2)) / 2)

    assert gradcheck(of_symmetric, (matrix.requires_grad_(),))
    assert gradgradcheck(of_symmetric, (matrix,))
    third = matrix[:2, :2, :2].detach().requires_grad_()
    assert gradgradcheck(
        lambda m: torch.autograd.grad(of_symmetric(m).square().sum(), m, create_graph=True)[0], (third,)
    )


def test_sheaf_conv_has_second_derivatives() -> None:
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    conv, x = SheafConv(4, 4, 2).double(), draw(3, 4).requires_grad_()
    maps = draw(4, 2, 2).requires_grad_()
    assert gradgradcheck(lambda x, m: conv(x, edge_index, m), (x, maps))
    (by_maps,) = torch.autograd.grad(conv(x, edge_index, maps).sum(), maps, create_graph=True)
    (mixed,) = torch.autograd.grad(by_maps.square().sum(), x)
    step = draw(3, 4) * 1e-6

    def penalty(x: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(conv(x, edge_index, maps).sum(), maps)
        return found.square().sum()

    slope = (penalty(x + step) - penalty(x - step)) / 2
    assert torch.allclose(slope, (mixed * step).sum(), rtol=1e-5)


# -- layers -------------------------------------------------------------------------------------------


def test_sheaf_conv_is_the_dense_product() -> None:
    edge_index = graph()
    conv, x, maps = SheafConv(D * C, D * 2, D).double(), draw(N, D * C), draw(edge_index.size(1), D, D)
    with torch.no_grad():
        conv.left.copy_(draw(D, D))
    delta = coboundary(edge_index, maps, N)
    walk = torch.eye(N * D, dtype=torch.float64) - scaled(delta.t() @ delta, N, D)
    both = torch.kron(torch.eye(N, dtype=torch.float64), conv.left)
    expected = walk @ both @ x.view(N * D, C) @ conv.right
    assert_close(conv(x, edge_index, maps), expected.view(N, D * 2))


def test_sheaf_conv_of_ones_is_the_step_of_gcn() -> None:
    conv, x = SheafConv(C, C, 1).double(), draw(N, C)
    with torch.no_grad():
        conv.right.copy_(torch.eye(C))
    s = normalised(with_loops(dense(graph(), N)))
    assert_close(conv(x, graph()), s @ x)
    assert_close(conv(x, graph(), torch.ones(graph().size(1), 1).double()), s @ x)
    edge_index = graph()
    messy = torch.cat([edge_index[:, edge_index[0] < edge_index[1]], torch.tensor([[1, 2], [1, 2]])], dim=1)
    assert_close(conv(x, messy), s @ x)  # directions and loops do not count


@pytest.mark.parametrize(("kind", "orth"), VARIANTS)
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_diffusion_is_the_dense_equation(kind: Any, orth: Any, normalise: bool, sparse: bool) -> None:
    conv = NSDConv(D * C, D, kind=kind, orth=orth, normalised=normalise, sparse_learner=sparse).double()
    with torch.no_grad():
        for p in conv.parameters():
            p.copy_(draw(*p.shape) / 2)
    edge_index, x = graph(), draw(N, D * C)
    seen = x.view(N, D, C).sum(1) if sparse else x
    source, target = edge_index
    # V [x_v || x_u] with the pair formed
    assert conv.target is not None
    assert conv.source is not None
    v = torch.cat([conv.target.weight, conv.source.weight], dim=1)
    maps = make_maps(torch.tanh(torch.cat([seen[target], seen[source]], 1) @ v.t()), kind, D, orth)
    if kind == "orthogonal":
        assert conv.weight_target is not None
        assert conv.weight_source is not None
        s = conv.weight_target(seen)[target] + conv.weight_source(seen)[source]
        table = dict(zip(map(tuple, edge_index.t().tolist()), s.sigmoid(), strict=True))
        maps = maps * torch.stack([table[u, w] * table[w, u] for u, w in edge_index.t().tolist()])[:, :, None]
    delta = coboundary(edge_index, maps, N)
    lap = delta.t() @ delta
    lap = scaled(lap, N, D) if normalise else lap
    both = torch.kron(torch.eye(N, dtype=torch.float64), conv.left)
    moved = F.elu(lap @ both @ x.view(N * D, C) @ conv.right).view(N, D * C)
    kept = (1 + conv.epsilon.tanh())[:, None] * x.view(N, D, C)
    assert_close(conv(x, edge_index), kept.flatten(1) - moved)


@pytest.mark.parametrize(("kind", "orth"), VARIANTS)
def test_gradients(kind: Any, orth: Any) -> None:
    conv = NSDConv(6, 3, kind=kind, orth=orth).double()
    edge_index = awkward_graph(6, 9)
    x = draw(6, 6).requires_grad_()
    leaves = [p.detach().clone().requires_grad_() for p in conv.parameters()]
    names = [n for n, _ in conv.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(conv, dict(zip(names, values, strict=True)), (x, edge_index))
        return out

    assert gradcheck(run, (x, *leaves), fast_mode=True)


@pytest.mark.parametrize(("kind", "orth"), VARIANTS)
def test_relabelling_and_batching(kind: Any, orth: Any) -> None:
    conv = NSDConv(D * C, D, kind=kind, orth=orth).double()
    x, edge_index = draw(2 * N, D * C), awkward_graph()
    order = torch.randperm(N)
    out = conv(x[:N], edge_index)
    assert_close(conv(x[order], order.argsort()[edge_index]), out[order])
    both = conv(x, torch.cat([edge_index, plain_graph() + N], dim=1))
    assert_close(both[:N], out)
    assert_close(both[N:], conv(x[N:], plain_graph()))


def test_one_sheaf_serves_several_steps() -> None:
    conv, x = NSDConv(D * C, D, kind="general").double(), draw(N, D * C)
    sheaf = conv.sheaf(x, graph())
    assert_close(conv(x, graph(), sheaf), conv(x, graph()))
    without = NSDConv(D * C, D, learn_maps=False).double()
    assert without(x, graph(), sheaf).shape == x.shape
    with pytest.raises(ValueError, match="learn_maps=False has no maps of its own"):
        without(x, graph())
    assert_close(sheaf.adj.indices, undirected(as_csr(graph(), N)).indices)


def test_wrong_calls_fail_clearly() -> None:
    edge_index, x = graph(), torch.randn(N, 6)
    e = edge_index.size(1)
    for build, message in (
        (lambda: SheafConv(7, 6), "SheafConv: in_channels=7 is not divisible by stalk_dim=2"),
        (lambda: NSDConv(6, kind="linear"), "kind='linear'"),  # type: ignore[arg-type]
        (lambda: NSDConv(6, 1, kind="orthogonal"), "stalk_dim=1 has no orthogonal maps"),
        (lambda: NSDConv(8, 4, kind="orthogonal", orth="euler"), "no orthogonal maps by 'euler'"),
        (lambda: NSDConv(8, 2)(x, edge_index), "NSDConv: x has 6 features but in_channels=8"),
        (lambda: SheafConv(6, 6)(x, edge_index, torch.ones(e, 3)), "maps has shape .* but stalk_dim=2"),
        (lambda: sheaf_laplacian(edge_index, torch.ones(3, 2), N), f"the graph has {e} edges; pass"),
        (lambda: sheaf_laplacian(edge_index[:, 1:], torch.ones(e - 1, 2), N), "edges without their reverse"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
