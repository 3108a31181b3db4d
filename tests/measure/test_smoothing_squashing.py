"""Energy, resistance, sensitivity and gap against dense computations and values by hand."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest
import torch
from torch_geometric.data import Data

from gnnlib.measure import dirichlet_energy, effective_resistance, generalisation_gap, sensitivity, smoothing
from gnnlib.measure.picture import draw, draw_influence
from gnnlib.nn import GCNConv
from tests.measure.test_influence import Stack, grid, models
from tests.tolerances import assert_close


def test_energy_is_the_quadratic_form() -> None:
    data = grid()
    n = data.x.size(0)
    a = torch.zeros(n, n, dtype=torch.float64)
    a[data.edge_index[1], data.edge_index[0]] = 1
    a += torch.eye(n, dtype=torch.float64)
    scale = a.sum(1).rsqrt()
    laplacian = torch.eye(n, dtype=torch.float64) - scale[:, None] * a * scale
    assert_close(dirichlet_energy(data.x, data.edge_index), torch.trace(data.x.t() @ laplacian @ data.x))
    smooth = (a.sum(1).sqrt())[:, None]  # the kernel of the Laplacian
    assert_close(dirichlet_energy(smooth, data.edge_index), torch.tensor(0.0, dtype=torch.float64))


def test_energy_knows_no_directions() -> None:
    x, one_way = grid().x[:3], torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(ValueError, match="the graph is directed; pass both directions of every edge"):
        dirichlet_energy(x, one_way)
    both = torch.cat([one_way, one_way.flip(0)], dim=1)
    found = smoothing(Stack(GCNConv(3, 3)).double(), Data(x=x, edge_index=one_way))
    assert found[0].energy == pytest.approx(float(dirichlet_energy(x, both)))
    assert all(row.share >= 0 for row in found)


def test_propagation_smooths_layer_by_layer() -> None:
    data = grid()
    convs = [GCNConv(3, 3, bias=False).double() for _ in range(6)]
    for conv in convs:
        with torch.no_grad():
            conv.lin.weight.copy_(torch.eye(3))
    data.x = data.x.abs()  # so that the rectifier between layers does nothing
    found = smoothing(Stack(*convs), data)
    assert [row.layer for row in found] == ["input", *(f"layers.{k}" for k in range(6))]
    shares = [row.share for row in found]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.1 * shares[0]
    assert found[0].energy == pytest.approx(float(dirichlet_energy(data.x, data.edge_index)))
    with pytest.raises(ValueError, match="the model has no module 'convs'"):
        smoothing(Stack(*convs), data, layers=["convs"])
    with pytest.raises(ValueError, match="has no convolution"):
        smoothing(models()["mlp"].double(), data)


def test_resistance_by_hand_and_against_the_pseudoinverse() -> None:
    ring = nx.cycle_graph(6)
    graph = nx.disjoint_union_all([ring, nx.path_graph(3), nx.gnp_random_graph(12, 0.3, seed=1)])
    edge_index = torch.tensor(list(graph.to_directed().edges)).t()
    n = graph.number_of_nodes()
    every = torch.cartesian_prod(torch.arange(n), torch.arange(n)).t()
    found = effective_resistance(edge_index, every, n).view(n, n)
    assert found[0, 3] == pytest.approx(1.5)  # two ways of three edges
    assert found[6, 8] == pytest.approx(2.0)
    assert found[0, 6] == float("inf")
    assert_close(found, found.t())
    laplacian = torch.tensor(nx.laplacian_matrix(graph).toarray(), dtype=torch.float64)
    inverse = torch.linalg.pinv(laplacian, hermitian=True)
    dense = inverse.diag()[:, None] + inverse.diag() - 2 * inverse
    joined = torch.isfinite(found)
    assert_close(found[joined], dense[joined])
    with pytest.raises(ValueError, match="the graph is directed"):
        effective_resistance(torch.tensor([[0], [1]]), torch.tensor([[0], [1]]), 2)
    with pytest.raises(ValueError, match=r"outside 0 \.\. 1"):
        effective_resistance(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[0], [2]]), 2)


def test_sensitivity_is_an_entry_of_the_jacobian() -> None:
    data, model = grid(), models()["gcn"].double().eval()
    pairs = torch.tensor([[0, 7, 7, 29], [1, 7, 8, 0]])
    jac = torch.autograd.functional.jacobian(lambda x: model(x, data.edge_index), data.x)
    size = jac.abs().sum(dim=(1, 3))
    assert_close(sensitivity(model, data, pairs), size[pairs[1], pairs[0]])


def test_gap_of_recorded_curves() -> None:
    history = {"epoch": [1, 2, 3], "loss": [2.0, 1.0, 0.5], "val_loss": [2.1, None, 1.5], "best_epoch": 3}
    found = generalisation_gap(history)
    assert (found.epoch, found.best_epoch) == ([1, 3], 3)
    assert found.gap == pytest.approx([0.1, 1.0])
    assert (found.at_best, found.last) == (pytest.approx(1.0), pytest.approx(1.0))
    assert generalisation_gap(history | {"best_epoch": 2}).at_best is None
    with pytest.raises(ValueError, match="the history has no 'val_loss'"):
        generalisation_gap({"epoch": [], "loss": [], "best_epoch": 0})


def test_pictures(tmp_path: Path) -> None:
    far = {"curve": [1.0, 0.5, 0.0], "curve_error": [0.0, 0.1, 0.0], "R": 0.33}
    gap = {"epoch": [1, 2], "train": [1.0, 0.5], "held_out": [1.1, 0.9], "best_epoch": 2}
    for content in ({"gap": gap}, {"gap": gap, "influence": far}):
        assert draw(content, tmp_path / "a.png", "a run").read_bytes().startswith(b"\x89PNG")
    assert draw_influence({"gcn": far, "gat": far}, tmp_path / "b.svg", "models").stat().st_size > 1000
