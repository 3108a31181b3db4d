"""RGCNConv: its several ways to the same sum, what it keeps, memory, errors."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scipy.sparse
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gnnlib.nn import FastRGCNConv, RGCNConv
from gnnlib.sparse import as_csr
from gnnlib.sparse.relations import derive_by_type, inverse_counts, relational_sum, segments_of
from tests.nn.cases import awkward_graph, plain_graph
from tests.tolerances import assert_close

ROOT = Path(__file__).resolve().parents[2]
N, F_IN, F_OUT, R = 20, 6, 4, 4


def relations(edge_index: Tensor) -> Tensor:
    kind = torch.randint(0, R - 1, (edge_index.size(1),), generator=torch.Generator().manual_seed(1))
    return kind + (kind > 0)  # relation 1 has no edge


def by_definition(layer: RGCNConv, x: Tensor, edge_index: Tensor, kind: Tensor) -> Tensor:
    """The equation, an edge at a time."""
    maps = layer._maps()
    if layer.num_blocks is not None:
        maps = torch.stack([torch.block_diag(*blocks) for blocks in maps])
    count: dict[tuple[int, int], int] = {}
    edges = list(zip(*edge_index.tolist(), kind.tolist(), strict=True))
    for _, i, r in edges:
        count[i, r] = count.get((i, r), 0) + 1
    out = x @ layer.root + layer.bias
    rows = [out[i] for i in range(x.size(0))]
    for j, i, r in edges:
        rows[i] = rows[i] + x[j] @ maps[r] / (count[i, r] if layer.aggr == "mean" else 1)
    return torch.stack(rows)


@pytest.mark.parametrize("out", [2, 4, 10])
@pytest.mark.parametrize("form", [{}, {"num_bases": 2}, {"num_blocks": 2}], ids=str)
@pytest.mark.parametrize("aggr", ["mean", "add"])
def test_each_way_is_the_definition(out: int, form: dict[str, Any], aggr: str) -> None:
    layer = RGCNConv(F_IN, out, R, aggr=aggr, **form).double()
    torch.nn.init.normal_(layer.bias)
    x, edge_index = torch.randn(N, F_IN, dtype=torch.float64), awkward_graph()
    kind, adj = relations(edge_index), as_csr(edge_index, N)
    rest = x @ layer.root + layer.bias
    expected = by_definition(layer, x, edge_index, kind)
    assert_close(layer(x, edge_index, kind), expected)
    for by_target in (True, False):
        segments = layer._segments(adj, kind, x.dtype, by_target=by_target)
        assert_close(relational_sum(segments, x, layer._maps()) + rest, expected)
    assert_close(layer._by_pair(adj, x, kind) + rest, expected)
    if layer.comp is not None:
        assert_close(layer._by_basis(adj, x, kind) + rest, expected)


@pytest.mark.parametrize("by_target", [True, False])
@pytest.mark.parametrize("blocks", [False, True])
def test_derivatives(by_target: bool, blocks: bool) -> None:
    edge_index = awkward_graph(6, 12)
    kind, adj = relations(edge_index), as_csr(edge_index, 6)
    scale = inverse_counts(adj, adj.to_slots(kind), R, torch.float64)
    segments = segments_of(adj, kind, R, scale, by_target=by_target)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(R, *((2, 2, 1) if blocks else (4, 2)), dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, w: relational_sum(segments, x, w), (x, weight))
    assert gradgradcheck(lambda x, w: relational_sum(segments, x, w), (x, weight), fast_mode=True)
    found = torch.func.grad(lambda x: relational_sum(segments, x, weight).square().sum())(x)
    assert_close(found, torch.autograd.grad(relational_sum(segments, x, weight).square().sum(), x)[0])


def test_torch_func_takes_the_layer_on_a_graph_that_it_sees_first() -> None:
    layer, x = RGCNConv(4, 2, R), torch.randn(6, 4)
    edge_index = awkward_graph(6, 12)
    kind = relations(edge_index)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return layer(x, edge_index.clone(), kind).square().sum()

    found = torch.func.grad(loss)(x)
    leaf = x.clone().requires_grad_()
    assert_close(found, torch.autograd.grad(loss(leaf), leaf)[0])
    assert torch.func.grad(lambda x: torch.func.grad(loss)(x).square().sum())(x).isfinite().all()


def test_groups_hold_at_most_as_many_segments_as_nodes() -> None:
    edge_index = torch.randint(0, 9, (2, 300))
    kind, adj = torch.randint(0, 7, (300,)), as_csr(edge_index, 9)
    segments = segments_of(adj, kind, 7, None, by_target=True)
    assert len(segments.groups) > 3
    assert sum(g.node.numel() for g in segments.groups) == segments.num_segments
    assert all(g.node.numel() <= 9 or len(g.parts) == 1 for g in segments.groups)
    assert sum(g.edges.num_edges for g in segments.groups) == 300


def test_the_cheaper_way() -> None:
    """Two bases beat many relations; many bases do not beat few segments."""
    edge_index = torch.randint(0, 40, (2, 900))
    adj, kind = as_csr(edge_index, 40), torch.randint(0, 60, (900,))
    few = RGCNConv(32, 32, 60, num_bases=2)
    segments = few._segments(adj, kind, torch.float32, by_target=True)
    assert few._basis_cost(adj) < few._cost(adj, segments)
    many = RGCNConv(32, 32, 60, num_bases=60)
    assert many._basis_cost(adj) > many._cost(adj, segments)
    narrow = RGCNConv(256, 4, 60)
    turned = narrow._segments(adj, kind, torch.float32, by_target=False)
    assert narrow._cost(adj, turned) < narrow._cost(
        adj, narrow._segments(adj, kind, torch.float32, by_target=True)
    )


def test_changed_types_are_never_stale() -> None:
    layer = RGCNConv(F_IN, F_OUT, R).double()
    x, edge_index = torch.randn(N, F_IN, dtype=torch.float64), awkward_graph()
    kind = relations(edge_index)
    layer(x, edge_index, kind)
    kind[:30] = 1
    assert_close(layer(x, edge_index, kind), by_definition(layer, x, edge_index, kind))
    other = kind.flip(0)
    assert_close(layer(x, edge_index, other), by_definition(layer, x, edge_index, other))


def test_structures_die_with_their_types() -> None:
    edge_index = awkward_graph()
    adj, calls = as_csr(edge_index, N), []
    kind = relations(edge_index)
    for _ in range(3):
        derive_by_type(adj, kind, ("probe",), lambda a, t: calls.append(1))
    assert len(calls) == 1
    known = adj.derive("by edge type", lambda _: {})
    before = len(known)
    for _ in range(4):
        layer = RGCNConv(F_IN, F_OUT, R, num_bases=2)
        layer(torch.randn(N, F_IN), edge_index, kind.clone())
        layer(torch.randn(N, F_IN), edge_index, kind.clone())
    gc.collect()
    assert len(known) == before
    del kind
    gc.collect()
    assert len(known) == before - 1


@pytest.mark.parametrize("name", [RGCNConv, FastRGCNConv])
def test_a_matrix_brings_the_types_as_values(name: type[RGCNConv]) -> None:
    layer = name(F_IN, F_OUT, R).double()
    x, edge_index = torch.randn(N, F_IN, dtype=torch.float64), plain_graph()
    kind = relations(edge_index)
    expected = layer(x, edge_index, kind)
    for dtype in (torch.float64, torch.int64):
        coo = torch.sparse_coo_tensor(edge_index.flip(0), kind.to(dtype), (N, N)).coalesce()
        for adj_t in (coo, coo.to_sparse_csr()):
            assert_close(layer(x, adj_t), expected)
    row, col = edge_index[1].numpy(), edge_index[0].numpy()
    assert_close(layer(x, scipy.sparse.coo_matrix((kind.numpy(), (row, col)), (N, N))), expected)


def test_wrong_inputs_fail_clearly() -> None:
    layer, x, edge_index = RGCNConv(F_IN, F_OUT, R), torch.randn(N, F_IN), awkward_graph()
    kind = relations(edge_index)
    for call, error, message in (
        (lambda: layer(x, edge_index), ValueError, "RGCNConv: no edge_type came"),
        (lambda: layer(x, edge_index, kind[:9]), ValueError, r"edge_type has shape \[9\] .* 60 edges"),
        (lambda: layer(x, edge_index, kind + 1), ValueError, "relation 4 but .* num_relations=4, 0 to 3"),
        (lambda: layer(x, edge_index, kind - 1), ValueError, "relation -1"),
        (lambda: layer(x[:, :5], edge_index, kind), ValueError, "x has 5 features .* in_channels=6"),
        (lambda: layer("x", edge_index, kind), TypeError, "x is str"),
        (lambda: layer(torch.ones(2, 3).long(), edge_index, kind), ValueError, r"node numbers \[N\]"),
        (
            lambda: RGCNConv(F_IN, F_OUT, R, num_blocks=2)(None, edge_index % F_IN, kind),
            ValueError,
            "num_blocks=2 needs floating features",
        ),
        (lambda: RGCNConv(F_IN, F_OUT, R, num_blocks=4), ValueError, "num_blocks=4 does not divide"),
        (lambda: RGCNConv(F_IN, F_OUT, R, 2, 2), ValueError, "pass one of them"),
        (lambda: FastRGCNConv(F_IN, F_OUT, R, aggr="max"), NotImplementedError, "take RGCNConv"),
        (
            lambda: RGCNConv(F_IN, F_OUT, R, flow="target_to_source")((x, x), edge_index, kind),
            NotImplementedError,
            "flow='target_to_source' takes one x",
        ),
    ):
        with pytest.raises(error, match=message):
            call()


MEASURE = """
import resource, torch
torch.set_num_threads(1)
from gnnlib.nn import RGCNConv
n, e, f, r = 2_000, 400_000, 128, 50
edge_index, kind, x = torch.randint(0, n, (2, e)), torch.randint(0, r, (e,)), torch.randn(n, f)
layers = [RGCNConv(f, f, r), RGCNConv(f, f, r, num_bases=2), RGCNConv(f, f, r, num_blocks=4)]
def step(layer, x, index, kind):
    layer(x.requires_grad_(), index, kind).square().sum().backward()
for layer in layers:
    step(layer, x[:50].detach(), edge_index[:, :100] % 50, kind[:100])  # compiles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for layer in layers:
    step(layer, x, edge_index, kind)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(grown / (e * f * 4))
"""


def test_memory_holds_no_array_of_edges_times_features() -> None:
    """Structures and three training steps grow by less than half of one; the structures are a quarter."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout) < 0.5
