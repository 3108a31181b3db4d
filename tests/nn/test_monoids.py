"""LCM, GeM, AttSets: against explicit recursions and the limits that the papers name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnnlib.nn import SAGEConv
from gnnlib.nn.aggr import (
    AttentionalAggregation,
    AttSetsAggregation,
    FASetPhases,
    GeMAggregation,
    GGeMAggregation,
    LCMAggregation,
    PowerMeanAggregation,
    commutativity_regulariser,
    monoid_regulariser,
)
from tests.nn.cases import awkward_graph
from tests.tolerances import assert_close

WIDTH = 4


def tree(aggr: LCMAggregation, rows: list[Tensor]) -> Tensor:
    """The recursion over one set."""
    if len(rows) == 1:
        return rows[0]
    pairs = [aggr.combine(rows[i], rows[i + 1]) for i in range(0, len(rows) - 1, 2)]
    return tree(aggr, pairs + rows[len(rows) - len(rows) % 2 :])


def elements(n: int) -> Tensor:
    return torch.randn(n, WIDTH, dtype=torch.float64)


def exact(aggr: GGeMAggregation) -> GGeMAggregation:
    """The powers set in double precision."""
    aggr.double().reset_parameters()
    return aggr


@pytest.mark.parametrize("d", range(1, 18))
def test_lcm_is_the_explicit_recursion(d: int) -> None:
    aggr = LCMAggregation(WIDTH, WIDTH).double()
    x = elements(d)
    other = elements(5)
    index = torch.tensor([1] * d + [0] * 5)
    expected = tree(aggr, [r[None] for r in aggr.projected(x)])
    assert_close(aggr(torch.cat([x, other]), index)[1:], expected)
    assert_close(aggr(torch.cat([other, x]), index.flip(0))[1:], expected)


def test_lcm_of_a_monoid_is_its_reduction() -> None:
    x, index = elements(23), torch.randint(0, 5, (23,))
    for op, name in ((torch.add, "sum"), (torch.maximum, "amax")):
        aggr = LCMAggregation(WIDTH, WIDTH, project=False, op=op)
        expected = torch.zeros(6, WIDTH, dtype=torch.float64).scatter_reduce(
            0, index[:, None].expand_as(x), x, name, include_self=name == "sum"
        )
        assert_close(aggr(x, index, dim_size=6), expected)
        assert monoid_regulariser(aggr.combine, x)["associativity"] < 1e-20


def test_lcm_commutes_exactly_and_its_residual_measures_the_rest() -> None:
    aggr = LCMAggregation(WIDTH, WIDTH, project=False, empty="learned").double()
    a, b = elements(6), elements(6)
    assert torch.equal(aggr.combine(a, b), aggr.combine(b, a))
    residual = monoid_regulariser(aggr.combine, elements(40), aggr.neutral)
    assert residual["commutativity"] == 0
    assert residual["associativity"] > 1e-4
    assert residual["identity"] > 0
    sum(residual.values()).backward()  # type: ignore[union-attr]
    assert aggr.neutral is not None
    assert aggr.neutral.grad is not None
    generator = torch.Generator().manual_seed(1)
    first = monoid_regulariser(aggr.combine, a, generator=generator)
    again = monoid_regulariser(aggr.combine, a, generator=generator.manual_seed(1))
    assert torch.equal(first["associativity"], again["associativity"])
    assert monoid_regulariser(aggr.combine, a[:0])["associativity"] == 0


def test_lcm_shuffles_in_training_only_and_learns_what_is_empty() -> None:
    aggr = LCMAggregation(WIDTH, WIDTH, shuffle=True, empty="learned").double()
    x, index = elements(12), torch.arange(12) // 6
    assert not torch.equal(aggr(x, index), aggr(x, index))
    aggr.eval()
    assert torch.equal(aggr(x, index), aggr(x, index))
    with torch.no_grad():
        aggr.neutral.fill_(2.0)  # type: ignore[union-attr]
    assert (aggr(x, index, dim_size=3)[2] == 2).all()
    with pytest.raises(ValueError, match="differ, which needs project=True"):
        LCMAggregation(3, 4, project=False)
    with pytest.raises(ValueError, match="empty='none' is unknown"):
        LCMAggregation(3, 3, empty="none")  # type: ignore[arg-type]


def test_commutativity_of_a_recurrent_cell() -> None:
    cell = torch.nn.GRUCell(WIDTH, WIDTH).double()
    x, state = elements(9), elements(9)
    assert commutativity_regulariser(cell, x, state) > 0
    assert commutativity_regulariser(lambda a, s: a + s, x, state) < 1e-25


def test_generalised_means() -> None:
    x, index = elements(20).abs() + 0.1, torch.arange(20) // 5
    mean = x.reshape(4, 5, WIDTH).mean(1)
    assert_close(exact(GeMAggregation(1.0))(x, index), mean)
    top = exact(GGeMAggregation(WIDTH, 2, p=500.0))(x, index)
    assert (top - x.reshape(4, 5, WIDTH).amax(1)).abs().max() < 2e-2
    aggr = exact(GGeMAggregation(WIDTH, 2))
    with torch.no_grad():
        aggr.rho.copy_(torch.tensor([0.3, 4.0]))
    for g in range(2):
        power = PowerMeanAggregation(float(aggr.p[g]), clamp_min=1e-6, clamp_max=None)
        assert_close(aggr(x, index)[:, 2 * g : 2 * g + 2], power(x[:, 2 * g : 2 * g + 2], index))
    assert_close(aggr(3 * x, index), 3 * aggr(x, index))
    assert_close(exact(GGeMAggregation(WIDTH, 4, p=3.0))(x, index), exact(GeMAggregation(3.0))(x, index))


def test_signed_means_keep_what_clamping_loses() -> None:
    x = elements(20).requires_grad_()
    plain, signed = exact(GeMAggregation(3.0)), exact(GeMAggregation(3.0, signed=True))
    cubes = (x**3).mean(0)
    assert_close(signed(x)[0], cubes.sign() * cubes.abs() ** (1 / 3))
    assert_close(signed(-x), -signed(x))
    lost = torch.autograd.grad(plain(x).sum(), x)[0]
    kept = torch.autograd.grad(signed(x).sum(), x)[0]
    assert (lost[x < 0] == 0).all()
    assert (kept != 0).all()
    with pytest.raises(ValueError, match="channels=6 is not divisible by groups=4"):
        GGeMAggregation(6, 4)
    with pytest.raises(ValueError, match="GeMAggregation: p=0"):
        GeMAggregation(0.0)


def test_attsets_is_attention_for_each_feature_and_trains_in_two_phases() -> None:
    aggr = AttSetsAggregation(WIDTH).double()
    x, index = elements(20), torch.arange(20) // 5
    same = AttentionalAggregation(torch.nn.Linear(WIDTH, WIDTH, bias=False)).double()
    same.gate_nn.load_state_dict(aggr.lin.state_dict())  # type: ignore[union-attr]
    out = aggr(x, index)
    assert_close(out, same(x, index))
    sets = x.reshape(4, 5, WIDTH)
    assert ((out >= sets.amin(1)) & (out <= sets.amax(1))).all()
    assert_close(aggr(x, torch.arange(20)), x)
    base = torch.nn.Linear(WIDTH, WIDTH).double()
    phases = FASetPhases(base.parameters(), aggr.parameters())
    with phases.base():
        aggr(base(x), torch.arange(20)).sum().backward()
    assert aggr.lin.weight.grad is None
    assert base.weight.grad is not None
    base.zero_grad()
    with phases.attention():
        aggr(base(x), index).square().sum().backward()
    assert base.weight.grad is None
    assert aggr.lin.weight.grad is not None
    assert all(p.requires_grad for p in (*base.parameters(), *aggr.parameters()))


@pytest.mark.parametrize(
    ("aggr", "kwargs"),
    [
        ("gem", {}),
        ("ggem", {"channels": WIDTH, "groups": 2}),
        ("attsets", {"channels": WIDTH}),
        ("lcm", {"in_channels": WIDTH, "out_channels": WIDTH}),
        ("GraphMultisetTransformer", {"channels": WIDTH, "k": 2}),
    ],
)
def test_by_name_in_a_layer(aggr: str, kwargs: dict[str, int]) -> None:
    conv = SAGEConv(WIDTH, 3, aggr=aggr, aggr_kwargs=kwargs).double()
    x, edge_index = elements(20), awkward_graph()
    order = torch.randperm(60)
    out = conv(x, edge_index)
    assert out.shape == (20, 3)
    if aggr != "lcm":
        assert_close(conv(x, edge_index[:, order]), out)
    out.sum().backward()
    assert all(p.grad is not None for p in conv.parameters())
