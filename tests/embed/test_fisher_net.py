"""The supervised Fisher information embedding: its layer, its root's gradient, what it learns."""

from __future__ import annotations

from typing import Any

import networkx
import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.nn.functional import normalize

from gnnlib import as_csr
from gnnlib.embed import FIEConv, FIENet, SupervisedFIE
from gnnlib.embed.fisher import SHIFT, inverse_root, nystroem
from tests.sparse.graphs import draw
from tests.tolerances import assert_close


@pytest.mark.parametrize("norm", ["softmax", "sum"])
def test_the_layer_equals_the_loop(norm: Any) -> None:
    edge_index, x = draw(12, 12, 40), torch.randn(12, 5)
    layer = FIEConv(5, 3, neighbor_norm=norm)
    torch.nn.init.normal_(layer.bias)
    out = layer(x, as_csr(edge_index, 12))
    means = normalize(layer.means.double(), dim=1)
    for v in range(12):
        rows = x[edge_index[0, edge_index[1] == v]].double()
        gamma = ((normalize(rows, dim=1) @ means.t() + layer.bias.double()) / 5).softmax(1)
        a = gamma.softmax(0) if norm == "softmax" else gamma / gamma.sum(0)
        wanted = (a.t() @ rows - means).flatten() if len(rows) else torch.zeros(15).double()
        assert_close(out[v], wanted.float())


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("norm", ["softmax", "sum"])
def test_gradients_of_the_layer(norm: Any, heads: int) -> None:
    layer = FIEConv(4, 2, heads, neighbor_norm=norm).double()
    adj, x = as_csr(draw(6, 6, 14), 6), torch.randn(6, 4, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, means: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"means": means, "bias": bias}, (x, adj))

    given = [p.detach().clone().requires_grad_() for p in (layer.means, layer.bias)]
    assert torch.autograd.gradcheck(run, (x, *given))


def test_the_layer_follows_a_relabelling() -> None:
    edge_index, x, order = draw(10, 10, 30), torch.randn(10, 4), torch.randperm(10)
    layer, place = FIEConv(4, 3), torch.empty(10, dtype=torch.int64)
    place[order] = torch.arange(10)
    moved = layer(x[order], as_csr(place[edge_index], 10))
    assert_close(moved, layer(x, as_csr(edge_index, 10))[order])


def test_the_gradient_of_the_inverse_root_is_that_of_finite_differences() -> None:
    half = torch.randn(5, 5, dtype=torch.float64)
    gram, weight = half @ half.t() + torch.eye(5), torch.randn(5, 5, dtype=torch.float64)

    def value(k: torch.Tensor) -> torch.Tensor:
        return (inverse_root(k) * weight).sum()

    leaf = gram.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(leaf), leaf)
    for _ in range(5):
        way = torch.randn(5, 5, dtype=torch.float64)
        way = way + way.t()
        wanted = (value(gram + 1e-6 * way) - value(gram - 1e-6 * way)) / 2e-6
        assert float((found * way).sum()) == pytest.approx(float(wanted), rel=1e-5)
    values, vectors = torch.linalg.eigh(gram)
    assert torch.allclose(inverse_root(gram), vectors @ torch.diag(1 / (values.sqrt() + SHIFT)) @ vectors.t())
    same = torch.ones(4, 4, dtype=torch.float64, requires_grad=True)  # equal anchors: three eigenvalues of 0
    (grad,) = torch.autograd.grad(inverse_root(same).sum(), same)
    assert torch.isfinite(grad).all()


def test_the_kernel_map_has_the_gradient_of_its_formula() -> None:
    x, anchors = torch.randn(4, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)

    def run(x: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        return nystroem(x, normalize(anchors, dim=1), 1.0)

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), anchors.requires_grad_()), atol=1e-4)


def _communities() -> tuple[networkx.Graph, torch.Tensor, np.ndarray[Any, Any]]:
    graph = networkx.planted_partition_graph(3, 30, 0.3, 0.01, seed=0)
    y = np.repeat([4, 7, 9], 30)
    x = torch.nn.functional.one_hot(torch.from_numpy(np.repeat([0, 1, 2], 30)), 6).float()
    return graph, x + 0.8 * torch.rand(90, 6, generator=torch.Generator().manual_seed(0)), y


def test_the_estimator_learns_classes() -> None:
    graph, x, y = _communities()
    order = np.random.default_rng(0).permutation(90)
    train, val, test = order[:15], order[15:40], order[40:]
    method = SupervisedFIE(2, 8, 3, epochs=30, lr=0.1)
    z = method.fit_transform(graph, y, features=x, train=train, val=val)
    assert z.shape == (90, 3 * 8)
    assert z.dtype == np.float32
    assert (method.predict(test) == y[test]).mean() > 0.9
    hidden = y.copy()
    hidden[test] = 9  # classes outside train and val are not looked at
    again = clone(method).fit(graph, hidden, features=x, train=train, val=val)
    assert np.array_equal(again.embedding_, z)
    spoiled = y.copy()
    spoiled[train] = y[train][::-1]
    other = clone(method).fit(graph, spoiled, features=x, train=train, val=val)
    assert not np.array_equal(other.embedding_, z)
    assert method.predict().shape == (90,)


def test_initial_anchors_come_from_the_data() -> None:
    graph, x, _ = _communities()
    net = FIENet(6, 3, n_layers=2, hidden=5, n_mixtures=3)
    before = {name: p.clone() for name, p in net.named_parameters()}
    net.initialise(x, graph, torch.Generator().manual_seed(0))
    for name, p in net.named_parameters():
        assert torch.equal(p, before[name]) == (name.startswith("head") or name.endswith("bias"))
        if "anchors" in name or "means" in name:
            assert torch.allclose(p.norm(dim=1), torch.ones(p.shape[0]), atol=1e-4)
    longer = {
        name: 3 * p if "anchors" in name or "means" in name else p for name, p in net.named_parameters()
    }
    assert_close(torch.func.functional_call(net, longer, (x, graph)), net(x, graph))


def test_bad_input_is_told() -> None:
    graph, x, y = _communities()
    with pytest.raises(ValueError, match="no features came; pass features="):
        SupervisedFIE().fit(graph, y)
    with pytest.raises(ValueError, match="no y came"):
        SupervisedFIE().fit(graph, features=x)
    with pytest.raises(ValueError, match="89 rows of features and 90 classes for 90 nodes"):
        SupervisedFIE().fit(graph, y, features=x[:89])
    with pytest.raises(ValueError, match="neighbor_norm"):
        FIEConv(3, 2, neighbor_norm="mean")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="not fitted yet"):
        SupervisedFIE().predict()
