"""DAGNN, DGMLP, AIR and GPR-GNN against dense matrices, and the limits that their papers name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib.nn import APPNP, AIRConv, AIRGate, DAGNNConv, GPRConv, SmoothedHops, smoothing_weights
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.conv.smoothing import stationary
from gnnlib.sparse import as_csr
from gnnlib.sparse.components import components
from tests.nn.cases import plain_graph
from tests.nn.graphs import cycle, dense, normalised, with_loops
from tests.tolerances import assert_close

N, C = 20, 4


def operator(weight: Tensor | None = None) -> Tensor:
    return normalised(with_loops(dense(plain_graph(), N, weight)))


def powers(k: int, x: Tensor, s: Tensor | None = None) -> Tensor:
    s = operator() if s is None else s
    hops = [x]
    for _ in range(k):
        hops.append(s @ hops[-1])
    return torch.stack(hops)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def undirected() -> Tensor:
    edge_index = plain_graph()
    return torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)


# -- DAGNN --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_dagnn_is_the_gated_sum_of_all_hops(k: int, weighted: bool) -> None:
    conv, x = DAGNNConv(C, k).double(), draw(N, C)
    weight = torch.rand(plain_graph().size(1), dtype=torch.float64) + 0.5 if weighted else None
    hops = powers(k, x, operator(weight))
    gates = torch.sigmoid(hops @ conv.gate.weight[0] + conv.gate.bias)  # [K + 1, N]
    assert_close(conv(x, plain_graph(), weight), (gates[..., None] * hops).sum(0))
    assert sum(p.numel() for p in conv.parameters()) == C + 1


def test_dagnn_with_open_gates_is_the_sum_of_powers() -> None:
    conv, x = DAGNNConv(C, 4).double(), draw(N, C)
    with torch.no_grad():
        conv.gate.weight.zero_()
        conv.gate.bias.fill_(60.0)
    assert_close(conv(x, plain_graph()), powers(4, x).sum(0))


def test_dagnn_of_one_node_and_one_channel_keeps_its_shape() -> None:
    assert DAGNNConv(1, 3)(torch.ones(1, 1), torch.empty(2, 0, dtype=torch.long)).shape == (1, 1)


# -- GPR-GNN ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["ppr", "nppr", "sgc", "random"])
def test_gpr_is_the_weighted_sum_of_all_hops(init: Any) -> None:
    conv, x = GPRConv(5, 0.2, init).double(), draw(N, C)
    conv.reset_parameters()  # in double precision
    assert_close(conv(x, plain_graph()), (conv.weight[:, None, None] * powers(5, x)).sum(0))
    if init in ("nppr", "random"):
        assert_close(conv.weight.abs().sum(), torch.ones((), dtype=torch.float64))


def test_gpr_starts_as_appnp_or_sgc() -> None:
    x = draw(N, C)
    conv = GPRConv(6, 0.2).double()
    conv.reset_parameters()  # in double precision
    assert_close(conv(x, plain_graph()), APPNP(6, 0.2)(x, plain_graph()))
    assert_close(GPRConv(6, 0.2, "sgc").double()(x, plain_graph()), powers(6, x)[-1])


# -- AIR ----------------------------------------------------------------------------------------------


def test_air_goes_back_by_each_nodes_own_share() -> None:
    gate, h, h_0 = AIRGate(C).double(), draw(N, C), draw(N, C)
    u, v, c = gate.here.weight[0], gate.start.weight[0], gate.here.bias
    share = torch.sigmoid(h @ u + h_0 @ v + c)[:, None]
    assert_close(gate(h, h_0), (1 - share) * h + share * h_0)
    conv, x = AIRConv(C, 3).double(), h
    conv.gate.load_state_dict(gate.state_dict())
    expected = x
    for _ in range(3):
        expected = operator() @ gate(expected, x)
    assert_close(conv(x, plain_graph()), expected)


def test_air_with_shut_gates_is_sgc() -> None:
    conv, x = AIRConv(C, 3).double(), draw(N, C)
    with torch.no_grad():
        for p in conv.parameters():
            p.zero_()
        conv.gate.here.bias.fill_(-60.0)
    assert_close(conv(x, plain_graph()), powers(3, x)[-1])


# -- DGMLP --------------------------------------------------------------------------------------------


def limit(x: Tensor, edge_index: Tensor) -> Tensor:
    """S^infinity x from the closed form, in a loop over components."""
    n = x.size(0)
    a = with_loops(dense(edge_index, n))
    d, reach = a.sum(1), torch.linalg.matrix_power(a, n) > 0
    out = torch.zeros_like(x)
    for v in range(n):
        part = reach[v]
        out[v] = d[v].sqrt() * (d[part].sqrt()[:, None] * x[part]).sum(0) / d[part].sum()
    return out


def test_the_stationary_state_is_the_limit_of_the_powers_in_each_component() -> None:
    edge_index = cycle(5, 7, 3)  # three components and an isolated node
    x = draw(16, C)
    found = stationary(gcn_norm(as_csr(edge_index, 16), None, x), x)
    assert_close(found, limit(x, edge_index))
    s = normalised(with_loops(dense(edge_index, 16)))
    assert_close(found, torch.linalg.matrix_power(s, 2000) @ x)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_dgmlp_weighs_hops_by_their_smoothing_level(temperature: float) -> None:
    edge_index, x = undirected(), draw(N, C)
    x[3] = 0  # a row without a direction
    hops = powers(6, x, normalised(with_loops(dense(edge_index, N))))
    end = limit(x, edge_index)

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        length = a.norm(dim=-1) * b.norm(dim=-1)
        return torch.where(length > 0, (a * b).sum(-1) / length.clamp(min=1e-300), 0)

    level = cosine(hops, hops[:1]) * (1 - cosine(hops, end[None]))
    weights = torch.softmax(level / temperature, dim=0)
    assert_close(smoothing_weights(hops, end, temperature), weights)
    assert_close(SmoothedHops(6, temperature)(x, edge_index), (weights[..., None] * hops).sum(0))


def test_dgmlp_limits_of_the_temperature() -> None:
    edge_index, x = undirected(), draw(N, C)
    hops = powers(6, x, normalised(with_loops(dense(edge_index, N))))
    assert_close(SmoothedHops(6, 1e12)(x, edge_index), hops.mean(0))
    weights = smoothing_weights(hops, limit(x, edge_index), 1.0)
    picked = hops[weights.argmax(0), torch.arange(N)]
    assert_close(SmoothedHops(6, 1e-9)(x, edge_index), picked)
    assert_close(SmoothedHops(0)(x, edge_index), x)


def test_kept_hops_follow_features_and_graph() -> None:
    conv, fresh = SmoothedHops(3, cached=True), SmoothedHops(3)
    x, edge_index = draw(N, C), undirected()
    first = conv(x, edge_index)
    assert conv(x, edge_index) is first
    x[0] += 1  # features that change are noticed
    assert_close(conv(x, edge_index), fresh(x, edge_index))
    assert_close(conv(x, cycle(N)), fresh(x, cycle(N)))
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(conv(leaf, edge_index).sum(), leaf)
    other = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(fresh(other, edge_index).sum(), other)
    assert_close(found, wanted)


@pytest.mark.parametrize("edge_index", [cycle(4, 5, 2), plain_graph(), torch.empty(2, 0, dtype=torch.long)])
def test_components_are_those_of_the_undirected_graph(edge_index: Tensor) -> None:
    reach = torch.linalg.matrix_power(
        with_loops(dense(edge_index, N) + dense(edge_index.flip(0), N)).clamp(max=1), N
    )
    expected = [int((row > 0).nonzero()[0]) for row in reach]
    assert components(as_csr(edge_index, N)).tolist() == expected


def test_components_of_a_long_path_with_shuffled_names() -> None:
    order = torch.randperm(3000)
    edge_index = torch.stack([order[:-1], order[1:]])
    assert (components(as_csr(edge_index, 3000)) == 0).all()


def test_wrong_options_fail_clearly() -> None:
    with pytest.raises(ValueError, match="DAGNNConv: K=-1 is negative"):
        DAGNNConv(C, -1)
    with pytest.raises(ValueError, match="GPRConv: K=3, alpha=2"):
        GPRConv(3, 2)
    with pytest.raises(ValueError, match="GPRConv: init='warm' is unknown"):
        GPRConv(3, init="warm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="SmoothedHops: K=3, temperature=0"):
        SmoothedHops(3, 0)
    with pytest.raises(ValueError, match=r"AIRGate: h has shape \[3, 4\] but h_0 has \[2, 4\]"):
        AIRGate(4)(torch.ones(3, 4), torch.ones(2, 4))
    with pytest.raises(NotImplementedError, match="DAGNNConv: aggr='max' is not offered; the layer is a"):
        DAGNNConv(C, 2, aggr="max")
