"""Lazy propagation: both memories against dense fixed points, parts of a graph, and resets."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm as pyg_norm
from torch_geometric.utils import k_hop_subgraph, subgraph

from gnnlib.nn import APPNP, LazyPropagation
from tests.nn.cases import awkward_graph, plain_graph
from tests.nn.graphs import dense, normalised, with_loops
from tests.tolerances import assert_close

N, C, ALPHA = 20, 4, 0.2


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def operator() -> Tensor:
    """S of a directed graph: not symmetric, so that a missing transpose shows."""
    s = normalised(with_loops(dense(plain_graph(), N)))
    assert (s - s.t()).abs().max() > 0.1
    return s


def step(layer: LazyPropagation, x: Tensor, g: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    out = layer(leaf, edge_index)
    out.backward(g)
    assert leaf.grad is not None
    return out.detach(), leaf.grad


@pytest.mark.parametrize("seen", [False, True])
def test_without_memory_it_is_appnp_forward_and_backward(seen: bool) -> None:
    layer, x, g = LazyPropagation(3, ALPHA, 1.0, 1.0), draw(N, C), draw(N, C)
    if seen:
        step(layer, draw(N, C), draw(N, C), plain_graph())
    leaf = x.clone().requires_grad_()
    expected = APPNP(3, ALPHA)(leaf, plain_graph())
    expected.backward(g)
    out, grad = step(layer, x, g, plain_graph())
    assert_close(out, expected)
    assert_close(grad, leaf.grad)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_each_iteration_follows_the_two_recursions(steps: int) -> None:
    layer = LazyPropagation(steps, ALPHA, 0.3, 0.6)
    s, m_z, m_g = operator(), None, None
    for _ in range(4):
        x, g = draw(N, C), draw(N, C)
        z = x if m_z is None else 0.7 * m_z + 0.3 * x
        v = g if m_g is None else 0.4 * m_g + 0.6 * g
        for _ in range(steps):
            z, v = 0.8 * s @ z + ALPHA * x, 0.8 * s.t() @ v + ALPHA * g
        out, grad = step(layer, x, g, plain_graph())
        assert_close(out, z)
        assert_close(grad, v)
        m_z, m_g = z, v


@pytest.mark.parametrize(("beta", "gamma"), [(0.3, 0.6), (0.0, 0.0)])
def test_iterations_converge_to_the_fixed_points(beta: float, gamma: float) -> None:
    layer, x, g = LazyPropagation(2, ALPHA, beta, gamma), draw(N, C), draw(N, C)
    for _ in range(200):
        out, grad = step(layer, x, g, plain_graph())

    def fixed(s: Tensor, share: float, value: Tensor) -> Tensor:
        p, eye = 0.8 * s, torch.eye(N, dtype=torch.float64)
        m, q = p @ p, ALPHA * (eye + p)
        return torch.linalg.solve(eye - (1 - share) * m, (q + share * m) @ value)

    assert_close(out, fixed(operator(), beta, x))
    assert_close(grad, fixed(operator().t(), gamma, g))
    if beta == 0:  # the whole personalised PageRank
        assert_close(out, ALPHA * torch.linalg.solve(torch.eye(N) - 0.8 * operator(), x))


def test_after_k_iterations_it_has_looked_k_times_as_far() -> None:
    path = torch.stack([torch.arange(11), torch.arange(1, 12)])  # 0 -> 1 -> ... -> 11
    layer, x = LazyPropagation(2, ALPHA, 0.5, 0.5), torch.zeros(12, 1, dtype=torch.float64)
    x[0] = 1
    g = x.flip(0)
    for k in range(1, 6):
        out, grad = step(layer, x, g, path)
        assert out.nonzero()[:, 0].max() == 2 * k
        assert grad.nonzero()[:, 0].min() == 11 - 2 * k


def test_evaluation_takes_plain_steps_and_leaves_the_memory() -> None:
    layer, x = LazyPropagation(2, ALPHA, K=5), draw(N, C)
    step(layer, draw(N, C), draw(N, C), plain_graph())
    before = copy.deepcopy(dict(layer.named_buffers()))
    layer.eval()
    assert_close(layer(x, plain_graph()), APPNP(5, ALPHA)(x, plain_graph()))
    assert_close(dict(layer.named_buffers()), before)


def test_rows_whose_output_is_zero_count_as_seen() -> None:
    layer, zero, x = LazyPropagation(1, ALPHA, 0.5), torch.zeros(N, C, dtype=torch.float64), draw(N, C)
    step(layer, zero, zero, plain_graph())
    assert_close(step(layer, x, x, plain_graph())[0], 0.8 * operator() @ (x / 2) + ALPHA * x)


def parts() -> tuple[Tensor, Tensor]:
    edge_index, weight = pyg_norm(plain_graph(), None, N, dtype=torch.float64)
    return edge_index, weight


def test_one_part_with_all_nodes_is_the_whole_graph() -> None:
    whole = LazyPropagation(2, ALPHA)
    part = LazyPropagation(2, ALPHA, normalize=False, num_nodes=N)
    edge_index, weight = parts()
    order = torch.randperm(N)
    local = order.argsort()[edge_index]
    for _ in range(3):
        x, g = draw(N, C), draw(N, C)
        out, grad = step(whole, x, g, plain_graph())
        leaf = x[order].requires_grad_()
        other = part(leaf, local, weight, n_id=order, num_targets=N)
        other.backward(g[order])
        assert leaf.grad is not None
        assert_close(other, out[order])
        assert_close(leaf.grad, grad[order])
    assert_close(part.z_mem, whole.z_mem)
    assert_close(part.g_mem, whole.g_mem)


def test_parts_write_their_targets_alone() -> None:
    # Targets and all that feeds them within L hops: outputs and memories of the targets are exact.
    edge_index, weight = parts()
    whole = LazyPropagation(2, ALPHA, 0.4, 0.6)
    part = LazyPropagation(2, ALPHA, 0.4, 0.6, normalize=False, num_nodes=N)
    step(whole, draw(N, C), draw(N, C), plain_graph())
    for name, value in whole.named_buffers():
        setattr(part, name, value.clone())
    x, g = draw(N, C), draw(N, C)
    before = whole.z_mem.clone()
    out, _ = step(whole, x, g, plain_graph())
    for targets in torch.randperm(N).split(6):
        near, *_ = k_hop_subgraph(targets, 2, edge_index)
        n_id = torch.cat([targets, near[~torch.isin(near, targets)]])
        local, kept = subgraph(n_id, edge_index, weight, num_nodes=N)
        place = torch.zeros(N, dtype=torch.long).index_copy(0, n_id, torch.arange(n_id.numel()))
        others = torch.arange(N)[~torch.isin(torch.arange(N), targets)]
        leaf, t = x[n_id].requires_grad_(), targets.numel()
        part.z_mem.copy_(before)  # all parts start from one state
        res = part(leaf, place[local], kept, n_id=n_id, num_targets=t)
        res[:t].backward(g[targets])
        assert_close(res[:t], out[targets])
        assert_close(part.z_mem[targets], whole.z_mem[targets])
        assert torch.equal(part.z_mem[others], before[others])
        assert leaf.grad is not None
        assert leaf.grad[:t].any()
        assert not leaf.grad[t:].any()


def test_resetting_forgets_and_saving_keeps_what_it_should() -> None:
    x, g = draw(N, C), draw(N, C)
    layer = LazyPropagation(2, ALPHA)
    first = step(layer, x, g, awkward_graph())
    assert not torch.equal(step(layer, x, g, awkward_graph())[0], first[0])
    assert not layer.state_dict()
    for forget in (layer.reset_memory, layer.reset_parameters):
        forget()
        assert_close(step(layer, x, g, awkward_graph()), first)

    kept = LazyPropagation(2, ALPHA, persistent=True)
    step(kept, x, g, awkward_graph())
    buffer = io.BytesIO()
    torch.save(kept.state_dict(), buffer)
    buffer.seek(0)
    other = LazyPropagation(2, ALPHA, persistent=True)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert_close(step(other, x, g, awkward_graph()), step(kept, x, g, awkward_graph()))
    assert kept.float().z_mem.dtype == torch.float32  # memories go where the module goes


def test_wrong_calls_fail_clearly() -> None:
    x = torch.randn(N, C)
    with pytest.raises(ValueError, match=r"LazyPropagation: beta=1\.5; pass a number from 0 to 1"):
        LazyPropagation(beta=1.5)
    with pytest.raises(ValueError, match="L=0, K=7"):
        LazyPropagation(0)
    layer = LazyPropagation()
    with pytest.raises(ValueError, match="n_id came before the size is known; pass num_nodes"):
        layer(x, plain_graph(), n_id=torch.arange(N), num_targets=3)
    layer(x, plain_graph())
    with pytest.raises(ValueError, match=r"memories are \[20, 4\] but x needs \[20, 5\]; call reset_memory"):
        layer(torch.randn(N, 5), plain_graph())
    with pytest.raises(ValueError, match="num_targets=30 but x has 20 rows"):
        layer(x, plain_graph(), num_targets=30)
    with pytest.raises(ValueError, match=r"n_id has shape \[3\] but x has 20 rows"):
        layer(x, plain_graph(), n_id=torch.arange(3))
    with pytest.raises(ValueError, match="x has 20 rows but num_nodes=50; pass n_id"):
        LazyPropagation(num_nodes=50)(x, plain_graph())
    with pytest.raises(NotImplementedError, match="edge_weight asks for a gradient"):
        layer(x, plain_graph(), torch.rand(60, requires_grad=True))
