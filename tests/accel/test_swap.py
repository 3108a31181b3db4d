"""What stays as it was when the classes are swapped, what sends a layer to PyG's path, and the way back."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks

import gnnlib
from gnnlib.accel import layers
from tests.accel.test_layers import path, why
from tests.nn.cases import plain_graph
from tests.tolerances import assert_close

N, F = 20, 6


class Net(nn.Module):
    """Two PyG layers and a readout, as people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = pyg.GCNConv(F, 8)
        self.second = pyg.GATConv(8, 4, heads=2, concat=False)
        self.pool = pyg.MeanAggregation()

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        x = self.second(self.first(x, edge_index).relu(), edge_index)
        return x if batch is None else self.pool(x, batch)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(N, F)


@pytest.fixture
def edge_index() -> Tensor:
    return plain_graph()


def test_the_outside_stays(x: Tensor, edge_index: Tensor) -> None:
    stock = Net()
    model = copy.deepcopy(stock)
    assert gnnlib.accelerate(model) is model
    assert repr(model) == repr(stock)
    assert type(model) is Net
    assert isinstance(model.first, pyg.GCNConv)
    assert model.first.__class__ is pyg.GCNConv
    assert inspect.signature(model.first.forward) == inspect.signature(stock.first.forward)
    assert list(model.state_dict()) == list(stock.state_dict())
    stock.load_state_dict(model.state_dict())
    assert [n for n, _ in model.named_modules()] == [n for n, _ in stock.named_modules()]
    assert_close(model(x, edge_index), stock(x, edge_index))


def test_pyg_finds_its_classes() -> None:
    parts = [gnnlib.accelerate(pyg.MeanAggregation()), gnnlib.accelerate(pyg.StdAggregation())]
    fused = pyg.aggr.fused.FusedAggregation(parts)  # which knows aggregations by their class
    x, index = torch.randn(N, F), torch.arange(N) // 7
    assert_close(fused(x, index), [part(x, index) for part in parts])


def test_accelerate_twice_is_accelerate_once() -> None:
    model = gnnlib.accelerate(Net())
    before = type(model.first)
    assert type(gnnlib.accelerate(model).first) is before


def test_decelerate_is_exact(x: Tensor, edge_index: Tensor) -> None:
    stock = Net()
    model = copy.deepcopy(stock)
    before = [(type(m), set(vars(m))) for m in model.modules()]
    gnnlib.accelerate(model)
    model(x, edge_index)
    assert gnnlib.decelerate(model) is model
    assert [(type(m), set(vars(m))) for m in model.modules()] == before
    assert torch.equal(model(x, edge_index), stock(x, edge_index))
    assert path(model.first) == "PyG"


def saved(model: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved],
    ids=["copy", "deepcopy", "pickle", "torch.save"],
)
def test_copies_are_fast_too(again: Callable[[Any], Any], x: Tensor, edge_index: Tensor) -> None:
    model = gnnlib.accelerate(Net())
    expected = model(x, edge_index)
    other = again(model)
    assert type(other.first) is type(model.first)
    assert torch.equal(other(x, edge_index), expected)
    assert path(other.first) == "core"
    gnnlib.decelerate(other)
    assert type(other.first) is pyg.GCNConv
    assert_close(other(x, edge_index), expected)


def test_a_package_holds_pygs_layers(tmp_path: Path, x: Tensor, edge_index: Tensor) -> None:
    model = gnnlib.accelerate(pyg.GraphSAGE(F, 8, 2))
    with torch.package.PackageExporter(tmp_path / "model.pt") as exporter:
        exporter.extern(["torch_geometric.**", "_operator"])
        exporter.save_pickle("models", "model.pkl", model)
    other = torch.package.PackageImporter(tmp_path / "model.pt").load_pickle("models", "model.pkl")
    assert type(other.convs[0]) is pyg.SAGEConv
    assert_close(other(x, edge_index), model(x, edge_index))
    assert path(model.convs[0]) == "core"


def test_torchscript_compiles_pygs_code(x: Tensor, edge_index: Tensor) -> None:
    conv = gnnlib.accelerate(pyg.SAGEConv(F, 4))
    expected = conv(x, edge_index)
    assert_close(torch.jit.script(conv)(x, edge_index), expected)


