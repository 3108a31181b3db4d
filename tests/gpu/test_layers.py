"""Every layer, aggregation, pooling and ready model on a device: results and gradients are those of the CPU.

Where there is no CUDA device a pretended one shows that nothing is left on the CPU (pretend.py).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnlib import models
from gnnlib.sparse import segment_reduce, use_backend
from tests.gpu.conftest import absent
from tests.gpu.pretend import CUDA, Pretended, There, pretended
from tests.models.test_models import BATCH, F_IN, OUT, SERVED, N, graph_inside, run, small
from tests.nn import aggr_cases, cases, pool_cases
from tests.tolerances import assert_close

pytestmark = pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")

DEVICES = ["pretended", pytest.param("cuda", marks=pytest.mark.gpu)]


def elsewhere(request: pytest.FixtureRequest, kernels: bool) -> Iterator[There]:
    if request.param == "cuda":
        if (why := absent("cuda")) is not None:
            pytest.skip(why)
        yield There(CUDA, real=True)
        return
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device, on which the same tests run")
    if kernels and (why := absent("cpu")) is not None:
        pytest.skip(why)
    with pytest.MonkeyPatch.context() as patch, pretended(patch, kernels=kernels):
        yield There(CUDA, real=False)


@pytest.fixture(params=DEVICES)
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    """Another device, with the GPU kernels."""
    yield from elsewhere(request, kernels=True)


@pytest.fixture(params=DEVICES)
def there_by_reference(request: pytest.FixtureRequest) -> Iterator[There]:
    """Another device; where it is pretended the reference serves."""
    yield from elsewhere(request, kernels=False)


def compare(there: There, module: nn.Module, call: Callable[..., Tensor], x: Tensor, *args: Any) -> None:
    """``call(module, x, *args)`` there and here: the result, and the gradients of x and the parameters."""
    results = []
    for on_device in (False, True):
        m = there.put(copy.deepcopy(module)) if on_device else module
        z, *rest = there.put((x, *args)) if on_device else (x.clone(), *args)
        try:
            out = call(m, z.requires_grad_(), *rest)
        except ImportError as missing:  # the GPU machine may lack a package that the project installs
            if there.real:
                pytest.skip(str(missing))
            raise
        if out.requires_grad:
            weight = torch.linspace(0.5, 1.5, out.numel(), dtype=out.dtype, device=out.device)
            (out * weight.view_as(out)).sum().backward()
        found = {"out": out, "x": z.grad, **{k: p.grad for k, p in m.named_parameters()}}
        results.append({k: t for k, t in found.items() if t is not None})
    here, got = results
    assert list(got) == list(here)
    for name, value in here.items():
        assert_close(there.get(got[name]), value.detach())


def rows(n: int, width: int) -> Tensor:
    return torch.randn(n, width, dtype=torch.float64)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_pretended_device_is_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(3)
    with pretended(monkeypatch, kernels=False):
        y = There(CUDA, real=False).put(x)
        for apart in (lambda: y + x, lambda: torch.cat([x, y]), lambda: x @ y, lambda: y.numpy()):
            with pytest.raises((RuntimeError, TypeError), match=r"one device|pretended device"):
                apart()
        made = [y + 1, y.to("cpu").to(y.device), torch.arange(3, device=y.device), y.new_zeros(2), y[y > 0]]
        assert all(isinstance(t, Pretended) and t.is_cuda for t in made)
        assert type(y.cpu()) is Tensor
        with (
            pytest.raises(NotImplementedError, match="takes cpu tensors, got one on cuda:0"),
            use_backend("cpu"),
        ):
            segment_reduce(y, torch.tensor([0, 3], device=y.device), "sum")


#: They repeat a product until it changes nothing: hundreds of kernels, too many for the interpreter.
ITERATIVE = {"DiGCNConv", "DiGCNInceptionConv", "DirResolvConv"}


def layers(iterative: bool) -> Any:
    chosen = [c for c in cases.CASES if (c.name in ITERATIVE) == iterative]
    return pytest.mark.parametrize("case", chosen, ids=[c.name for c in chosen])


@layers(iterative=False)
def test_layer(case: cases.Case, there: There) -> None:
    compare(there, case.build().double().eval(), case.run, rows(N, cases.F_IN), cases.awkward_graph())


@layers(iterative=True)
def test_iterative_layer(case: cases.Case, there_by_reference: There) -> None:
    x, edge_index = rows(N, cases.F_IN), cases.awkward_graph()
    compare(there_by_reference, case.build().double().eval(), case.run, x, edge_index)


@pytest.mark.parametrize("case", aggr_cases.CASES, ids=[c.name for c in aggr_cases.CASES])
def test_aggregation(case: aggr_cases.Case, there: There) -> None:
    index = aggr_cases.awkward_index()
    if case.ordered:
        index = index.sort().values
    call = lambda aggr, x, index: aggr(x, index, None, aggr_cases.NUM_SETS)  # noqa: E731
    compare(there, case.build().double().eval(), call, rows(index.numel(), aggr_cases.F_IN), index)


@pytest.mark.parametrize("case", pool_cases.CASES, ids=[c.name for c in pool_cases.CASES])
def test_pooling(case: pool_cases.Case, there: There) -> None:
    def coarse(pool: Any, *args: Tensor) -> Tensor:
        out = pool.coarsen(*args)
        parts = [out.x.flatten(), out.edge_index.flatten().to(out.x), out.batch.to(out.x), *out.loss.values()]
        return torch.cat([p.reshape(-1) for p in parts if p is not None])

    compare(there, case.build().double().eval(), coarse, *pool_cases.graphs())


@pytest.mark.parametrize(("name", "task"), SERVED, ids=["-".join(s) for s in SERVED])
def test_model(name: str, task: str, there_by_reference: There) -> None:
    model = models.build(name, task, F_IN, OUT, small(name)).double().eval()

    def call(model: Any, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        return run(model, task, x, edge_index, batch)

    compare(there_by_reference, model, call, rows(N, F_IN), graph_inside(), BATCH)
