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

    found = [spied(k) for k in registry.candidates("spmm", on_gpu=False)]
    monkeypatch.setitem(registry._without_gpu, "spmm", found)
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
    with use_backend("torch_scatter"), pytest.raises(NotImplementedError) as caught:
        spmm(MIXED.adj, X)
    lines = str(caught.value).splitlines()
    assert lines[0] == "spmm: no kernel takes these inputs"
    said = dict(line.strip().split(": ", 1) for line in lines[1:])
    assert said["cpu"] == said["reference"] == "set aside by use_backend('torch_scatter')"
    assert said["torch_scatter"] == "no torch_scatter kernel is written for spmm yet"
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
        pytest.raises(NotImplementedError, match=r"segment_reduce: .*\n(  gpu: .*\n)?  cpu: does not"),
    ):
        segment_reduce(x, torch.tensor([0, 37]))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKENDS, "cpu", "a_package_that_nobody_has")
    monkeypatch.setattr(registry, "_without_gpu", {})
    assert ("cpu", "the package 'a_package_that_nobody_has' is not installed") in registry.unavailable("spmm")
    # Already imported by this process, so it stays registered; a fresh one would go without.
    with use_backend("torch_scatter"), pytest.raises(NotImplementedError, match="a_package_that_nobody_has"):
        spmm(MIXED.adj, X)


def test_no_gpu_kernel_is_asked_for_a_tensor_on_a_cpu() -> None:
    for op in registry.ops():
        assert "gpu" not in {k.backend for k in registry.candidates(op, on_gpu=False)}
        with use_backend("gpu"):
            assert registry.candidates(op, on_gpu=False) == registry.load(op)
        assert registry.candidates(op, on_gpu=True) == registry.load(op)


def test_tensors_on_two_devices_are_named() -> None:
    away = torch.rand(37, 1, 3, device="meta")
    with pytest.raises(
        ValueError, match=r"spmm: tensors on different devices \(indptr on cpu, .* x on meta\)"
    ):
        registry.dispatch("spmm", *MIXED.adj.arrays, None, away, None, None)


def test_a_lack_of_memory_names_op_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(registry._without_gpu, "spmm", [Kernel("spmm", "cpu", full, lambda *_: None)])
    with pytest.raises(torch.OutOfMemoryError) as caught:
        spmm(MIXED.adj, X)
    assert caught.value.__notes__ == [
        "spmm: the cpu kernel found no room for its result on cpu (inputs [38] torch.int64, "
        "[211] torch.int32, [37, 1, 3] torch.float32); take smaller batches "
        "(gnnlib.loader), fewer features or bfloat16"
    ]


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