def test_a_trace_records_torchs_ops(x: Tensor, edge_index: Tensor) -> None:
    model = gnnlib.accelerate(pyg.SAGEConv(F, 4))
    traced = torch.jit.trace(model, (x, edge_index))
    assert_close(traced(2 * x, edge_index), model(2 * x, edge_index))  # no constants of the first call


def test_an_exported_program_needs_no_gnnlib(x: Tensor, edge_index: Tensor) -> None:
    conv = gnnlib.accelerate(pyg.SAGEConv(F, 4))
    program = torch.export.export(conv, (x, edge_index))
    assert "gnnlib" not in str(program.graph)
    assert_close(program.module()(x, edge_index), conv(x, edge_index))


def test_module_hooks_run(x: Tensor, edge_index: Tensor) -> None:
    conv = gnnlib.accelerate(pyg.GCNConv(F, 4))
    seen: list[str] = []
    conv.register_forward_pre_hook(lambda m, args: seen.append("before"))
    conv.register_forward_hook(lambda m, args, out: seen.append("after"))
    conv.register_full_backward_hook(lambda m, gin, gout: seen.append("backward"))
    conv(x.requires_grad_(), edge_index).sum().backward()
    assert seen == ["before", "after", "backward"]
    assert path(conv) == "core"


STEPS = ("propagate_forward_pre", "propagate_forward", "message_forward_pre", "message_forward")


@pytest.mark.parametrize("step", [*STEPS, "aggregate_forward_pre", "aggregate_forward"])
def test_hooks_on_message_passing_run(step: str, x: Tensor, edge_index: Tensor) -> None:
    conv = gnnlib.accelerate(pyg.GCNConv(F, 4))
    fast = conv(x, edge_index)
    seen: list[str] = []
    handle = getattr(conv, f"register_{step}_hook")(lambda *args: seen.append(step))
    assert_close(conv(x, edge_index), fast)
    assert seen == [step]
    assert path(conv) == "PyG"
    assert why(conv) == f"a hook waits for {step.partition('_')[0]}"
    handle.remove()
    assert torch.equal(conv(x, edge_index), fast)
    assert path(conv) == "core"


def test_hooks_on_the_maps_inside_see_what_pyg_gives_them(x: Tensor, edge_index: Tensor) -> None:
    conv = gnnlib.accelerate(pyg.GCNConv(F, 9))  # where ours would map the propagated features
    seen: list[Tensor] = []
    conv.lin.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    conv(x, edge_index)
    assert seen[0] is x
    assert why(conv) == "lin has hooks"


