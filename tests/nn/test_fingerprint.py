"""Neural fingerprints: against PyG, against dense matrices, and what the papers' forms promise."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn
from torch import Tensor, nn

from gnnlib.nn import MFConv, NeuralFingerprint
from tests.nn.cases import awkward_graph
from tests.nn.graphs import cycle, dense
from tests.tolerances import assert_close

N, F_IN, HIDDEN, LENGTH = 20, 4, 5, 7


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    edge_index, batch = awkward_graph(), torch.arange(N) // 7
    edge_index = edge_index[:, batch[edge_index[0]] == batch[edge_index[1]]]
    bonds = torch.randn(edge_index.shape[1], 2, dtype=torch.float64)
    return torch.randn(N, F_IN, dtype=torch.float64), edge_index, batch, bonds


@pytest.mark.parametrize("most", [1, 3, 10])
def test_layer_against_pyg(most: int) -> None:
    theirs = torch_geometric.nn.MFConv(F_IN, HIDDEN, most).double()
    ours = MFConv(F_IN, HIDDEN, most).double()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x, edge_index, _, _ = inputs()
    x.requires_grad_()
    results = []
    for layer in (theirs, ours):
        out = layer(x, edge_index)
        grads = torch.autograd.grad(out.sin().sum(), [x, *layer.parameters()], allow_unused=True)
        results.append([out, *(torch.zeros(()) if g is None or not g.any() else g for g in grads)])
    assert_close(results[1], results[0])
    assert repr(ours) == repr(theirs)


def test_model_against_pyg() -> None:
    theirs = torch_geometric.nn.NeuralFingerprint(F_IN, HIDDEN, LENGTH, 3, max_degree=4).double()
    ours = NeuralFingerprint(F_IN, HIDDEN, LENGTH, 3, max_degree=4).double()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x, edge_index, batch, _ = inputs()
    assert_close(ours(x, edge_index, batch), theirs(x, edge_index, batch))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("root", ["shared", "summed"])
def test_layer_with_bonds_against_dense(root: str) -> None:
    conv = MFConv(F_IN, HIDDEN, 3, edge_dim=2, root=root).double()  # type: ignore[arg-type]
    x, edge_index, _, bonds = inputs()
    near = dense(edge_index, N) @ x
    degree = dense(edge_index, N).sum(1).clamp(max=3).long()
    if root == "summed":
        near = near + x
    assert conv.lins_e is not None
    expected = []
    for i in range(N):
        d = int(degree[i])
        out = conv.lins_l[d](near[i]) + conv.lins_e[d](bonds[edge_index[1] == i].sum(0))
        expected.append(out if conv.lin_root is None else out + conv.lin_root(x[i]))
    assert degree.max() == 3  # some node has more neighbours than weights
    assert_close(conv(x, edge_index, edge_attr=bonds), torch.stack(expected))
    with pytest.raises(ValueError, match="MFConv: edge_dim=2 but edge_attr did not come"):
        conv(x, edge_index)


@pytest.mark.parametrize(("variant", "votes"), [("official", 4), ("paper", 3), ("pyg", 3)])
def test_every_node_votes_once_a_layer(variant: str, votes: int) -> None:
    edge_dim = None if variant == "pyg" else 2
    model = NeuralFingerprint(F_IN, HIDDEN, LENGTH, 3, edge_dim=edge_dim, variant=variant).double()  # type: ignore[arg-type]
    x, edge_index, batch, bonds = inputs()
    edge_attr = None if edge_dim is None else bonds
    out = model(x, edge_index, batch, edge_attr=edge_attr)
    assert_close(out.sum(1), votes * batch.bincount().double())
    order = torch.randperm(N)
    moved = model(x[order], order.argsort()[edge_index], batch[order], edge_attr=edge_attr)
    assert_close(moved, out)
    none = None if edge_attr is None else bonds[:0]
    empty = model.eval()(x[:0], edge_index[:, :0], batch[:0], 2, edge_attr=none)
    assert torch.equal(empty, torch.zeros(2, LENGTH, dtype=torch.float64))


def test_the_papers_form_layer_by_layer() -> None:
    model = NeuralFingerprint(F_IN, HIDDEN, LENGTH, 2, variant="paper").double()
    x, edge_index, _, _ = inputs()
    adj = dense(edge_index, N)
    degree = adj.sum(1).clamp(max=10).long()
    r, expected = x, torch.zeros(LENGTH, dtype=torch.float64)
    for conv, lin in zip(model.convs, model.lins, strict=True):
        assert isinstance(conv, MFConv)
        v = r + adj @ r
        r = torch.stack([conv.lins_l[int(degree[i])].weight @ v[i] for i in range(N)]).sigmoid()
        expected = expected + (r @ lin.weight.t()).softmax(-1).sum(0)
    assert not any(p.dim() == 1 for p in model.parameters())  # no bias
    assert_close(model(x, edge_index)[0], expected)


def test_two_triangles_look_like_a_hexagon() -> None:
    model = NeuralFingerprint(F_IN, HIDDEN, LENGTH, 3, variant="paper").double()
    x = torch.ones(6, F_IN, dtype=torch.float64)
    assert_close(model(x, cycle(6)), model(x, cycle(3, 3)))


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="variant='pyg', which has no bonds"):
        NeuralFingerprint(F_IN, HIDDEN, LENGTH, 2, edge_dim=2)
    with pytest.raises(ValueError, match="variant='other' is unknown"):
        NeuralFingerprint(F_IN, HIDDEN, LENGTH, 2, variant="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="root='none' is unknown"):
        MFConv(F_IN, HIDDEN, root="none")  # type: ignore[arg-type]
    assert isinstance(NeuralFingerprint(F_IN, HIDDEN, LENGTH, 2, variant="official").norms[0], nn.BatchNorm1d)
