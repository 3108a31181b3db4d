"""Layers under ``vmap`` and under Jacobians that send many gradients at once, against loops."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

import gnnlib.nn as gnn
from gnnlib.sparse import as_csr
from tests.nn.cases import CASES, F_IN, Case, awkward_graph
from tests.tolerances import assert_close

#: Categories, types and structure that layers look at or keep by the place of x, which a transform hides.
HIDDEN = "Cannot access (storage|data pointer)"
#: What keeps a Jacobian of many rows at once from a layer; a resolvent has a gradient of its own.
NO_JACOBIAN = {
    "CatEncoder": HIDDEN,
    "DirResolvConv": "Batching rule not implemented",
    "FastRGCNConv": HIDDEN,
    "GraphViTMixer": HIDDEN,
    "LaplacianPE": HIDDEN,
    "PathConv": HIDDEN,
    "RandomWalkPE": HIDDEN,
    "RGCNConv": HIDDEN,
}
#: The same for ``vmap``: torch's LSTM has no rule, and HyperGCN draws a projection.
NO_VMAP = {
    "CatEncoder": HIDDEN,
    "DirResolvConv": "must override the setup_context",
    "HyperGCNConv": "called random operation",
    "JumpingKnowledge": "Batching rule not implemented for aten::lstm",
}


def each(refused: dict[str, str]) -> pytest.MarkDecorator:
    names = [c.name for c in CASES]
    assert set(refused) <= set(names)
    return pytest.mark.parametrize(("case", "refusal"), [(c, refused.get(c.name)) for c in CASES], ids=names)


def expecting(refusal: str | None) -> AbstractContextManager[object]:
    """What a transform gives here: a result, or this refusal."""
    return (
        nullcontext()
        if refusal is None
        else pytest.raises((NotImplementedError, RuntimeError), match=refusal)
    )


def made(case: Case) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return case.build().double().eval(), awkward_graph()


@each(NO_JACOBIAN)
def test_jacobians(case: Case, refusal: str | None) -> None:
    layer, edge_index = made(case)
    x = torch.randn(20, F_IN, dtype=torch.float64)

    def run(z: Tensor) -> Tensor:
        return case.run(layer, z, edge_index)[:2]

    expected = jacobian(run, x)
    with expecting(refusal):
        assert_close(jacobian(run, x, vectorize=True), expected)
        assert_close(jacrev(run)(x), expected)


@each(NO_VMAP)
def test_vmap(case: Case, refusal: str | None) -> None:
    layer, edge_index = made(case)
    many = torch.randn(3, 20, F_IN, dtype=torch.float64)
    expected = torch.stack([case.run(layer, x, edge_index) for x in many])
    with expecting(refusal):
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
