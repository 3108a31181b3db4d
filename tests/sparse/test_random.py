"""Graphs that nobody thought of, drawn by hypothesis; the same ones in every run."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.utils import add_remaining_self_loops, add_self_loops, remove_self_loops

from gnnlib.sparse import as_csr, segment_reduce, use_backend
from tests.sparse.cases import CASES, Case, actual, expected, upstream
from tests.sparse.graphs import Graph
from tests.tolerances import assert_close

settings.register_profile("core", derandomize=True, deadline=None, max_examples=60, database=None)
core = settings.get_profile("core")


@st.composite
def graphs(draw: Any, square: bool = False) -> Graph:
    cols = draw(st.integers(0, 9))
    rows = cols if square else draw(st.integers(0, 9))
    pair = st.tuples(st.integers(0, max(cols - 1, 0)), st.integers(0, max(rows - 1, 0)))
    edges = draw(st.lists(pair, max_size=40)) if rows and cols else []
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    return Graph("drawn", edge_index if draw(st.booleans()) else edge_index.contiguous(), cols, rows)


@core
@given(
    graphs(), st.sampled_from(CASES), st.integers(0, 20), st.sampled_from(["cpu", "reference"]), st.booleans()
)
def test_any_op_on_any_graph(graph: Graph, case: Case, width: int, backend: str, ties: bool) -> None:
    inputs = case.inputs(graph, torch.float64, width)
    if ties:
        inputs = [t.round() for t in inputs]
    with use_backend(backend):
        found = actual(case, graph, inputs)
    assert_close(found, expected(case, graph, inputs, upstream(found[0])))


@core
@given(graphs())
def test_structure(graph: Graph) -> None:
    adj = as_csr(graph.edge_index, (graph.num_cols, graph.num_rows))
    assert torch.equal(adj.edge_index, graph.edge_index)
    assert torch.equal(adj.transposed.edge_index, graph.edge_index.flip(0))
    assert torch.equal(adj.transposed.transposed.edge_index, graph.edge_index)
    assert torch.equal(adj.degree, graph.edge_index[1].bincount(minlength=graph.num_rows))
    assert torch.equal(adj.col_degree, graph.edge_index[0].bincount(minlength=graph.num_cols))
    for row in range(graph.num_rows):  # a row keeps the caller's order
        slots = slice(int(adj.indptr[row]), int(adj.indptr[row + 1]))
        assert torch.equal(adj.indices[slots].long(), graph.edge_index[0][graph.edge_index[1] == row])


@core
@given(graphs(square=True), st.booleans())
def test_self_loops(graph: Graph, remaining: bool) -> None:
    n = graph.num_rows
    weight = torch.arange(1.0, graph.num_edges + 1)
    if remaining:
        theirs, values = add_remaining_self_loops(graph.edge_index, weight, 0.5, n)
    else:
        theirs, values = add_self_loops(*remove_self_loops(graph.edge_index, weight), 0.5, n)
    adj = as_csr(graph.edge_index, n).add_self_loops(remaining)
    ours = adj.to_slots(torch.cat([weight, torch.full((n,), 0.5)]))
    found = zip(adj.indices.tolist(), adj.rows.tolist(), ours.tolist(), strict=True)
    assert sorted(found) == sorted(zip(*theirs.tolist(), values.tolist(), strict=True))


@core
@given(st.lists(st.integers(0, 5), max_size=12), st.sampled_from(["sum", "mean", "max", "min"]))
def test_segments(lengths: list[int], reduce: str) -> None:
    indptr = torch.tensor([0, *lengths]).cumsum(0)
    src = torch.randn(int(indptr[-1]), 3)
    parts: tuple[Tensor, ...] = src.split(lengths) if lengths else ()
    how: Any = {"sum": Tensor.sum, "mean": Tensor.mean, "max": Tensor.amax, "min": Tensor.amin}[reduce]
    wanted = [how(p, 0) if p.shape[0] else torch.zeros(3) for p in parts]
    assert_close(segment_reduce(src, indptr, reduce), torch.stack(wanted) if wanted else torch.zeros(0, 3))