class LowRank(nn.Module):
    """An adapter around a map, whose ``weight`` is not all that it computes."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.weight, self.bias = base.weight, base.bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = 2 * self.base(x)
        return out


def test_a_replaced_map_is_called(x: Tensor, edge_index: Tensor) -> None:
    stock = pyg.GCNConv(F, 4)
    stock.lin = LowRank(stock.lin)
    fast = gnnlib.accelerate(copy.deepcopy(stock))
    assert torch.equal(fast(x, edge_index), stock(x, edge_index))
    assert why(fast) == "lin is a LowRank, not a plain linear map"


def test_a_replaced_step_is_called(x: Tensor, edge_index: Tensor) -> None:
    conv = gnnlib.accelerate(pyg.SAGEConv(F, 4))
    fast = conv(x, edge_index)
    conv.message = lambda x_j: 2 * x_j
    assert not torch.allclose(conv(x, edge_index), fast)
    assert why(conv) == "message was replaced on this layer"
    del conv.message
    assert torch.equal(conv(x, edge_index), fast)


class OwnMessage(pyg.SAGEConv):
    def message(self, x_j: Tensor) -> Tensor:
        return x_j.exp()


class OwnForward(pyg.SAGEConv):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out: Tensor = super().forward(x, edge_index).relu()
        return out


class OwnNorm(pyg.ChebConv):
    def __norm__(self, *args: Any, **kwargs: Any) -> Any:
        edge_index, weight = super().__norm__(*args, **kwargs)
        return edge_index, 2 * weight


class OwnReduce(pyg.SumAggregation):
    def reduce(self, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = 2 * super().reduce(*args, **kwargs)
        return out


class OnlyRenamed(pyg.SAGEConv):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)


def test_a_subclass_with_steps_of_its_own_is_left_alone(x: Tensor, edge_index: Tensor) -> None:
    for conv, step in ((OwnMessage(F, 4), "message"), (OwnForward(F, 4), "forward")):
        before = conv(x, edge_index)
        gnnlib.accelerate(conv)
        assert why(conv) == f"a subclass of SAGEConv that has its own {step}"
        assert torch.equal(conv(x, edge_index), before)
    assert why(gnnlib.accelerate(OwnNorm(F, 4, 2))) == "a subclass of ChebConv that has its own __norm__"
    assert why(gnnlib.accelerate(OwnReduce())) == "a subclass of SumAggregation that has its own reduce"
    renamed = OnlyRenamed(F)
    before = renamed(x, edge_index)
    gnnlib.accelerate(renamed)
    assert isinstance(renamed, OnlyRenamed)
    assert_close(renamed(x, edge_index), before)
    assert path(renamed) == "core"
    assert type(pickle.loads(pickle.dumps(renamed))) is type(renamed)


def test_the_layer_follows_its_options(x: Tensor, edge_index: Tensor) -> None:
    stock = pyg.GCNConv(F, 4)
    fast = gnnlib.accelerate(copy.deepcopy(stock))
    for name, value in (
        ("flow", "target_to_source"),
        ("normalize", False),
        ("aggr_module", pyg.MaxAggregation()),
    ):
        for conv in (stock, fast):
            setattr(conv, name, value)
            conv.add_self_loops = name == "flow"
        assert_close(fast(x, edge_index), stock(x, edge_index))
        assert path(fast) == "core"
    fast.to(torch.float64)
    assert fast(x.double(), edge_index).dtype == torch.float64
    with torch.no_grad():
        fast.lin.weight = nn.Parameter(torch.zeros_like(fast.lin.weight))
    assert_close(fast(x.double(), edge_index), fast.bias.expand(N, -1))


def test_the_cache_is_pygs(x: Tensor, edge_index: Tensor) -> None:
    stock = pyg.GCNConv(F, 4, cached=True)
    fast = gnnlib.accelerate(copy.deepcopy(stock))
    expected = stock(x, edge_index)
    assert_close(fast(x, edge_index), expected)
    assert_close(list(fast._cached_edge_index), list(stock._cached_edge_index))
    other = torch.tensor([[0], [1]])
    assert_close(fast(x, other), expected)  # as PyG: the first graph counts
    assert torch.equal(gnnlib.decelerate(fast)(x, other), stock(x, other))
    gnnlib.accelerate(fast).reset_parameters()
    assert fast._cached_edge_index is None


def test_a_lazy_layer_takes_its_width_from_the_first_call(x: Tensor, edge_index: Tensor) -> None:
    torch.manual_seed(3)
    expected = pyg.SAGEConv(-1, 4)(x, edge_index)
    torch.manual_seed(3)
    fast = gnnlib.accelerate(pyg.SAGEConv(-1, 4))
    assert torch.equal(fast(x, edge_index), expected)  # PyG's path, for the sake of the same draws
    assert_close(fast(x, edge_index), expected)
    assert path(fast) == "core"


@pytest.mark.parametrize(
    "wrong",
    [
        (torch.randn(N, F), torch.tensor([[0, N], [1, 2]])),
        (torch.randn(N, F), torch.tensor([[0, -1], [1, 2]])),
        (torch.randn(N, F), torch.rand(2, 3)),
        (torch.randn(N, F), torch.zeros(3, 3, dtype=torch.int64)),
        (torch.randn(N, F + 1), torch.tensor([[0], [1]])),
        ((torch.randn(N, F), torch.randn(N, F)), torch.tensor([[0], [1]])),
    ],
    ids=["beyond", "negative", "floating", "three rows", "width", "pair"],
)
def test_errors_are_pygs(wrong: Any) -> None:
    stock = pyg.GCNConv(F, 4)
    with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever PyG raises
        stock(*wrong)
    with pytest.raises(expected.type) as found:
        gnnlib.accelerate(copy.deepcopy(stock))(*wrong)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("make", [pyg.GCNConv, pyg.GraphConv], ids=["GCN", "GraphConv"])
def test_static_graphs_and_sparse_features_run_pygs_code(make: Any, edge_index: Tensor) -> None:
    stock = make(F, 4)
    fast = gnnlib.accelerate(copy.deepcopy(stock))
    x = torch.randn(3, N, F)
    assert torch.equal(fast(x, edge_index), stock(x, edge_index))
    assert why(fast).startswith("in the last call: GCNConv: x has shape [3, 20, 6]") or make is pyg.GraphConv
    if make is pyg.GCNConv:
        sparse = torch.randn(N, F).relu().to_sparse()
        assert torch.equal(fast(sparse, edge_index), stock(sparse, edge_index))
        assert why(fast) == "in the last call: x is a sparse tensor"


def test_attention_weights_are_pygs(x: Tensor) -> None:
    edge_index = torch.tensor([[3, 0, 1, 1, 2, 3, 0], [1, 1, 0, 2, 2, 3, 1]])
    stock = pyg.GATConv(F, 4, heads=2)
    fast = gnnlib.accelerate(copy.deepcopy(stock))
    expected = stock(x, edge_index, return_attention_weights=True)
    found = fast(x, edge_index, return_attention_weights=True)
    assert_close(found[0], expected[0])
    assert torch.equal(found[1][0], expected[1][0])
    assert_close(found[1][1], expected[1][1])
    assert path(fast) == "core"


@pytest.mark.parametrize("make", [pyg.GCN, pyg.GraphSAGE, pyg.GAT], ids=lambda m: m.__name__)
def test_explainers_see_pygs_path_and_leave_the_fast_one(make: Any, x: Tensor, edge_index: Tensor) -> None:
    stock = make(F, 8, 2, 3).eval()
    fast = gnnlib.accelerate(copy.deepcopy(stock))
    before = fast(x, edge_index)
    masks = []
    for model in (stock, fast):
        torch.manual_seed(5)
        explainer = Explainer(
            model,
            GNNExplainer(epochs=5),
            explanation_type="model",
            node_mask_type="attributes",
            edge_mask_type="object",
            model_config={"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"},
        )
        masks.append(explainer(x, edge_index).edge_mask)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(fast(x, edge_index), before)
    assert {layer.path for layer in layers(fast)} == {"core"}


def test_explain_mode_says_so(x: Tensor, edge_index: Tensor) -> None:
    model = gnnlib.accelerate(pyg.GCN(F, 8, 2))
    set_masks(model, torch.randn(edge_index.size(1)), edge_index, apply_sigmoid=True)
    model(x, edge_index)
    assert {layer.why for layer in layers(model) if layer.kind == "GCNConv"} == {
        "an explainer is at work (explain=True)"
    }
    clear_masks(model)
    model(x, edge_index)
    assert {layer.path for layer in layers(model)} == {"core"}


def test_torch_func_and_forward_mode(x: Tensor, edge_index: Tensor) -> None:
    stock = pyg.SAGEConv(F, 4)
    fast = gnnlib.accelerate(copy.deepcopy(stock))
    many = torch.randn(3, N, F)
    expected = torch.func.vmap(lambda one: stock(one, edge_index))(many)
    assert_close(torch.func.vmap(lambda one: fast(one, edge_index))(many), expected)
    found = torch.func.jvp(lambda one: fast(one, edge_index), (x,), (x,))
    assert_close(found, torch.func.jvp(lambda one: stock(one, edge_index), (x,), (x,)))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangent = torch.autograd.forward_ad.unpack_dual(fast(dual, edge_index)).tangent
    ones = (torch.ones_like(x),)
    assert_close(tangent, torch.func.jvp(lambda one: stock(one, edge_index), (x,), ones)[1])


def test_doctor_lists_each_layer(x: Tensor, edge_index: Tensor) -> None:
    model = gnnlib.accelerate(Net())
    model.extra = pyg.PointNetConv()
    rows = {row.name: row.value for row in gnnlib.doctor(model).rows}
    assert rows == {
        "first": "GCNConv: sparse core, no call yet",
        "second": "GATConv: sparse core, no call yet",
        "pool": "MeanAggregation: sparse core, no call yet",
        "extra": "PointNetConv: PyG's code, the core has no fast form of PointNetConv",
    }
    model(x, edge_index, torch.zeros(N, dtype=torch.int64))
    report = gnnlib.doctor(model)
    assert "first   GCNConv: sparse core, ran in the last call" in str(report)
    assert report.rows[0].name == "first"


def test_it_wants_a_module() -> None:
    for function in (gnnlib.accelerate, gnnlib.decelerate):
        with pytest.raises(TypeError, match=r"pass a torch\.nn\.Module"):
            function([pyg.GCNConv(2, 2)])
