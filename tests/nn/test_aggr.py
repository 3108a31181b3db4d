"""Aggregations one by one: limits, values worked by hand, and the cases where PyG's are wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch_geometric.nn.aggr as theirs
from torch import Tensor, nn
from torch.autograd import gradgradcheck

from gnnlib.nn import aggr as ours
from gnnlib.nn.aggr.reduce import reduce_sets
from gnnlib.sparse.sets import as_sets
from tests.nn.aggr_cases import awkward_index
from tests.tolerances import assert_close

N, F_IN = 23, 6


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def twins(name: str, *arguments: Any, **options: Any) -> tuple[nn.Module, nn.Module]:
    """PyG's aggregation and ours with its weights, in float64."""
    a = getattr(theirs, name)(*arguments, **options).double()
    b = getattr(ours, name)(*arguments, **options).double()
    b.load_state_dict(a.state_dict())
    return a, b


def alone(aggr: nn.Module, x: Tensor, index: Tensor, i: int) -> Tensor:
    out: Tensor = aggr(x[index == i], torch.zeros_like(index[index == i]))
    return out[0]


# -- plain reductions ---------------------------------------------------------------------------------


def test_an_index_is_sorted_once() -> None:
    x, index = torch.randn(N, 2), awkward_index()
    sets = as_sets(x, index)
    assert as_sets(torch.randn(N, 3), index) is sets
    assert as_sets(x, index, num_sets=12) is not sets
    index[0] = 1
    assert as_sets(x, index) is not sets
    assert as_sets(x, index.sort().values).in_order
    ptr = torch.tensor([0, 3, N])
    assert as_sets(x, None, ptr) is as_sets(x, None, ptr)
    ptr[1] = 5
    assert as_sets(x, None, ptr).count.tolist() == [5, N - 5]


def test_of_equal_elements_the_first_gets_the_gradient() -> None:
    x = torch.tensor([[2.0], [1.0], [2.0], [2.0]], requires_grad=True)
    index = torch.tensor([0, 1, 0, 0])
    for aggr, winner in ((ours.MaxAggregation(), 0), (ours.MinAggregation(), 0)):
        (grad,) = torch.autograd.grad(aggr(x, index)[0], x)
        assert grad[winner] == 1
        assert grad.sum() == 1
    (grad,) = torch.autograd.grad(theirs.MaxAggregation()(x, index)[0], x)
    assert_close(grad[0], torch.tensor([1 / 3]))  # PyG on a CPU: an equal share for each


def test_variance_does_not_cancel() -> None:
    x = torch.tensor([[1000.0], [1000.001]])
    exact = x.double().var(dim=0, unbiased=False)[0]
    assert theirs.VarAggregation()(x)[0, 0] < 0.2 * exact
    assert_close(ours.VarAggregation()(x)[0, 0].double(), exact, torch.float32)
    y = torch.randn(50, 3)
    assert ours.VarAggregation()(y + 1e4).sub(y.double().var(0, unbiased=False)).abs().max() < 1e-3


def test_deviation_of_equal_elements_is_zero_with_a_zero_gradient() -> None:
    x = torch.full((4, 2), 3.0, requires_grad=True)
    out = ours.StdAggregation()(x)
    out.sum().backward()
    assert (out == 0).all()
    assert x.grad is not None
    assert (x.grad == 0).all()


def test_product_and_its_gradient_at_zeros() -> None:
    x = torch.tensor([[2.0, 0.0, 0.0], [3.0, 5.0, 0.0], [4.0, 7.0, 2.0]], requires_grad=True)
    out = ours.MulAggregation()(x)
    assert_close(out, torch.tensor([[24.0, 0.0, 0.0]]))
    out.sum().backward()
    assert_close(x.grad, torch.tensor([[12.0, 35.0, 0.0], [8.0, 0.0, 0.0], [6.0, 0.0, 0.0]]))


