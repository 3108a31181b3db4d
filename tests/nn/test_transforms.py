"""Layers under ``vmap`` and under Jacobians that send many gradients at once, against loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

import gnnlib.nn as gnn
from gnnlib.sparse import as_csr
from tests.nn.cases import CASES, F_IN, Case, awkward_graph
from tests.tolerances import assert_close

#: Layers that look at values which a transform hides (categories, types, structure they keep), and the
#: resolvent, whose own gradient has no rule.
NO_JACOBIAN = {
    "CatEncoder", "DirResolvConv", "FastRGCNConv", "GraphViTMixer", "LaplacianPE", "PathConv", "PathLSTM",
    "PathNN", "RandomWalkPE", "RGCNConv",
}  # fmt: skip
#: The same for ``vmap``; torch's LSTM has no rule, and HyperGCN draws a projection.
NO_VMAP = {"CatEncoder", "DirResolvConv", "HyperGCNConv", "JumpingKnowledge"}


def each(without: set[str]) -> pytest.MarkDecorator:
    refused = pytest.mark.xfail(raises=(NotImplementedError, RuntimeError), strict=True)
    cases = [pytest.param(c, id=c.name, marks=[refused] if c.name in without else []) for c in CASES]
    return pytest.mark.parametrize("case", cases)


def made(case: Case) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return case.build().double().eval(), awkward_graph()


@each(without=NO_JACOBIAN)
def test_jacobians(case: Case) -> None:
    layer, edge_index = made(case)
    x = torch.randn(20, F_IN, dtype=torch.float64)

    def run(z: Tensor) -> Tensor:
        return case.run(layer, z, edge_index)[:2]

    expected = jacobian(run, x)
    assert_close(jacobian(run, x, vectorize=True), expected)
    assert_close(jacrev(run)(x), expected)


@each(without=NO_VMAP)
def test_vmap(case: Case) -> None:
    layer, edge_index = made(case)
    many = torch.randn(3, 20, F_IN, dtype=torch.float64)
    expected = torch.stack([case.run(layer, x, edge_index) for x in many])
    assert_close(vmap(lambda x: case.run(layer, x, edge_index))(many), expected)


@pytest.mark.parametrize("make", [gnn.GCNConv, gnn.GATv2Conv, gnn.SAGEConv], ids=lambda m: m.__name__)
@pytest.mark.parametrize("kept", [False, True], ids=["edge_index", "csr"])
def test_an_ensemble_and_gradients_of_each_sample(make: type[nn.Module], kept: bool) -> None:
    edge_index = awkward_graph()
    adj = as_csr(edge_index, 20) if kept else edge_index
    layers = [make(F_IN, 3).double() for _ in range(3)]
    parameters, buffers = stack_module_state(layers)
    x = torch.randn(20, F_IN, dtype=torch.float64)

    def run(own: dict[str, Tensor], rest: dict[str, Tensor], z: Tensor) -> Tensor:
        return functional_call(layers[0], (own, rest), (z, adj))

    found = vmap(run, in_dims=(0, 0, None))(parameters, buffers, x)
    assert_close(found, torch.stack([layer(x, adj) for layer in layers]))

    def loss(own: dict[str, Tensor], z: Tensor) -> Tensor:
        return run(own, {}, z).square().sum()

    own, many = dict(layers[0].named_parameters()), torch.stack([x, 2 * x])
    each_one = vmap(grad(loss), in_dims=(None, 0))(own, many)
    for name, found in each_one.items():
        assert_close(found, torch.stack([grad(loss)(own, z)[name] for z in many]))


def test_many_second_derivatives_at_once() -> None:
    layer, edge_index = gnn.GCNConv(F_IN, 2), awkward_graph()
    x = torch.randn(20, F_IN, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x, edge_index).square().sum(), x, create_graph=True)
    many = torch.randn(4, *first.shape)
    found = torch.autograd.grad(first, x, many, is_grads_batched=True, retain_graph=True)[0]
    one_by_one = [torch.autograd.grad(first, x, g, retain_graph=True)[0] for g in many]
    assert_close(found, torch.stack(one_by_one))
