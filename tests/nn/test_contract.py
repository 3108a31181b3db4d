"""What every public layer promises, checked for each from its one line in cases.py."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

import gnnlib.nn
import gnnlib.nn.aggr
import gnnlib.nn.pool
from gnnlib.nn import GCNConv
from gnnlib.sparse import as_csr
from tests.nn.cases import CASES, F_IN, HISTOGRAM, Case, awkward_graph, plain_graph
from tests.tolerances import assert_close

N = 20
AGGREGATIONS = set(gnnlib.nn.aggr.__all__)  # see test_aggr_contract.py
POOLINGS = set(gnnlib.nn.pool.__all__)  # see test_pool.py
ELSEWHERE = AGGREGATIONS | POOLINGS
LAYERS = [n for n in gnnlib.nn.__all__ if isinstance(getattr(gnnlib.nn, n), type) and n not in ELSEWHERE]
GRAPH_CASES = [c for c in CASES if c.graph]


def each(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[c.name for c in cases])


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build()


def features(n: int = N, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, F_IN, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def test_every_layer_has_one_case() -> None:
    assert [c.name for c in CASES] == LAYERS


@each(CASES)
def test_builds_and_runs(case: Case) -> None:
    layer = case.build()
    assert type(layer).__name__ == case.name
    out = case.run(layer, features(), awkward_graph())
    assert out.shape == (N, case.out)
    assert out.isfinite().all()
    assert repr(layer).startswith(f"{case.name}(")


@each(CASES)
def test_resets_to_the_same_seeded_state(case: Case) -> None:
    a, b = seeded(case.build, 0), seeded(case.build, 1)
    case.run(b, features(), awkward_graph())
    with torch.no_grad():
        for p in b.parameters():
            p.add_(1.0)
    for layer in (a, b):
        torch.manual_seed(5)
        layer.reset_parameters()  # type: ignore[operator]
    assert_close(dict(a.state_dict()), dict(b.state_dict()))
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@each(CASES)
def test_saves_and_loads(case: Case) -> None:
    a, b = seeded(case.build, 0).eval(), seeded(case.build, 1).eval()
    x, edge_index = features(), awkward_graph()
    buffer = io.BytesIO()
    torch.save(a.state_dict(), buffer)
    buffer.seek(0)
    b.load_state_dict(torch.load(buffer, weights_only=True))
    out = case.run(a, x, edge_index)
    assert torch.equal(case.run(b, x, edge_index), out)
    assert torch.equal(case.run(copy.deepcopy(a), x, edge_index), out)
    assert torch.equal(case.run(pickle.loads(pickle.dumps(a)), x, edge_index), out)


@each([c for c in CASES if c.lazy is not None])
def test_takes_its_width_from_the_first_call(case: Case) -> None:
    assert case.lazy is not None
    lazy, ready = case.lazy().eval(), case.build().eval()
    x, edge_index = features(), awkward_graph()
    pickle.loads(pickle.dumps(lazy)).load_state_dict(copy.deepcopy(lazy).state_dict())
    case.run(lazy, x, edge_index)
    assert {k: v.shape for k, v in lazy.state_dict().items()} == {
        k: v.shape for k, v in ready.state_dict().items()
    }
    lazy.load_state_dict(ready.state_dict())
    assert torch.equal(case.run(lazy, x, edge_index), case.run(ready, x, edge_index))
    loaded = case.lazy().eval()
    loaded.load_state_dict(ready.state_dict())  # before any call
    assert torch.equal(case.run(loaded, x, edge_index), case.run(ready, x, edge_index))


@each(CASES)
def test_relabelling_nodes_relabels_the_output(case: Case) -> None:
    layer, x, edge_index = case.build().double(), features(dtype=torch.float64), awkward_graph()
    order = torch.randperm(N)
    place = order.argsort()
    assert_close(case.run(layer, x[order], place[edge_index]), case.run(layer, x, edge_index)[order])


@each(GRAPH_CASES)
def test_the_order_of_edges_does_not_matter(case: Case) -> None:
    layer, x, edge_index = case.build().double(), features(dtype=torch.float64), awkward_graph()
    shuffled = edge_index[:, torch.randperm(edge_index.size(1))]
    assert_close(case.run(layer, x, shuffled), case.run(layer, x, edge_index))


@each(CASES)
def test_a_batch_gives_what_its_graphs_give(case: Case) -> None:
    layer = case.build().double().eval()
    x, edge_index = features(2 * N, torch.float64), awkward_graph()
    both = torch.cat([edge_index, plain_graph() + N], dim=1)
    together = case.run(layer, x, both)
    assert_close(together[:N], case.run(layer, x[:N], edge_index))
    assert_close(together[N:], case.run(layer, x[N:], plain_graph()))


@each(CASES)
def test_gradients(case: Case) -> None:
    layer = case.build().double()
    edge_index = awkward_graph(6, 9)
    x = features(6, torch.float64).requires_grad_()
    names = [k for k, _ in layer.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        with_values = _Called(layer, lambda m: case.run(m, x, edge_index))
        parameters = {f"layer.{k}": v for k, v in zip(names, values, strict=True)}
        out: Tensor = torch.func.functional_call(with_values, parameters, ())
        return out

    leaves = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert gradcheck(run, (x, *leaves), fast_mode=True)


class _Called(nn.Module):
    def __init__(self, layer: nn.Module, run: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.layer, self.run = layer, run

    def forward(self) -> Tensor:
        return self.run(self.layer)


@each(CASES)
def test_every_parameter_has_a_gradient(case: Case) -> None:
    layer = case.build()
    weight = torch.randn(N, case.out)
    (case.run(layer, features().requires_grad_(), awkward_graph()) * weight).sum().backward()
    for name, p in layer.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name


@each(CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_dtypes(case: Case, dtype: torch.dtype) -> None:
    layer = seeded(case.build).to(dtype).eval()
    x = features(dtype=dtype)
    out = case.run(layer, x, awkward_graph())
    assert out.dtype == dtype
    exact = case.run(copy.deepcopy(layer).double(), x.double(), awkward_graph())
    assert_close(out, exact)


@each(CASES)
@pytest.mark.parametrize("n", [0, 1, 4])
def test_graphs_without_edges(case: Case, n: int) -> None:
    layer = case.build().eval()
    x = features(n).requires_grad_()
    out = case.run(layer, x, torch.empty(2, 0, dtype=torch.int64))
    assert out.shape == (n, case.out)
    assert out.isfinite().all()
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@each(GRAPH_CASES)
def test_every_graph_format(case: Case) -> None:
    from torch_geometric import EdgeIndex

    layer, x, edge_index = case.build().double(), features(dtype=torch.float64), plain_graph()
    expected = case.run(layer, x, edge_index)
    row, col = edge_index[1], edge_index[0]
    one = torch.ones(edge_index.size(1), dtype=torch.float64)
    adj_t = torch.sparse_coo_tensor(torch.stack([row, col]), one, (N, N)).coalesce()
    formats = {
        "int32": edge_index.int(),
        "strided": edge_index.t().contiguous().t(),
        "CSR": as_csr(edge_index, N),
        "EdgeIndex": EdgeIndex(edge_index, sparse_size=(N, N)),
        "sorted EdgeIndex": EdgeIndex(edge_index, sparse_size=(N, N)).sort_by("col")[0],
        "torch COO": adj_t,
        "torch CSR": adj_t.to_sparse_csr(),
        "torch CSC": adj_t.to_sparse_csc(),
        "scipy": scipy.sparse.coo_matrix((one.numpy(), (row.numpy(), col.numpy())), (N, N)),
    }
    for name, graph in formats.items():
        try:
            assert_close(case.run(layer, x, graph), expected)
        except AssertionError as error:
            raise AssertionError(name) from error


@each([c for c in CASES if not c.any_width and c.name != "JumpingKnowledge"])
def test_a_wrong_width_fails_clearly(case: Case) -> None:
    own_network = case.name in ("GINConv", "EdgeConv")  # the sentence of torch.nn.Linear, the caller's own
    kind, message = (RuntimeError, "mat1") if own_network else (ValueError, f"{F_IN + 1} features.*={F_IN}")
    with pytest.raises(kind, match=message):
        case.run(case.build(), torch.randn(N, F_IN + 1), awkward_graph())


@each(GRAPH_CASES)
def test_wrong_inputs_fail_clearly(case: Case) -> None:
    layer, x, edge_index = case.build(), features(), awkward_graph()
    for bad_x in (x[0], x.unsqueeze(0)):
        with pytest.raises(ValueError, match=rf"{case.name}: x has shape .*expected \[N, F\]"):
            case.run(layer, bad_x, edge_index)
    with pytest.raises(TypeError, match=f"{case.name}: x is torch.int64"):
        case.run(layer, x.long(), edge_index)
    with pytest.raises(ValueError, match=f"source node 16 but the graph has {N - 6} source nodes"):
        case.run(layer, x[: N - 6], edge_index.clamp(max=16).index_fill(1, torch.tensor([0]), 16))
    with pytest.raises(ValueError, match="node -1"):
        case.run(layer, x, edge_index - 1)
    with pytest.raises(TypeError, match=r"edge_index is torch\.float32"):
        case.run(layer, x, edge_index.float())
    with pytest.raises(ValueError, match=r"expected \[2, E\].*transpose"):
        case.run(layer, x, edge_index.t())
    with pytest.raises(ValueError, match=r"20 rows .* 20 columns .* 19 targets"):
        case.run(layer, x[:19], as_csr(edge_index, N))


@each(GRAPH_CASES)
def test_options_of_the_base_class(case: Case) -> None:
    cls = getattr(gnnlib.nn, case.name)
    own: dict[str, tuple[Any, ...]] = {
        "AIRConv": (F_IN, 2),
        "APPNP": (2, 0.1),
        "ChebConv": (F_IN, 5, 3),
        "DAGNNConv": (F_IN, 2),
        "DirGNNConv": (GCNConv(F_IN, 5),),
        "EdgeConv": (nn.Linear(2 * F_IN, 5),),
        "GINConv": (nn.Linear(F_IN, 5),),
        "GPRConv": (2,),
        "GSPN": (F_IN, 2, 2),
        "LGConv": (),
        "SmoothedHops": (2,),
        "NSDConv": (F_IN, 1),
        "SheafConv": (F_IN, 5, 1),
        "SSGConv": (F_IN, 5, 0.1, 2),
        "PNAConv": (F_IN, 5, ["mean", "std"], ["identity"], HISTOGRAM),
    }
    arguments = own.get(case.name, (F_IN, 5))
    layer = cls(*arguments, flow="target_to_source", node_dim=0, decomposed_layers=2).double()
    other = cls(*arguments).double()
    other.load_state_dict(layer.state_dict())
    x, edge_index = features(dtype=torch.float64), awkward_graph()
    assert_close(layer(x, edge_index), other(x, edge_index.flip(0)))
    for options, message in (
        ({"flow": "sideways"}, "flow='sideways'"),
        ({"node_dim": 1}, "node_dim=1"),
        (
            {"aggr": "mode"},
            "aggregation 'mode'" if getattr(cls, "takes_modules", False) else "aggr='mode' is not offered",
        ),
        ({"aggr_kwargs": {"unknown": 1}}, "aggr_kwargs|unexpected keyword"),
    ):
        with pytest.raises((ValueError, NotImplementedError, TypeError), match=message):
            cls(*arguments, **options)
    with pytest.raises(TypeError):
        cls(*arguments, flwo="source_to_target")