def test_nan_stays_in_its_set() -> None:
    x, index = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    x[1, 0] = torch.nan
    for name in ("sum", "mean", "max", "min", "mul", "var", "std", "softmax", "variance_preserving"):
        out = ours.aggregation_resolver(name)(x, index)
        assert out.isnan().tolist() == [[False, False], [True, False], [False, False]], name


@pytest.mark.parametrize("name", ["mean", "max", "min", "var", "std", "softmax", "power_mean", "quantile"])
def test_each_element_twice_changes_nothing(name: str) -> None:
    x, index = randn(N, F_IN), awkward_index()
    aggr = ours.aggregation_resolver(name, *([1.0] if name == "quantile" else []))
    assert_close(aggr(torch.cat([x, x]), torch.cat([index, index])), aggr(x, index))


def test_second_derivatives() -> None:
    x, index = randn(7, 2).requires_grad_(), torch.tensor([2, 0, 0, 2, 0, 1, 0])
    for aggr in (
        ours.MultiAggregation(["sum", "mean", "max", "var", "std"]),
        ours.SoftmaxAggregation(0.3),
        ours.QuantileAggregation(0.3),
        ours.AttentionalAggregation(nn.Linear(2, 1).double()),
    ):
        assert gradgradcheck(lambda v, aggr=aggr: aggr(v, index, dim_size=4), (x,))


