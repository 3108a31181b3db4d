"""One line an aggregation: how the contract suite builds it. A public one without a line fails the suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr import (
    AttentionalAggregation,
    AttSetsAggregation,
    DeepSetsAggregation,
    DegreeScalerAggregation,
    GeMAggregation,
    GGeMAggregation,
    GraphMultisetTransformer,
    GRUAggregation,
    LCMAggregation,
    LSTMAggregation,
    MaxAggregation,
    MeanAggregation,
    MedianAggregation,
    MinAggregation,
    MulAggregation,
    MultiAggregation,
    PowerMeanAggregation,
    QuantileAggregation,
    Set2Set,
    SetTransformerAggregation,
    SoftmaxAggregation,
    SortAggregation,
    StdAggregation,
    SumAggregation,
    VarAggregation,
    VariancePreservingAggregation,
)

F_IN = 6


@dataclass(frozen=True)
class Case:
    """An aggregation of elements ``[N, F_IN]`` into ``[R, out]``."""

    name: str
    build: Callable[[], nn.Module]
    out: int = F_IN
    ordered: bool = False  # depends on the order of the elements
    vectors: bool = False  # takes x of two dimensions alone
    fill: float | None = 0.0  # of an empty set; None for a learned value
    compiles: bool = True


def _mlp(out: int = F_IN) -> nn.Module:
    return nn.Sequential(nn.Linear(F_IN, 4), nn.Tanh(), nn.Linear(4, out))


HISTOGRAM = torch.tensor([2, 4, 1, 3])

CASES = [
    Case("AttentionalAggregation", lambda: AttentionalAggregation(_mlp(1), _mlp(5)), out=5),
    Case("AttSetsAggregation", lambda: AttSetsAggregation(F_IN)),
    Case("DeepSetsAggregation", lambda: DeepSetsAggregation(_mlp(), _mlp(3)), out=3, fill=None),
    Case(
        "DegreeScalerAggregation",
        lambda: DegreeScalerAggregation(
            ["mean", "std"],
            ["identity", "amplification", "attenuation", "linear"],
            HISTOGRAM,
            train_norm=True,
        ),
        out=8 * F_IN,
    ),
    Case("GeMAggregation", lambda: GeMAggregation(2.0, eps=1e-2, signed=True)),
    Case("GGeMAggregation", lambda: GGeMAggregation(F_IN, 3, eps=1e-2)),
    Case(
        "GraphMultisetTransformer",
        lambda: GraphMultisetTransformer(F_IN, 3, heads=2, layer_norm=True),
        vectors=True,
        compiles=False,
    ),
    Case("GRUAggregation", lambda: GRUAggregation(F_IN, 5), 5, ordered=True, vectors=True, compiles=False),
    Case("LCMAggregation", lambda: LCMAggregation(F_IN, 5), 5, ordered=True, vectors=True, compiles=False),
    Case("LSTMAggregation", lambda: LSTMAggregation(F_IN, 5), 5, ordered=True, vectors=True, compiles=False),
    Case("MaxAggregation", MaxAggregation),
    Case("MeanAggregation", MeanAggregation),
    Case("MedianAggregation", MedianAggregation),
    Case("MinAggregation", MinAggregation),
    Case("MulAggregation", MulAggregation, fill=1.0),
    Case(
        "MultiAggregation",
        lambda: MultiAggregation(
            ["sum", "std", "median", "softmax"],
            mode="proj",
            mode_kwargs={"in_channels": F_IN, "out_channels": 5},
        ),
        out=5,
        fill=None,
    ),
    Case("PowerMeanAggregation", lambda: PowerMeanAggregation(2.0, learn=True, channels=F_IN)),
    Case(
        "QuantileAggregation", lambda: QuantileAggregation([0.2, 0.5], fill_value=-3.0), 2 * F_IN, fill=-3.0
    ),
    Case("Set2Set", lambda: Set2Set(F_IN, 3), out=2 * F_IN, vectors=True, fill=None, compiles=False),
    Case(
        "SetTransformerAggregation",
        lambda: SetTransformerAggregation(F_IN, 2, heads=2),
        2 * F_IN,
        vectors=True,
    ),
    Case("SoftmaxAggregation", lambda: SoftmaxAggregation(0.7, learn=True)),
    Case("SortAggregation", lambda: SortAggregation(3), out=3 * F_IN, vectors=True),
    Case("StdAggregation", StdAggregation),
    Case("SumAggregation", SumAggregation),
    Case("VarAggregation", VarAggregation),
    Case("VariancePreservingAggregation", VariancePreservingAggregation),
]


def elements(n: int = 23, dtype: torch.dtype = torch.float32) -> Tensor:
    """Elements of either sign, none of them equal."""
    x = torch.randn(n, F_IN, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x.to(dtype)


def awkward_index(n: int = 23) -> Tensor:
    """Sets 0 to 8 in no order; sets 0, 4 and 8 are empty, one has a single element, one has most of them."""
    generator = torch.Generator().manual_seed(2)
    index = torch.tensor([1, 2, 3, 5, 6])[torch.randint(0, 5, (n,), generator=generator)]
    index[n // 2 :] = 6
    index[torch.arange(min(n, 1))] = 7
    return index


NUM_SETS = 9
