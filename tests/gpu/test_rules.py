"""The rules that every backend keeps, on the gpu backend: bits, ties, NaN, large offsets, and refusals."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnnlib.nn import (
    APPNP,
    GATConv,
    GATv2Conv,
    GCNConv,
    GENConv,
    GINConv,
    GraphConv,
    PNAConv,
    ResGatedGraphConv,
    SAGEConv,
    SGConv,
    TransformerConv,
)
from gnnlib.sparse import registry, spmm, use_backend
from gnnlib.sparse.cache import structures
from tests.gpu.table import on_device
from tests.sparse.cases import BY_NAME, SOME, Case, expected, leaves
from tests.sparse.graphs import MIXED, TINY, ZOO
from tests.sparse.test_bits import same
from tests.sparse.test_numerics import REACHED, TIES, assert_contained, poisoned
from tests.tolerances import assert_close

INVARIANT = [
    BY_NAME[name]
    for name in (
        "spmm-sum-edge-heads-row-col",
        "spmm-mean-plain-row",
        "spmm-max-plain",
        "segment_reduce-mean-EHF",
        "scatter-min-E",
        "propagate-every",
    )
]


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("case", INVARIANT, ids=repr)
def test_no_tile_changes_a_bit(case: Case, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    from gnnlib.sparse.gpu import tiles

    inputs = case.inputs(MIXED, torch.float32, 5)
    first = on_device(case, MIXED, inputs, device)
    for tile in (tiles.Tile(8, 2, 1), tiles.Tile(16, 8, 4)):
        with monkeypatch.context() as patch:
            patch.setattr(tiles, "row_tiles", lambda shape, tile=tile: (tile,))
            for op in ("spmm", "spmm_arg"):
                patch.setattr(f"gnnlib.sparse.ops.{op}.gpu.row_tiles", tiles.row_tiles)
            assert same(first, on_device(case, MIXED, inputs, device))


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("case", INVARIANT, ids=repr)
def test_hubs_that_nobody_counted(case: Case, device: torch.device) -> None:
    """Compiled code and CUDA graphs may not wait for the number of hubs; the bits are the same."""
    inputs = case.inputs(MIXED, torch.float32, 5)
    counted = on_device(case, MIXED, inputs, device)
    with structures.paused():
        assert same(counted, on_device(case, MIXED, inputs, device))


def test_every_slot_has_one_item(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    from gnnlib.sparse.gpu import work

    monkeypatch.setattr(work, "CUT", 4)
    for degrees in ([5, 0, 4, 13, 1], [9], [0, 0], [4, 4, 4], [5] * 7, [3, 1, 40]):
        indptr = torch.nn.functional.pad(torch.tensor(degrees, device=device).cumsum(0), (1, 0))
        for plan in (work._counted(indptr, sum(degrees)), work._bounded(indptr, sum(degrees))):
            if plan.items is None:
                assert max(degrees) <= 4
                continue
            slots = []
            pieces: dict[int, int] = {}
            for start, stop, place, row in plan.items.t().tolist():
                assert stop - start <= 4
                slots += range(start, stop)
                assert all(indptr[row] <= s < indptr[row + 1] for s in range(start, stop))
                assert place in (-1, row) if place < len(degrees) else stop >= start
                if place >= len(degrees) and stop > start:
                    pieces[place - len(degrees)] = row
            assert sorted(slots) == list(range(sum(degrees)))
            hubs = [(r, a, b) for r, a, b in plan.hubs.t().tolist() if r < len(degrees)]
            assert [r for r, _, _ in hubs] == [i for i, d in enumerate(degrees) if d > 4]
            assert {p: r for r, a, b in hubs for p in range(a, b)} == pieces
            assert max(pieces, default=-1) < plan.num_pieces


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("case", SOME, ids=repr)
@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
def test_special_values_stay_in_their_own_rows(value: float, case: Case, device: torch.device) -> None:
    clean = case.inputs(REACHED, torch.float64)
    for k in range(len(clean)):
        inputs = [poisoned(t, value) if i == k else t for i, t in enumerate(clean)]
        found = [t.cpu() for t in on_device(case, REACHED, inputs, device)]
        assert_contained(found, expected(case, REACHED, inputs))


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("case", TIES, ids=repr)
def test_a_tie_sends_its_whole_gradient_to_the_first_edge(case: Case, device: torch.device) -> None:
    graph = next(g for g in ZOO if g.name == "star")
    inputs = [(2 * t).round().clamp(-1, 1) for t in case.inputs(graph, torch.float32)]
    grad = torch.ones_like(expected(case, graph, inputs)[0])
    assert_close(on_device(case, graph, inputs, device, grad), expected(case, graph, inputs, grad))


@pytest.mark.parametrize("case", SOME, ids=repr)
def test_second_derivative(case: Case, device: torch.device) -> None:
    """The gradient of a gradient is made of the same ops."""
    inputs = case.inputs(TINY, torch.float64, 2)

    def second(graph: object, run: Callable[..., Tensor], held: list[Tensor]) -> list[Tensor]:
        held = leaves(held)
        grads = torch.autograd.grad(run(*held).square().sum(), held, create_graph=True, allow_unused=True)
        total = sum(g.square().sum() for g in grads if g is not None)
        assert isinstance(total, Tensor)
        if total.requires_grad:
            total.backward()
        return [torch.zeros_like(t) if t.grad is None else t.grad for t in held]

    there = TINY.to(device)
    found = second(there, lambda *t: case.run(there, there.adj, *t), [t.to(device) for t in inputs])
    assert_close(found, second(TINY, lambda *t: case.expect(TINY, *t), inputs))


@pytest.mark.parametrize("op", ["sum", "max"])
@pytest.mark.parametrize("indexed", [True, False], ids=["by-index", "by-slot"])
def test_offsets_past_two_to_the_31(
    indexed: bool, op: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows whose first element is further away than an int32 counts; no page before them is touched."""
    if device.type != "cpu":
        pytest.skip("takes 4 GiB of memory that is only mapped on a CPU")
    from triton.runtime.interpreter import GridExecutor

    from gnnlib.sparse.ops.spmm.gpu import gather_sum
    from gnnlib.sparse.ops.spmm_arg.gpu import gather_extreme

    # The interpreter would copy the mapping onto itself.
    monkeypatch.setattr(GridExecutor, "_restore_args_dev", lambda *_: None)
    width, last = 65, 2**31 // 65 + 40
    x = torch.from_numpy(np.zeros((last, 1, width), np.float16))
    x[-3:] = torch.arange(3.0 * width).view(3, 1, width)
    if indexed:
        indptr, indices = torch.tensor([0, 2]), torch.tensor([last - 1, last - 3], dtype=torch.int32)
    else:
        indptr, indices = torch.tensor([last - 3, last]), None
    chosen = x[[-1, -3]] if indexed else x[-3:]
    monkeypatch.setattr("gnnlib.sparse.gpu.work.CUT", 2**40)
    if op == "sum":
        out = gather_sum(indptr, indices, None, x)
        assert_close(out[0], chosen.float().sum(0).half())
    else:
        out, arg = gather_extreme(indptr, indices, None, x, True, torch.int64)
        assert_close(out[0], chosen.amax(0))
        assert int(arg[0, 0, 0]) == (0 if indexed else last - 1)


