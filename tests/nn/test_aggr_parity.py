"""Our aggregations against PyG's with the same weights, where PyG's are right: outputs and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn
import torch_geometric.nn.aggr
from torch import Tensor, nn

import gnnlib.nn
import gnnlib.nn.aggr
from tests.nn.aggr_cases import HISTOGRAM, awkward_index
from tests.tolerances import assert_close

N, F_IN = 23, 6
Build = Callable[[Any], nn.Module]  # from a library


def build(name: str, *arguments: Any, **options: Any) -> Build:
    def make(library: Any) -> nn.Module:
        def value(v: Any) -> Any:
            if isinstance(v, list):
                return [value(one) for one in v]
            return v(library) if callable(v) else v

        aggr: nn.Module = getattr(library.aggr, name)(
            *map(value, arguments), **{k: value(v) for k, v in options.items()}
        )
        return aggr

    shown = [*map(_show, arguments), *(f"{k}={_show(v)}" for k, v in options.items())]
    make.__name__ = f"{name.removesuffix('Aggregation')}({', '.join(shown)})"
    return make


def _show(value: Any) -> str:
    if isinstance(value, list):
        return str([_show(v) for v in value])
    return str(getattr(value, "__name__", "deg" if isinstance(value, Tensor) else value))


def linear(library: Any) -> nn.Module:
    return nn.Sequential(nn.Linear(F_IN, 5), nn.Tanh(), nn.Linear(5, 4))


def gate(library: Any) -> nn.Module:
    return nn.Linear(F_IN, 1)


def mlp(library: Any) -> nn.Module:
    module: nn.Module = library.MLP([F_IN, 5, 4])
    return module


def graph_norm_mlp(library: Any) -> nn.Module:
    module: nn.Module = library.MLP([F_IN, 5, 4], norm="graph_norm")
    return module


def top_mlp(library: Any) -> nn.Module:
    module: nn.Module = library.MLP([4, 5, 3], norm=None)
    return module


ELEMENTWISE = [  # of x in any number of dimensions
    build("SumAggregation"),
    build("MeanAggregation"),
    build("MaxAggregation"),
    build("MinAggregation"),
    build("MulAggregation"),
    build("VarAggregation"),
    build("VarAggregation", semi_grad=True),
    build("StdAggregation"),
    build("StdAggregation", semi_grad=True),
    build("SoftmaxAggregation"),
    build("SoftmaxAggregation", 0.3),
    build("SoftmaxAggregation", -2.0, learn=True),
    build("SoftmaxAggregation", 0.5, semi_grad=True),
    build("PowerMeanAggregation"),
    build("VariancePreservingAggregation"),
    build("AttentionalAggregation", gate),
    build("AttentionalAggregation", gate, linear),
    build("AttentionalAggregation", linear, linear),
    build("DeepSetsAggregation", linear, top_mlp),
    build("DeepSetsAggregation"),
]
POSITIVE = [  # of positive elements
    build("PowerMeanAggregation", 2.0),
    build("PowerMeanAggregation", -1.0),
    build("PowerMeanAggregation", 0.5, clamp_max=None),
    build("PowerMeanAggregation", 1.0, learn=True),
    build("PowerMeanAggregation", 3.0, learn=True),
    build("MulAggregation"),
]
MATRIX = [
    build("SoftmaxAggregation", 0.4, learn=True, channels=F_IN),
    build("AttentionalAggregation", mlp, graph_norm_mlp),
    build("DeepSetsAggregation", graph_norm_mlp),
    build("Set2Set", F_IN, 3),
    build("Set2Set", F_IN, 2, num_layers=2),
    build("MultiAggregation", ["mean", "max", "std"]),
    build("MultiAggregation", ["add"]),
    build("MultiAggregation", ["softmax", "mean"], [{"t": 0.2, "learn": True}, {}]),
    *(
        build("MultiAggregation", ["mean", "max", "std", "softmax"], mode=mode)
        for mode in ("sum", "mean", "max", "min", "logsumexp", "std", "var")
    ),
    build(
        "MultiAggregation", ["mean", "max"], mode="proj", mode_kwargs={"in_channels": F_IN, "out_channels": 4}
    ),
    build(
        "MultiAggregation",
        ["mean", "max", "std"],
        mode="attn",
        mode_kwargs={"in_channels": F_IN, "out_channels": 4, "num_heads": 2},
    ),
    build(
        "MultiAggregation",
        ["mean", build("DeepSetsAggregation", linear)],
        mode="proj",
        mode_kwargs={"in_channels": [F_IN, 4], "out_channels": 4, "bias": False},
    ),
    build("DegreeScalerAggregation", "mean", "identity", HISTOGRAM),
    build("DegreeScalerAggregation", "softmax", "linear", HISTOGRAM, aggr_kwargs={"learn": True}),
    build(
        "DegreeScalerAggregation",
        ["mean", "min", "max", "std"],
        ["identity", "amplification", "attenuation", "linear", "inverse_linear"],
        HISTOGRAM,
    ),
    build("DegreeScalerAggregation", ["sum"], ["amplification", "linear"], HISTOGRAM, train_norm=True),
]
# These take PyG a sorted index.
SORTED = [
    build("SortAggregation", 3),
    build("SortAggregation", 40),
    build("SetTransformerAggregation", F_IN),
    build("SetTransformerAggregation", F_IN, 3, 2, 0, heads=2, concat=False, layer_norm=True),
    build("SetTransformerAggregation", F_IN, 2, 0, 2, heads=3, layer_norm=True),
]
# And these, sets of one size, and for quantiles none that is empty.
QUANTILES = [
    build("MedianAggregation"),
    build("QuantileAggregation", 0.375),
    build("QuantileAggregation", [0.0, 0.25, 0.875, 1.0]),
    *(
        build("QuantileAggregation", 0.625, interpolation=i)
        for i in ("lower", "higher", "nearest", "midpoint")
    ),
]
RECURRENT = [
    build("LSTMAggregation", F_IN, 4),
    build("LSTMAggregation", F_IN, 4, num_layers=2, bidirectional=True),
    build("LSTMAggregation", F_IN, 4, proj_size=3),
    build("GRUAggregation", F_IN, 4),
    build("GRUAggregation", F_IN, 4, bidirectional=True, bias=False),
]
ALL = [*ELEMENTWISE, *POSITIVE, *MATRIX, *SORTED, *QUANTILES, *RECURRENT]


def each(makes: list[Build]) -> Any:
    return pytest.mark.parametrize("make", makes, ids=[m.__name__ for m in makes])


def pair(make: Build) -> tuple[nn.Module, nn.Module]:
    theirs, ours = make(torch_geometric.nn).double(), make(gnnlib.nn).double()
    fixed = ("avg_deg_lin", "avg_deg_log", "p")
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if name not in fixed:
                p.normal_()
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    return theirs, ours


def compare(make: Build, x: Tensor, **arguments: Any) -> None:
    results = []
    theirs, ours = pair(make)
    for aggr in (theirs, ours):
        out = aggr(x, **arguments)
        torch.manual_seed(7)
        loss = (out * torch.randn(out.shape, dtype=out.dtype)).sum()
        wanted = [x, *aggr.parameters()]
        grads = torch.autograd.grad(loss, wanted, allow_unused=True)
        results.append(
            [out, *(torch.zeros_like(p) if g is None else g for p, g in zip(wanted, grads, strict=True))]
        )
    assert_close(results[1], results[0])


def leaf(*shape: int, positive: bool = False) -> Tensor:
    value = (
        torch.rand(shape, dtype=torch.float64) + 0.3 if positive else torch.randn(shape, dtype=torch.float64)
    )
    return value.requires_grad_()


def ptr_of(index: Tensor, num_sets: int) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), index.bincount(minlength=num_sets).cumsum(0)])


@each(ELEMENTWISE + MATRIX)
@pytest.mark.parametrize("dim_size", [None, 9])
def test_index(make: Build, dim_size: int | None) -> None:
    compare(make, leaf(N, F_IN), index=awkward_index(), dim_size=dim_size)


@each(POSITIVE)
def test_positive_elements(make: Build) -> None:
    index = torch.arange(N) % 5  # no empty set, whose power mean PyG takes of its lower bound
    compare(make, leaf(N, F_IN, positive=True), index=index)


@each([m for m in ELEMENTWISE if "Mul" not in m.__name__])
def test_ptr(make: Build) -> None:
    ptr = ptr_of(awkward_index(), 9)
    compare(make, leaf(N, F_IN), ptr=ptr)


@each(ELEMENTWISE)
@pytest.mark.parametrize(
    ("shape", "dim"), [((2, N, F_IN), -2), ((N, 2, F_IN), 0), ((2, 3, N, F_IN), 2)], ids=str
)
def test_dimensions(make: Build, shape: tuple[int, ...], dim: int) -> None:
    compare(make, leaf(*shape), index=awkward_index(), dim=dim)


@each(ELEMENTWISE[:8])
def test_one_number_an_element(make: Build) -> None:
    compare(make, leaf(N), index=awkward_index(), dim=-1)
    compare(make, leaf(3, N), index=awkward_index(), dim=-1)


@each(ELEMENTWISE + [m for m in MATRIX if "graph_norm" not in m.__name__] + QUANTILES)
def test_one_set_without_an_index(make: Build) -> None:
    compare(make, leaf(N, F_IN))


@each(SORTED + RECURRENT)
def test_sets_of_one_size(make: Build) -> None:
    compare(make, leaf(20, F_IN), index=torch.arange(20) // 5)


@each(SORTED)
@pytest.mark.parametrize("most", [None, 4])
def test_sorted_index(make: Build, most: int | None) -> None:
    index = awkward_index().sort().values
    index = index.unique(return_inverse=True)[1]  # no empty sets: PyG's attention over them has no gradient
    compare(make, leaf(N, F_IN), index=index, max_num_elements=most)


@each(QUANTILES)
@pytest.mark.parametrize(
    ("shape", "dim"), [((N, F_IN), -2), ((2, N, F_IN), -2), ((N, 2, 3), 0), ((N,), 0)], ids=str
)
def test_quantiles(make: Build, shape: tuple[int, ...], dim: int) -> None:
    index = torch.arange(N) % 2  # from an even place on, "nearest" rounds as it does in a set by itself
    compare(make, leaf(*shape), index=index[torch.randperm(N)], dim=dim)


@each([m for m in ALL if "SetTransformer" not in m.__name__])
def test_the_same_seed_gives_the_same_initial_weights(make: Build) -> None:
    torch.manual_seed(3)
    theirs = make(torch_geometric.nn).state_dict()
    torch.manual_seed(3)
    ours = make(gnnlib.nn).state_dict()
    assert list(ours) == list(theirs)
    assert_close(dict(ours), dict(theirs))


@pytest.mark.parametrize("mode", ["cat", "sum", "proj"])
def test_width_of_several(mode: str) -> None:
    kwargs = {"in_channels": 6, "out_channels": 4} if mode == "proj" else {}
    makes = [
        library.aggr.MultiAggregation(["mean", "max"], mode=mode, mode_kwargs=kwargs)
        for library in (torch_geometric.nn, gnnlib.nn)
    ]
    assert makes[0].get_out_channels(6) == makes[1].get_out_channels(6)


@pytest.mark.parametrize(
    "name", ["add", "sum", "Sum", "SumAggregation", "power_mean", "power-mean", "Set2Set", "lstm"]
)
def test_names(name: str) -> None:
    from torch_geometric.nn.resolver import aggregation_resolver as theirs

    arguments = {"Set2Set": (4, 2), "lstm": (4, 4)}.get(name, ())
    ours = gnnlib.nn.aggr.aggregation_resolver(name, *arguments)
    assert type(ours).__name__ == type(theirs(name, *arguments)).__name__
    assert type(ours).__module__.startswith("gnnlib.")


def test_names_that_pyg_alone_has() -> None:
    aggr = gnnlib.nn.aggr.aggregation_resolver("mlp", 4, 3, 5, num_layers=1)
    assert type(aggr) is torch_geometric.nn.MLPAggregation
    with pytest.raises(ValueError, match=r"aggregation 'mode' is unknown; choose one of add, .*softmax"):
        gnnlib.nn.aggr.aggregation_resolver("mode")
    assert gnnlib.nn.aggr.aggregation_resolver(None) is None
    assert gnnlib.nn.aggr.aggregation_resolver(aggr) is aggr
    several = gnnlib.nn.aggr.aggregation_resolver(["mean", "add"], mode="sum")
    assert several.mode == "sum"


def test_a_class_of_ones_own_moves_over() -> None:
    def ranged(base: Any) -> nn.Module:
        class Range(base):  # type: ignore[misc]
            def forward(self, x, index=None, ptr=None, dim_size=None, dim=-2):  # type: ignore[no-untyped-def]
                dense, mask = self.to_dense_batch(x, index, ptr, dim_size, dim, fill_value=-9.0)
                high = self.reduce(x, index, ptr, dim_size, dim, reduce="max")
                return (
                    high
                    - self.reduce(x, index, ptr, dim_size, dim, "min")
                    + dense.sum(1) * mask.sum(1)[:, None]
                )

        module: nn.Module = Range()
        return module

    x, index = torch.randn(N, F_IN), awkward_index().sort().values
    theirs = ranged(torch_geometric.nn.Aggregation)
    ours = ranged(gnnlib.nn.Aggregation)
    assert_close(ours(x, index), theirs(x, index))
    both = gnnlib.nn.MultiAggregation(["mean", ours, theirs])(x, index)
    assert_close(both[:, F_IN : 2 * F_IN], both[:, 2 * F_IN :])
