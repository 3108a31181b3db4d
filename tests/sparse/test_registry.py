"""Which kernel runs, and what is said when none does."""

from __future__ import annotations

import pytest
import torch

from gnnlib.sparse import registry, segment_reduce, spmm, use_backend
from gnnlib.sparse.registry import Kernel
from tests.sparse.graphs import MIXED

X = torch.rand(37, 3)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backends whose spmm ran, in order."""
    used: list[str] = []

    def spied(k: Kernel) -> Kernel:
        def fn(*args: object) -> object:
            used.append(k.backend)
            return k.fn(*args)

        return Kernel(k.op, k.backend, fn, k.refuse)

    monkeypatch.setitem(registry._loaded, "spmm", [spied(k) for k in registry.load("spmm")])
    return used


def test_the_fastest_that_accepts_runs(called: list[str]) -> None:
    spmm(MIXED.edge_index, X)
    assert called == ["cpu"]


def test_use_backend_forces_one_and_gives_it_back(called: list[str]) -> None:
    with use_backend("reference"):
        spmm(MIXED.edge_index, X)
        with use_backend("cpu"):
            spmm(MIXED.edge_index, X)
        spmm(MIXED.edge_index, X)
    spmm(MIXED.edge_index, X)
    assert called == ["reference", "cpu", "reference", "cpu"]


def test_use_backend_gives_back_after_an_error(called: list[str]) -> None:
    with pytest.raises(RuntimeError, match="stop"), use_backend("reference"):
        raise RuntimeError("stop")
    spmm(MIXED.edge_index, X)
    assert called == ["cpu"]


def test_use_backend_holds_in_the_backward(called: list[str]) -> None:
    x = X.clone().requires_grad_()
    out = spmm(MIXED.edge_index, x)
    with use_backend("reference"):
        out.sum().backward()
    assert called == ["cpu", "reference"]


def test_unknown_backend() -> None:
    with pytest.raises(
        ValueError, match=r"use_backend: 'cuda' is no backend; choose one of .*cpu, gpu, reference"
    ):
        use_backend("cuda").__enter__()


def test_a_missing_backend_lists_every_reason() -> None:
    with use_backend("gpu"), pytest.raises(NotImplementedError) as caught:
        spmm(MIXED.adj, X)
    lines = str(caught.value).splitlines()
    assert lines[0] == "spmm: no kernel takes these inputs"
    said = dict(line.strip().split(": ", 1) for line in lines[1:])
    assert said["cpu"] == said["reference"] == "set aside by use_backend('gpu')"
    assert said["gpu"] in ("no gpu kernel is written for spmm yet", "the package 'triton' is not installed")
    assert set(said) == set(registry.BACKENDS)


def test_a_refusal_is_given_as_the_reason() -> None:
    x = X.to(torch.float8_e4m3fn)
    with (
        use_backend("cpu"),
        pytest.raises(NotImplementedError, match=r"cpu: does not take torch\.float8_e4m3fn"),
    ):
        spmm(MIXED.adj, x)
    with (
        use_backend("cpu"),
        pytest.raises(NotImplementedError, match=r"segment_reduce: .*\n  cpu: does not take"),
    ):
        segment_reduce(x, torch.tensor([0, 37]))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKENDS, "cpu", "a_package_that_nobody_has")
    monkeypatch.setattr(registry, "_loaded", {})
    assert ("cpu", "the package 'a_package_that_nobody_has' is not installed") in registry.unavailable("spmm")
    # Already imported by this process, so it stays registered; a fresh one would go without.
    with use_backend("torch_scatter"), pytest.raises(NotImplementedError, match="a_package_that_nobody_has"):
        spmm(MIXED.adj, X)


def test_ops_are_known() -> None:
    assert registry.ops() == sorted(registry.OPS)
    for op in registry.ops():
        assert [k.op for k in registry.load(op)] == [op] * len(registry.load(op))
        order = list(registry.BACKENDS)
        found = [order.index(k.backend) for k in registry.load(op)]
        assert found == sorted(found), "fastest first"
    with pytest.raises(ValueError, match=r"op 'spnn' is unknown; known: .*spmm"):
        registry.load("spnn")
    with pytest.raises(ValueError, match="op 'spnn' is unknown"):
        registry.kernel("spnn", "cpu")