def test_refusals(device: torch.device) -> None:
    from gnnlib.sparse.gpu.launch import needs_gpu

    refuse = needs_gpu(registry.FLOATS)
    here, x8 = torch.zeros(3, device=device), torch.zeros(3, device=device).to(torch.float8_e4m3fn)
    assert refuse(here, None, here.double(), 3) is None
    assert refuse(here, x8) == "does not take torch.float8_e4m3fn"
    away = torch.zeros(3, device="meta")
    assert refuse(here, away) == f"takes tensors of one device, got {here.device} and meta"
    assert "tensors" in str(refuse(away))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "GCN": lambda: GCNConv(5, 6),
    "SAGE-mean": lambda: SAGEConv(5, 6),
    "SAGE-max": lambda: SAGEConv(5, 6, aggr="max"),
    "GIN": lambda: GINConv(nn.Linear(5, 6), train_eps=True),
    "GraphConv": lambda: GraphConv(5, 6),
    "SG": lambda: SGConv(5, 6, K=2),
    "APPNP": lambda: APPNP(K=3, alpha=0.1),
    "GAT": lambda: GATConv(5, 3, heads=2),
    "GATv2": lambda: GATv2Conv(5, 3, heads=2),
    "Transformer": lambda: TransformerConv(5, 3, heads=2),
    "PNA": lambda: PNAConv(
        5, 6, ["mean", "max", "std"], ["identity", "amplification"], torch.tensor([0, 3, 5])
    ),
    "ResGated": lambda: ResGatedGraphConv(5, 6),
    "GEN": lambda: GENConv(5, 6, aggr="sum"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_needs_no_change(name: str, device: torch.device) -> None:
    """Outputs and gradients are those of the CPU."""
    torch.manual_seed(0)
    conv, x = LAYERS[name](), torch.randn(37, 5)

    def run(on: torch.device, conv: nn.Module) -> list[Tensor]:
        leaf = x.detach().to(on).requires_grad_()
        out = conv(leaf, MIXED.to(on).edge_index)
        return [out, *torch.autograd.grad(out.square().sum(), [leaf, *conv.parameters()])]

    with use_backend("cpu"):
        wanted = run(torch.device("cpu"), conv)
    found = run(device, conv.to(device))
    assert_close([t.detach() for t in found], [t.detach() for t in wanted])


def test_the_transpose_is_kept_once(device: torch.device) -> None:
    """The CSR and the kernels, which see arrays alone, share it."""
    from gnnlib.sparse.ops.build import kept_transpose

    adj = MIXED.to(device).adj
    first = kept_transpose(*adj.arrays, adj.num_cols)
    assert all(a is b for a, b in zip(first, kept_transpose(*adj.arrays, adj.num_cols), strict=True))
    x = torch.rand(37, 3, device=device, requires_grad=True)
    spmm(adj, x, reduce="max").sum().backward()
    assert x.grad is not None
    gc.collect()
    assert kept_transpose(*adj.arrays, adj.num_cols)[0] is first[0]