def test_variance_preserving() -> None:
    aggr = ours.VariancePreservingAggregation()
    assert_close(aggr(torch.ones(4, 1)), torch.tensor([[2.0]]))
    x = torch.randn(30000, 8, generator=torch.Generator().manual_seed(0))
    assert abs(float(aggr(x, torch.arange(30000) // 30).var()) - 1) < 0.05


def test_several_in_one_place() -> None:
    x, index = randn(N, 3), awkward_index()
    names = ["max", "var", "sum", "min", "mean"]
    for one, name in zip(reduce_sets(as_sets(x, index), x, names), names, strict=True):
        assert_close(one, ours.aggregation_resolver(name)(x, index))
    several = ours.MultiAggregation(["std", "max", "median", "var", ours.VarAggregation(semi_grad=True)])
    separate = [a(x, index) for a in several.aggrs]
    assert_close(several(x, index), torch.cat(separate, dim=-1))


def test_a_watched_part_is_called() -> None:
    several, calls = ours.MultiAggregation(["mean", "max"]), []
    several.aggrs[1].register_forward_hook(lambda module, inputs, out: calls.append(out.shape))
    assert several(torch.randn(N, 2), awkward_index()).shape == (8, 4)
    assert calls == [(8, 2)]


def test_what_a_subclass_changes_counts() -> None:
    class Twice(ours.MaxAggregation):
        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            return 2 * super().forward(*args, **kwargs)

    class Thrice(ours.MaxAggregation):
        def aggregate(self, x: Tensor, sets: Any) -> Tensor:
            return 3 * super().aggregate(x, sets)

    x, index = torch.randn(N, 2), awkward_index()
    top = ours.MaxAggregation()(x, index)
    several = ours.MultiAggregation(["max", Twice(), Thrice()])
    assert_close(several(x, index), torch.cat([top, 2 * top, 3 * top], dim=-1))


# -- softmax, power mean, attention -------------------------------------------------------------------


def test_softmax_lies_between_smallest_and_largest() -> None:
    x, index = randn(N, F_IN), awkward_index()
    for t, name in ((0.0, "mean"), (1e4, "max"), (-1e4, "min")):
        assert_close(
            ours.SoftmaxAggregation(t)(x, index), ours.aggregation_resolver(name)(x, index), torch.float32
        )


def test_softmax_options_that_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="semi_grad=True cuts the gradient"):
        ours.SoftmaxAggregation(learn=True, semi_grad=True)
    for cls in (ours.SoftmaxAggregation, ours.PowerMeanAggregation):
        with pytest.raises(ValueError, match="channels=3 came without learn=True"):
            cls(channels=3)
        with pytest.raises(ValueError, match="x has 6 features but channels=3"):
            cls(learn=True, channels=3)(torch.randn(N, F_IN))


def test_scores_of_minus_infinity_leave_elements_out() -> None:
    gate = nn.Linear(2, 1, bias=False)
    x = torch.tensor([[1.0, 0.0], [5.0, 1.0], [2.0, 1.0]])
    with torch.no_grad():
        gate.weight.copy_(torch.tensor([[0.0, 1.0]]))

    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score: Tensor = gate(x)
            return torch.where(score > 0, -torch.inf, score)

    index = torch.tensor([0, 0, 1])
    out = ours.AttentionalAggregation(Masked())(x, index)
    assert_close(out, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert theirs.AttentionalAggregation(Masked())(x, index)[1].isnan().all()


def test_attention_of_one_element_is_that_element_and_without_scores_the_mean() -> None:
    x, index = randn(N, F_IN), awkward_index()
    gate = nn.Linear(F_IN, F_IN).double()  # a score for each feature
    aggr = ours.AttentionalAggregation(gate)
    assert_close(aggr(x, torch.arange(N)), x)
    nn.init.zeros_(gate.weight)
    assert_close(aggr(x, index), ours.MeanAggregation()(x, index))


def test_power_mean_keeps_its_equation_beyond_the_clamp() -> None:
    x = torch.tensor([[50.0], [50.0]])
    assert_close(ours.PowerMeanAggregation(2.0)(x), torch.tensor([[50.0]]))
    assert_close(theirs.PowerMeanAggregation(2.0)(x), torch.tensor([[10.0]]))  # clamps 50 ** 2 to 100
    assert_close(ours.PowerMeanAggregation(90.0)(torch.tensor([[99.0], [99.0]])), torch.tensor([[99.0]]))
    index = torch.tensor([1, 1])
    assert ours.PowerMeanAggregation(2.0)(x, index)[0] == 0
    assert_close(theirs.PowerMeanAggregation(2.0)(x, index)[0], torch.tensor([0.01]))  # of the empty set


@pytest.mark.parametrize("learn", [False, True])
def test_power_mean_lies_between_smallest_and_largest(learn: bool) -> None:
    x, index = torch.rand(N, F_IN, dtype=torch.float64) + 0.2, awkward_index()
    mean = ours.MeanAggregation()
    for p, expected in (
        (0.0, mean(x.log(), index).exp()),
        (1.0, mean(x, index)),
        (-1.0, 1 / mean(1 / x, index)),
        (1e5, ours.MaxAggregation()(x, index)),
        (-1e5, ours.MinAggregation()(x, index)),
    ):
        out = ours.PowerMeanAggregation(p, learn)(x, index, dim_size=9)
        filled = index.bincount(minlength=9) > 0
        assert_close(out[filled], expected[filled[:8]], torch.float32)
        assert (out[~filled] == 0).all()


def test_power_mean_near_zero_and_its_gradient() -> None:
    x = torch.rand(9, 1, dtype=torch.float64) + 0.2
    aggr = ours.PowerMeanAggregation(learn=True).double()

    def naive(p: Tensor) -> Tensor:
        return (x**p).mean().pow(1 / p)

    for p in (0.0101, 0.0099, -0.005, 1e-4):
        nn.init.constant_(aggr.p, p)
        (grad,) = torch.autograd.grad(aggr(x).sum(), aggr.p)
        q = torch.tensor([p], dtype=torch.float64, requires_grad=True)
        value = naive(q)
        assert_close(aggr(x)[0], value, torch.float32)
        assert_close(grad, torch.autograd.grad(value.sum(), q)[0], torch.float32)


@pytest.mark.parametrize("p", [1e-2, 9.9e-3, 1e-3, 1e-6, 1e-12, -1e-6])
def test_power_mean_of_a_small_fixed_power(p: float) -> None:
    """A power of nearly 1 has lost what it is about, unless the mean is of what is left of 1."""
    x = torch.rand(30, 4, generator=torch.Generator().manual_seed(1)) * 50 + 1e-3
    log = x.double().log()
    away = (p * (log - log.mean(0))).expm1().mean(0).log1p() / p
    assert_close(ours.PowerMeanAggregation(p)(x)[0], (log.mean(0) + away).exp(), torch.float32)


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("p", [3.0, 2.0, 0.5, -1.0])
def test_power_mean_of_zeros_has_a_gradient(p: float, learn: bool) -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 3.0]], requires_grad=True)
    aggr = ours.PowerMeanAggregation(p, learn, clamp_min=None, clamp_max=None)
    out = aggr(x, torch.tensor([0, 0, 2]))
    if p < 0:
        assert_close(out.tolist(), [[0.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    else:
        assert_close(out, torch.tensor([[0.0, 2 * 0.5 ** (1 / p)], [0.0, 0.0], [0.0, 3.0]]))
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad[:, 0] == 0).all()
    assert_close(x.grad[2, 1], torch.tensor(1.0))
    assert all(q.grad is not None and q.grad.isfinite().all() for q in aggr.parameters())


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("low", [None, 0.0])
def test_a_geometric_mean_needs_elements_above_zero(learn: bool, low: float | None) -> None:
    with pytest.raises(ValueError, match=f"p=0 came with clamp_min={low}; .* pass clamp_min above 0"):
        ours.PowerMeanAggregation(0.0, learn, clamp_min=low)


def test_power_mean_without_a_lower_bound_is_of_signed_elements() -> None:
    x = torch.tensor([[-3.0], [4.0]])
    aggr = ours.PowerMeanAggregation(2.0, clamp_min=None, clamp_max=None)
    assert_close(aggr(x, torch.tensor([0, 0]), dim_size=2), torch.tensor([[math.sqrt(12.5)], [0.0]]))


# -- quantiles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "nearest", "midpoint"])
def test_quantiles_are_those_of_torch(interpolation: str) -> None:
    x, index, q = randn(N, F_IN), awkward_index(), [0.0, 0.1, 0.29, 0.5, 0.77, 1.0]
    out = ours.QuantileAggregation(q, interpolation)(x, index, dim_size=9)
    for i in range(9):
        chosen = x[index == i]
        expected = (
            torch.quantile(chosen, torch.tensor(q).double(), dim=0, interpolation=interpolation)
            if len(chosen)
            else torch.zeros(6, F_IN)
        )
        assert_close(out[i].reshape(6, F_IN), expected.double(), torch.float32)


def test_quantiles_do_not_depend_on_the_place_in_the_batch() -> None:
    x = torch.tensor([0.0, 1.0])[:, None]
    later = torch.cat([torch.zeros(1, 1), x])
    index = torch.tensor([0, 1, 1])
    for q, interpolation in ((0.5, "nearest"), (0.3, "linear")):
        mine = ours.QuantileAggregation(q, interpolation)
        assert torch.equal(mine(later, index)[1], mine(x)[0])
    nearest = theirs.QuantileAggregation(0.5, "nearest")
    assert nearest(x)[0] == 0
    assert nearest(later, index)[1] == 1  # half way: PyG rounds to the even place in the batch
    far = 2**18
    many = torch.cat([torch.zeros(far, 1), torch.tensor([0.0, 1.0, 2.0, 3.0])[:, None]])
    of_many = (torch.arange(far + 4) >= far).long()
    assert_close(ours.QuantileAggregation(0.3)(many, of_many)[1], torch.tensor([0.9]))
    assert abs(float(theirs.QuantileAggregation(0.3)(many, of_many)[1]) - 0.9) > 0.005


def test_a_first_set_without_elements_has_a_quantile() -> None:
    x, index = torch.randn(4, 2), torch.tensor([1, 1, 2, 2])
    assert_close(ours.MedianAggregation(fill_value=7.0)(x, index)[0], torch.tensor([7.0, 7.0]))
    with pytest.raises(IndexError):
        theirs.MedianAggregation()(x, index)


def test_a_place_that_is_whole_up_to_rounding_is_whole() -> None:
    x = torch.arange(101.0)[:, None]
    for interpolation in ("lower", "higher", "nearest"):
        assert ours.QuantileAggregation(0.29, interpolation)(x) == 29  # 0.29 * 100 = 28.999999999999996


def test_quantile_arguments() -> None:
    for q in (1.2, -0.1, [], [0.5, 2.0]):
        with pytest.raises(ValueError, match="QuantileAggregation: q="):
            ours.QuantileAggregation(q)
    with pytest.raises(ValueError, match="interpolation='cubic' is unknown"):
        ours.QuantileAggregation(0.5, "cubic")  # type: ignore[arg-type]


# -- sequences and padded sets ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LSTMAggregation", "GRUAggregation"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_sequence_ends_with_its_set(name: str, bidirectional: bool) -> None:
    pyg, mine = twins(name, F_IN, 4, bidirectional=bidirectional)
    x, index = randn(N, F_IN), awkward_index().sort().values
    x.requires_grad_()
    together, padded = mine(x, index), pyg(x, index)
    for i in (1, 2, 3, 5, 6, 7):
        assert_close(together[i], alone(pyg, x, index, i))  # PyG too, when the set is alone
    assert (padded[7] - alone(pyg, x, index, 7)).abs().max() > 1e-3  # one element, read after padding
    assert (together[4] == 0).all()
    assert not torch.equal(mine(x.flip(0), index.flip(0)), together)  # the order matters
    with pytest.raises(ValueError, match=f"{name}: x has 5 features but in_channels=6"):
        mine(x[:, :5], index)


def test_a_sequence_takes_an_index_in_any_order() -> None:
    pyg, mine = twins("LSTMAggregation", F_IN, 4)
    x, index = randn(N, F_IN), awkward_index()
    order = index.argsort(stable=True)
    assert_close(mine(x, index), mine(x[order], index[order]))
    with pytest.raises(ValueError, match="not sorted"):
        pyg(x, index)


def test_an_empty_set_leaves_the_gradients_of_a_set_transformer_finite() -> None:
    pyg, mine = twins("SetTransformerAggregation", F_IN, 2, heads=2)
    x, index = randn(5, F_IN), torch.tensor([0, 0, 2, 2, 2])
    out = mine(x, index)
    assert_close(out[[0, 2]], pyg(x, index)[[0, 2]])
    assert (out[1] == 0).all()
    (without,) = torch.autograd.grad(mine(x, index.clamp(max=1)).sum(), mine.pma.seed)
    assert_close(torch.autograd.grad(out.sum(), mine.pma.seed)[0], without)
    out = mine(x, index)
    out.sum().backward()
    assert all(p.grad.isfinite().all() for p in mine.parameters())


def test_sorting_keeps_values_of_any_size() -> None:
    x = torch.tensor([[1.0, -(2.0**25)], [2.0, 3.0]])
    expected = torch.tensor([[2.0, 3.0, 1.0, -(2.0**25), 0.0, 0.0]])
    assert_close(ours.SortAggregation(3)(x), expected)
    assert theirs.SortAggregation(3)(x, torch.tensor([0, 0]))[0, 3] == 0  # taken for padding


def test_sorting_by_hand() -> None:
    x = torch.tensor([[1.0, 5.0], [2.0, 7.0], [3.0, 5.0], [4.0, 6.0]])
    out = ours.SortAggregation(2)(x, torch.tensor([2, 0, 2, 2]))
    assert_close(out, torch.tensor([[2.0, 7.0, 0.0, 0.0], [0.0] * 4, [4.0, 6.0, 1.0, 5.0]]))


def test_dense_batch() -> None:
    x, index = torch.arange(8.0).reshape(4, 2), torch.tensor([2, 0, 2, 2])
    dense, mask = ours.SumAggregation().to_dense_batch(x, index, fill_value=-1.0)
    assert mask.tolist() == [[True, False, False], [False] * 3, [True] * 3]
    assert_close(dense[2], x[[0, 2, 3]])
    assert_close(dense[0], torch.tensor([[2.0, 3.0], [-1.0, -1.0], [-1.0, -1.0]]))
    cut, mask = ours.SumAggregation().to_dense_batch(x, index, max_num_elements=2)
    assert cut.shape == (3, 2, 2)
    assert_close(cut[2], x[[0, 2]])


# -- combinations -------------------------------------------------------------------------------------


def test_one_scaler_of_several_aggregations() -> None:
    deg, x, index = torch.tensor([0, 2, 2]), torch.randn(N, 2), awkward_index()
    aggr = ours.DegreeScalerAggregation(["mean", "max"], "identity", deg)
    assert_close(aggr(x, index), ours.MultiAggregation(["mean", "max"])(x, index))
    with pytest.raises(ValueError, match="Unknown scaler 'i'"):
        theirs.DegreeScalerAggregation(["mean", "max"], "identity", deg)(x, index)
    amplified = ours.DegreeScalerAggregation("sum", ["amplification", "inverse_linear"], deg)(x, index)
    delta = (math.log(2) + math.log(3)) / 2
    total, n = ours.SumAggregation()(x, index), index.bincount()[:, None]
    assert_close(amplified, torch.cat([total * (n + 1).log() / delta, total * 1.5 / n.clamp(min=1)], dim=-1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mean", "log", torch.ones(3)), "scaler='log'; choose one or more of identity"),
        (("mean", [], torch.ones(3)), "scaler="),
        (("mean", "identity", torch.zeros(3)), "deg counts no set"),
        ((nn.Identity(), "identity", torch.ones(3)), "aggr is Identity"),
        (("mode", "identity", torch.ones(3)), "aggregation 'mode' is unknown"),
    ],
)
def test_wrong_scalers(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ours.DegreeScalerAggregation(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mean",), "aggrs='mean'; pass a list"),
        (([],), r"aggrs=\[\]; pass a list"),
        ((["mean", "max"], [{}]), "aggrs_kwargs has 1 entries but there are 2"),
        ((["mean", "max"], None, "median"), "mode='median' is unknown; choose one of cat"),
        (
            (["mean"], None, "proj", {"in_channels": 2, "out_channels": 2}),
            "mode='proj' came with 1 aggregations",
        ),
        (
            (["mean", "max"], None, "attn", {"in_channels": 2}),
            "needs two at least, in_channels and out_channels",
        ),
    ],
)
def test_wrong_combinations(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours.MultiAggregation(*arguments)


def test_deep_sets_normalise_each_set_by_itself() -> None:
    from gnnlib.nn import MLP

    aggr = ours.DeepSetsAggregation(MLP([F_IN, 5, 4], norm="graph_norm"), MLP([4, 3], norm=None)).double()
    x, index = randn(N, F_IN), awkward_index()
    out = aggr(x, index)
    assert_close(out[6], alone(aggr, x, index, 6))
    assert {k.split(".")[0] for k in aggr.state_dict()} == {"local_mlp", "global_mlp"}


def test_a_class_of_ones_own() -> None:
    class Energy(ours.Aggregation):
        def aggregate(self, x: Tensor, sets: Any) -> Tensor:
            return reduce_sets(sets, x.square(), ["sum"])[0]

    x, index = torch.randn(N, 2), awkward_index()
    assert_close(Energy()(x, index, dim_size=9)[:8], ours.SumAggregation()(x * x, index))
    with pytest.raises(NotImplementedError, match=r"Aggregation: override aggregate\(x, sets\)"):
        ours.Aggregation()(x, index)
    with pytest.raises(ValueError, match="reduce='median' is unknown; choose sum, mean"):
        Energy().reduce(x, index, reduce="median")
    assert_close(Energy().reduce(x, index, reduce="mul"), ours.MulAggregation()(x, index))
