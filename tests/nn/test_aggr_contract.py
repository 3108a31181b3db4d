"""What every aggregation promises, checked for each from its one line in aggr_cases.py."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

import gnnlib.nn
import gnnlib.nn.aggr
from gnnlib.nn.aggr import Aggregation, aggregation_resolver
from tests.nn.aggr_cases import CASES, F_IN, NUM_SETS, Case, awkward_index, elements
from tests.tolerances import assert_close

N = 23
NAMES = [
    n
    for n in gnnlib.nn.aggr.__all__
    if n != "Aggregation" and isinstance(c := getattr(gnnlib.nn.aggr, n), type) and issubclass(c, Aggregation)
]


def each(cases: list[Case] = CASES) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[c.name for c in cases])


def seeded(case: Case, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return case.build()


def double(case: Case) -> nn.Module:
    return seeded(case).double().eval()


def one_by_one(aggr: nn.Module, x: Tensor, index: Tensor, num_sets: int = NUM_SETS) -> Tensor:
    """Each set by itself."""
    return torch.cat(
        [aggr(x[index == i], torch.zeros_like(index[index == i]), None, 1) for i in range(num_sets)]
    )


def test_every_aggregation_has_one_case() -> None:
    assert [c.name for c in CASES] == NAMES
    assert set(NAMES) <= set(gnnlib.nn.__all__)
    assert all(getattr(gnnlib.nn, n) is getattr(gnnlib.nn.aggr, n) for n in NAMES)


@each()
def test_builds_and_runs(case: Case) -> None:
    aggr = case.build()
    assert type(aggr).__name__ == case.name
    assert isinstance(aggr, Aggregation)
    out = aggr(elements(), awkward_index())
    assert out.shape == (8, case.out)
    assert out.isfinite().all()
    assert aggr(elements()).shape == (1, case.out)
    assert repr(aggr).startswith(f"{case.name}(")


@each()
def test_resolves_by_name(case: Case) -> None:
    short = case.name.removesuffix("Aggregation")
    if not any(
        p.default is p.empty for p in __import__("inspect").signature(type(case.build())).parameters.values()
    ):
        for name in (case.name, short, short.lower(), short.upper()):
            assert type(aggregation_resolver(name)) is type(case.build())


@each()
def test_resets_to_the_same_seeded_state(case: Case) -> None:
    a, b = seeded(case, 0), seeded(case, 1)
    with torch.no_grad():
        for p in b.parameters():
            p.add_(1.0)
    for aggr in (a, b):
        torch.manual_seed(5)
        aggr.reset_parameters()  # type: ignore[operator]
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@each()
def test_saves_and_loads(case: Case) -> None:
    a, b = seeded(case, 0).eval(), seeded(case, 1).eval()
    x, index = elements(), awkward_index()
    buffer = io.BytesIO()
    torch.save(a.state_dict(), buffer)
    buffer.seek(0)
    b.load_state_dict(torch.load(buffer, weights_only=True))
    out = a(x, index)
    assert torch.equal(b(x, index), out)
    assert torch.equal(copy.deepcopy(a)(x, index), out)
    assert torch.equal(pickle.loads(pickle.dumps(a))(x, index), out)


@each()
def test_index_in_any_order_or_type_and_ptr_agree(case: Case) -> None:
    aggr, x, index = double(case), elements(dtype=torch.float64), awkward_index()
    expected = aggr(x, index, dim_size=NUM_SETS)
    order = index.argsort(stable=True)
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), index.bincount(minlength=NUM_SETS).cumsum(0)])
    assert_close(aggr(x[order], index[order], dim_size=NUM_SETS), expected)
    assert_close(aggr(x[order], ptr=ptr), expected)
    assert_close(aggr(x[order], ptr=ptr.int(), dim_size=NUM_SETS), expected)
    assert_close(aggr(x[order], index[order], ptr), expected)
    assert_close(aggr(x, index.int(), dim_size=NUM_SETS), expected)
    assert_close(aggr(x, index), expected[:8])
    assert_close(aggr(x.t().contiguous().t(), index, dim_size=NUM_SETS, dim=0), expected)


@each()
def test_a_batch_gives_what_its_sets_give(case: Case) -> None:
    aggr, x, index = double(case), elements(dtype=torch.float64), awkward_index()
    assert_close(aggr(x, index, dim_size=NUM_SETS), one_by_one(aggr, x, index))


@each()
def test_another_set_changes_nothing(case: Case) -> None:
    aggr, x, index = double(case), elements(dtype=torch.float64), awkward_index()
    more = torch.cat([x, 100 * elements(60, torch.float64)])
    wider = torch.cat([index + 1, torch.zeros(60, dtype=torch.int64)])
    assert_close(aggr(more, wider, dim_size=NUM_SETS + 1)[1:], aggr(x, index, dim_size=NUM_SETS))


@each([c for c in CASES if not c.ordered])
def test_the_order_of_elements_does_not_matter(case: Case) -> None:
    aggr, x, index = double(case), elements(dtype=torch.float64), awkward_index()
    order = torch.randperm(N)
    assert_close(aggr(x[order], index[order]), aggr(x, index))


@each([c for c in CASES if not c.vectors])
def test_every_dimension(case: Case) -> None:
    aggr, index = double(case), awkward_index()
    x = torch.stack(
        [elements(dtype=torch.float64), 0.5 + elements(dtype=torch.float64).square()]
    )  # [2, N, F]
    expected = torch.stack([aggr(v, index) for v in x])
    assert_close(aggr(x, index), expected)
    assert_close(aggr(x, index, dim=1), expected)
    if case.name != "QuantileAggregation":  # PyG puts several quantiles along the dimension after dim
        assert_close(aggr(x.transpose(0, 1), index, dim=0), expected.transpose(0, 1))


@each([c for c in CASES if c.vectors])
def test_elements_that_are_no_vectors_fail_clearly(case: Case) -> None:
    with pytest.raises(ValueError, match=rf"{case.name}: x has 3 dimensions; expected \[N, F\]"):
        case.build()(torch.randn(2, N, F_IN), awkward_index())


@each()
def test_gradients(case: Case) -> None:
    aggr = seeded(case).double()
    x = (elements(7, torch.float64) + 0.1).requires_grad_()
    index = torch.tensor([3, 0, 0, 3, 0, 1, 0])
    names = [k for k, _ in aggr.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(
            aggr, dict(zip(names, values, strict=True)), (x, index), {"dim_size": 5}
        )
        return out

    leaves = [p.detach().clone().requires_grad_() for p in aggr.parameters()]
    assert gradcheck(run, (x, *leaves), fast_mode=True)


@each()
def test_every_parameter_has_a_finite_gradient(case: Case) -> None:
    aggr, x = seeded(case), elements().requires_grad_()
    out = aggr(x, awkward_index(), dim_size=NUM_SETS)
    (out * torch.randn_like(out)).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for name, p in aggr.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name


@each()
@pytest.mark.parametrize("n", [0, 1])
def test_empty_sets(case: Case, n: int) -> None:
    aggr = seeded(case).eval()
    x = elements(n).requires_grad_()
    out = aggr(x, torch.full((n,), 2), dim_size=4)
    assert out.shape == (4, case.out)
    assert out.isfinite().all()
    empty = out[torch.arange(4) != 2] if n else out
    if case.fill is not None:
        assert (empty == case.fill).all()
    else:
        assert_close(empty, empty[:1].expand_as(empty))
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in aggr.parameters())
    assert aggr(elements(0), torch.empty(0, dtype=torch.int64)).shape == (0, case.out)
    assert aggr(elements(0), ptr=torch.zeros(3, dtype=torch.int64)).shape == (2, case.out)


@each()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_dtypes(case: Case, dtype: torch.dtype) -> None:
    aggr = seeded(case).to(dtype).eval()
    x, index = elements(dtype=dtype), awkward_index()
    out = aggr(x, index)
    assert out.dtype == dtype
    exact = copy.deepcopy(aggr).double()(x.double(), index)
    scale = max(1.0, float(exact.detach().abs().max()))
    assert_close(out.double() / scale, exact / scale, dtype)


@each()
def test_at_most_so_many_elements(case: Case) -> None:
    aggr, x, index = double(case), elements(dtype=torch.float64), awkward_index()
    place = torch.tensor([int((index[:i] == index[i]).sum()) for i in range(N)])
    kept = place < 3
    assert_close(
        aggr(x, index, dim_size=NUM_SETS, max_num_elements=3), aggr(x[kept], index[kept], dim_size=NUM_SETS)
    )
    assert_close(aggr(x, index, dim_size=NUM_SETS, max_num_elements=40), aggr(x, index, dim_size=NUM_SETS))


@each()
def test_wrong_inputs_fail_clearly(case: Case) -> None:
    aggr, x, index = case.build(), elements(), awkward_index()
    ptr = torch.tensor([0, 3, N])
    calls: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (ValueError, "dim=2 does not exist", lambda: aggr(x, index, dim=2)),
        (ValueError, "dim=-3 does not exist", lambda: aggr(x, index, dim=-3)),
        (TypeError, r"x is torch\.int64", lambda: aggr(x.long(), index)),
        (TypeError, r"index is torch\.float32", lambda: aggr(x, index.float())),
        (ValueError, "index has shape", lambda: aggr(x, index[:, None])),
        (ValueError, "index has 22 entries but x has 23 rows", lambda: aggr(x, index[1:])),
        (ValueError, "index names set 7 but there are 7 sets", lambda: aggr(x, index, dim_size=7)),
        (ValueError, "index names set -1", lambda: aggr(x, index - 2, dim_size=7)),
        (ValueError, "ptr runs from 0 to 22 over 23 rows", lambda: aggr(x, ptr=torch.tensor([0, 3, 22]))),
        (ValueError, "never decrease", lambda: aggr(x, ptr=torch.tensor([0, 9, 3, N]))),
        (ValueError, "dim_size=3 came with the ptr of 2 sets", lambda: aggr(x, ptr=ptr, dim_size=3)),
        (TypeError, r"ptr is torch\.float32", lambda: aggr(x, ptr=ptr.float())),
        (ValueError, "ptr is empty", lambda: aggr(x, ptr=ptr[:0])),
    ]
    for kind, message, call in calls:
        with pytest.raises(kind, match=f"{case.name}: .*{message}"):
            call()


@each([c for c in CASES if c.compiles])
def test_compiles_into_one_graph(case: Case) -> None:
    torch._dynamo.reset()
    aggr = seeded(case).eval()
    slow = case.name == "SetTransformerAggregation"  # symbolic attention masks take torch half a minute
    compiled = torch.compile(aggr, fullgraph=True, dynamic=not slow, backend="aot_eager")
    for n in (11,) if slow else (11, 17):
        index = awkward_index(n)
        x = elements(n).requires_grad_()
        results = []
        for run in (aggr, compiled):
            out = run(x, index, dim_size=NUM_SETS, max_num_elements=20)
            results.append([out, torch.autograd.grad(out.square().sum(), x)[0]])
        assert_close(results[1], results[0])
