"""The cases of a CUDA device: their work on a CPU, at a small scale, and what is said without a device."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gnnlib.bench import cuda
from gnnlib.bench.gpu_cases import GPU_CASES, cases_on
from gnnlib.bench.graphs import GRAPHS, QUICK, cora_like, products_like
from gnnlib.bench.peers import AGGREGATE, ON_CPU, ON_CUDA, PEERS
from gnnlib.bench.problems import Problem
from gnnlib.bench.results import Setting
from gnnlib.bench.runner import Plan
from gnnlib.bench.timing import interleave

NO_DEVICE = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
SCALE = {"products-like": QUICK / 10}


def problem(name: str) -> Problem:
    case = GPU_CASES[name]
    return case.problem(GRAPHS[case.graph](SCALE.get(case.graph, QUICK)))


@pytest.mark.parametrize("name", [n for n in GPU_CASES if "graphed" not in n])
def test_ours_and_pygs_agree_with_float64(name: str) -> None:
    work = problem(name)
    for contender in ("ours", "pyg"):
        assert work.verify(contender) is None, contender
        work.contenders[contender]()()


def test_a_result_rounded_to_bfloat16_has_its_own_bound() -> None:
    assert problem("spmm-products-bf16").verify("ours") is None
    assert problem("spmm-products-bf16").traffic.once < problem("spmm-products").traffic.once


def test_every_row_of_the_table_of_aims_has_a_case() -> None:
    assert {case.row for case in GPU_CASES.values()} - {None} == set(
        range(1, 7)
    )  # 7 and 8 are figures of these
    assert cases_on("cuda") is GPU_CASES


def test_contenders_are_known() -> None:
    assert set(ON_CUDA) | set(ON_CPU) == set(AGGREGATE)
    assert set(AGGREGATE) <= set(PEERS)


def test_graphs_have_the_size_of_what_they_are_like() -> None:
    graph = cora_like()
    assert (graph.num_nodes, graph.num_edges) == (2708, 10556)
    small = products_like(0.001)
    assert (small.num_nodes, small.num_edges) == (2449, 2 * 61859)
    assert int(small.edge_index.max()) < small.num_nodes
    assert small.to("cpu").edge_index.equal(small.edge_index)


def test_another_clock() -> None:
    found = interleave({"ours": lambda: None}, 2, min_sample=0.0, clock=lambda run, calls: 0.25)
    assert found["ours"].samples == (0.25, 0.25)


def test_a_baseline_is_named_by_the_device() -> None:
    here = Setting("Some CPU", 16, None, {}, "", None, False)
    there = dataclasses.replace(here, gpu="NVIDIA H200")
    assert (here.machine_class, there.machine_class) == ("some-cpu-16-cores", "nvidia-h200")


@NO_DEVICE
def test_without_a_device_it_says_so() -> None:
    with pytest.raises(ValueError, match=r"bench: nothing can be measured on a CUDA device here: .*torch"):
        Plan(device="cuda")
    assert "torch" in str(cuda.why_not())


def test_an_unknown_device() -> None:
    with pytest.raises(ValueError, match=r"bench: device='tpu' is unknown; choose cpu or cuda"):
        Plan(device="tpu")


def test_cases_of_each_device() -> None:
    assert "spmm-products" not in {c.name for c in Plan().chosen()}
    with pytest.raises(ValueError, match="spmm-products"):
        Plan(cases=("spmm-products",)).chosen()
