"""The sampling case: its samplers agree with the check, and the check notices a wrong sample."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from gnnlib.bench import sampling
from gnnlib.bench.graphs import UnavailableError, arxiv_like
from gnnlib.bench.peers import sorted_rows

GRAPH = arxiv_like(0.005)
FANOUTS = (5, 3, 2)


@pytest.mark.parametrize("name", ["ours", "numpy"])
def test_samplers_pass_the_check(name: str) -> None:
    problem = sampling.neighbor_sampling(GRAPH, fanouts=FANOUTS, batch=64)
    assert problem.verify(name) is None
    node, row, col, slot = problem.contenders[name]()()
    assert row.shape == col.shape == slot.shape
    assert node.numel() > 64


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (0, "the seeds are not"),
        (1, "the ends of"),
        (2, "the ends of"),
        (3, "the ends of"),
        (-1, "another number"),
    ],
)
def test_a_wrong_sample_is_noticed(part: int, message: str) -> None:
    indptr, indices = sorted_rows(GRAPH)
    seeds = torch.arange(64)
    drawn = [t.clone() for t in sampling._ours(indptr, indices, FANOUTS)(seeds)]
    if part >= 0:
        drawn[part] = drawn[part].roll(1)
    else:
        drawn[1:] = [t[1:] for t in drawn[1:]]
    fault = sampling.fault(indptr, indices, seeds, FANOUTS, tuple(drawn))
    assert fault is not None
    assert message in fault


def test_a_peer_that_is_not_there_says_so() -> None:
    if importlib.util.find_spec("torch_sparse") is not None:
        pytest.skip("torch-sparse is installed")
    with pytest.raises(UnavailableError, match="'torch-sparse' is not installed"):
        sampling._torch_sparse(*sorted_rows(GRAPH), FANOUTS)
