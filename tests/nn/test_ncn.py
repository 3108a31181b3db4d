"""Neural common neighbours against sets and dense matrices in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnlib.nn.link import NCN, NCNC, ncn, neighbor_sets
from gnnlib.nn.link.neighbours import dropped_entries, sampled_rows
from gnnlib.sparse import CSR, as_csr
from tests.nn.graphs import dense
from tests.tolerances import assert_close

N, WIDTH, HIDDEN = 25, 6, 5
F64 = torch.float64


def graph(*, directed: bool = False) -> Tensor:
    """A random graph with loops, duplicates and an isolated node, N - 1."""
    torch.manual_seed(0)
    edges = torch.randint(N - 1, (2, 60))
    edges = edges if directed else torch.cat([edges, edges.flip(0)], dim=1)
    return torch.cat([edges, edges[:, :9], torch.tensor([[3, 8], [3, 8]])], dim=1)


def pairs_of(count: int = 40) -> Tensor:
    """Random pairs, among them a node with itself and the isolated node."""
    torch.manual_seed(1)
    return torch.cat([torch.randint(N, (2, count)), torch.tensor([[4, N - 1, 3], [4, 2, N - 1]])], dim=1)


def rows(adj: CSR) -> list[list[int]]:
    offsets = adj.indptr.tolist()
    return [adj.indices[a:b].tolist() for a, b in itertools.pairwise(offsets)]


@pytest.mark.parametrize("directed", [False, True])
def test_neighbour_sets_are_those_of_python(directed: bool) -> None:
    edge_index, pairs = graph(directed=directed), pairs_of()
    sources: list[set[int]] = [set() for _ in range(N)]
    for source, target in edge_index.t().tolist():
        sources[target].add(source)
    common, first, second = map(rows, neighbor_sets(as_csr(edge_index, N), pairs))
    for k, (u, v) in enumerate(pairs.t().tolist()):
        assert common[k] == sorted(sources[u] & sources[v])
        assert first[k] == sorted(sources[u] - sources[v])
        assert second[k] == sorted(sources[v] - sources[u])
    assert any(common)
    assert [s.num_edges for s in neighbor_sets(as_csr(edge_index, N), pairs[:, :0])] == [0, 0, 0]


def build(kind: type[NCN] = NCN, **options: Any) -> Any:
    torch.manual_seed(2)
    model = kind(WIDTH, HIDDEN, **{"dropout": 0.3, "use_xlin": True, **options}).double().eval()
    with torch.no_grad():
        for p in model.parameters():  # norms and beta too are not what they begin with
            p.add_(0.3 * torch.randn_like(p))
    return model


def maps(model: Any, tail: bool) -> dict[str, Callable[[Tensor], Tensor]]:
    """The four maps from the weights, as the docstring spells them, dropout left out."""
    weights = dict(model.named_parameters())

    def apply(name: str, spelling: str, x: Tensor) -> Tensor:
        numbers = sorted({int(k.split(".")[1]) for k in weights if k.startswith(name + ".")})
        for letter in spelling:
            if letter == "R":
                x = x.clamp(min=0)
                continue
            number = numbers.pop(0)
            w, b = weights[f"{name}.{number}.weight"], weights[f"{name}.{number}.bias"]
            x = x @ w.t() + b if letter == "L" else F.layer_norm(x, [x.size(-1)], w, b)
        assert not numbers
        return x

    end = "" if tail else "L"
    return {
        "xlin": lambda x: apply("xlin", "LRLNR", x),
        "xcnlin": lambda x: apply("xcnlin", "LRLNR" + end, x),
        "xijlin": lambda x: apply("xijlin", "LNR" + end, x),
        "lin": lambda x: apply("lin", "LNRLNRL" if len(model.lin) > 5 else "LNRL", x),
    }


def reference(model: Any, h: Tensor, a: Tensor, pairs: Tensor, depth: int, tail: bool = False) -> Tensor:
    """Scores of NCN (depth 0) and NCNC from the dense matrix of ones and zeros."""
    f = maps(model, tail)
    wide = h + f["xlin"](h)
    u, v = a[pairs[0]], a[pairs[1]]
    weight = u * v
    if depth:
        for here, there, other in ((u, v, pairs[1]), (v, u, pairs[0])):
            ends = torch.stack([other.repeat_interleave(N), torch.arange(N).repeat(other.numel())])
            score = reference(model, wide.detach(), a, ends, depth - 1, tail).detach().view(-1, N)
            p0 = torch.sigmoid(model.scale * (score - model.offset))
            prior: Any = model.prior
            if prior is None:
                first, second = model.priorlin.lins
                prior = torch.sigmoid(second(first(h[pairs[0]] * h[pairs[1]]).clamp(min=0)))
            weight = weight + here * (1 - there) * model.weight * prior * p0 / (prior * p0 + 1 - p0)
    joined = model.beta * f["xcnlin"](weight @ wide) + f["xijlin"](h[pairs[0]] * h[pairs[1]])
    return f["lin"](joined).squeeze(-1)


CASES: list[tuple[type[NCN], int, dict[str, Any]]] = [
    (NCN, 0, {}),
    (NCN, 0, {"tail_act": True, "two_layers": True}),
    (NCNC, 1, {"offset": 0.2, "weight": 0.7, "prior": 0.4}),
    (NCNC, 1, {"offset": 0.2, "prior": None}),
    (NCNC, 2, {"offset": 0.2, "depth": 2, "tail_act": True}),
]


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(("kind", "depth", "options"), CASES, ids=str)
def test_scores_and_gradients_equal_the_dense_ones(
    kind: type[NCN], depth: int, options: dict[str, Any], directed: bool
) -> None:
    model, pairs = build(kind, **options), pairs_of()
    a = (dense(graph(directed=directed), N) > 0).double()
    h = torch.randn(N, WIDTH, dtype=F64, requires_grad=True)
    found = model(h, graph(directed=directed), pairs)
    expected = reference(model, h, a, pairs, depth, bool(options.get("tail_act")))
    assert_close(found, expected)
    weight = torch.randn_like(expected)
    wanted = [h, *model.parameters()]
    # the probabilities of the reference are detached: no gradient comes through them
    for got, want in zip(
        torch.autograd.grad((found * weight).sum(), wanted),
        torch.autograd.grad((expected * weight).sum(), wanted),
        strict=True,
    ):
        assert_close(got, want)


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1, keepdim=True)


def test_with_identities_it_is_a_sum_over_common_neighbours() -> None:
    model = NCN(WIDTH, WIDTH).double()
    model.xcnlin, model.xijlin, model.lin = nn.Sequential(), nn.Sequential(), nn.Sequential(Sum())
    h, edge_index, pairs = torch.randn(N, WIDTH, dtype=F64), graph(), pairs_of()
    common = rows(neighbor_sets(as_csr(edge_index, N), pairs)[0])
    expected = [h[c].sum() + (h[u] * h[v]).sum() for c, (u, v) in zip(common, pairs.t(), strict=True)]
    assert_close(model(h, edge_index, pairs), torch.stack(expected))


@pytest.mark.parametrize(("kind", "depth", "options"), CASES, ids=str)
def test_symmetry_chunks_and_relabelling(kind: type[NCN], depth: int, options: dict[str, Any]) -> None:
    model, h, edge_index, pairs = (
        build(kind, **options),
        torch.randn(N, WIDTH, dtype=F64),
        graph(),
        pairs_of(),
    )
    found = model(h, edge_index, pairs)
    assert_close(model(h, edge_index, pairs.flip(0)), found)
    order = torch.randperm(N)
    place = order.argsort()
    assert_close(model(h[order], place[edge_index], place[pairs]), found)
    assert_close(torch.cat([model(h, edge_index, chunk) for chunk in pairs.split(7, dim=1)]), found)
    if depth:
        for model.split_size in (1, 13) if depth == 1 else (50,):
            assert_close(model(h, edge_index, pairs), found)
    assert model(h, edge_index, pairs[:, :0]).shape == (0,)


@pytest.mark.parametrize(("kind", "depth", "options"), [c for c in CASES if c[1]], ids=str)
def test_scores_of_all_pairs_serve_many_pairs(
    kind: type[NCN], depth: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the table each missing edge is scored by itself, with it each pair of nodes once."""
    model, pairs = build(kind, **options), pairs_of(400)
    h = torch.randn(N, WIDTH, dtype=F64, requires_grad=True)
    tables: list[Tensor | None] = []
    known = kind._known  # type: ignore[attr-defined]
    monkeypatch.setattr(kind, "_known", lambda *args: tables.append(known(*args)) or tables[-1])
    monkeypatch.setattr(ncn, "MOST_KNOWN", 0)
    parts = model(h, graph(), pairs)
    assert all(table is None for table in tables)
    monkeypatch.undo()
    monkeypatch.setattr(kind, "_known", lambda *args: tables.append(known(*args)) or tables[-1])
    found = model(h, graph(), pairs)
    assert isinstance(tables[-1], Tensor)
    assert tables[-1].shape == (N, N)
    assert_close(found, parts)
    monkeypatch.setattr(ncn, "ENTRIES", 300)  # many runs of pairs
    again = model(h, graph(), pairs)
    assert_close(again, parts)
    for got, want in zip(*(torch.autograd.grad(s.sum(), h) for s in (again, parts)), strict=True):
        assert_close(got, want)


def test_completion_of_no_weight_is_none() -> None:
    plain, completed = build(NCN), build(NCNC, weight=0.0)
    completed.load_state_dict(plain.state_dict())
    h = torch.randn(N, WIDTH, dtype=F64)
    assert_close(completed(h, graph(), pairs_of()), plain(h, graph(), pairs_of()))


def test_completion_by_an_oracle_is_the_completed_graph() -> None:
    """With certain probabilities of 0 and 1 the missing edges are there.

    They are a matching, since a node that both ends miss would be common in the completed graph but is in
    neither set of neighbours.
    """
    missing = torch.tensor([[0, 2, 5, 9, 11], [1, 7, 12, 16, 20]])
    whole = dense(graph(), N)
    assert not whole[missing[0], missing[1]].any()
    known = {frozenset(pair) for pair in missing.t().tolist()}

    class Oracle(NCNC):
        def _scores(self, h: Tensor, adj: CSR, pairs: Tensor, depth: int | None = None) -> Tensor:
            if depth != 0:
                return super()._scores(h, adj, pairs, depth)
            return torch.tensor([1.0 if frozenset(p) in known else -1.0 for p in pairs.t().tolist()])

    plain, oracle = build(NCN), build(Oracle, prior=1.0, scale=1e4, offset=0.0)
    oracle.load_state_dict(plain.state_dict())
    h, pairs = torch.randn(N, WIDTH, dtype=F64), torch.combinations(torch.arange(N)).t()
    completed = torch.cat([graph(), missing, missing.flip(0)], dim=1)
    expected = plain(h, completed, pairs)
    assert_close(oracle(h, graph(), pairs), expected)
    assert not torch.allclose(plain(h, graph(), pairs), expected)


def test_a_sample_of_the_neighbours_has_the_right_mean() -> None:
    torch.manual_seed(3)
    adj, x = as_csr(torch.randint(12, (2, 100)), 12), torch.rand(12, dtype=F64)
    expected = torch.stack([x[adj.indices[a:b]].sum() for a, b in adj.indptr.unfold(0, 2, 1)])
    sums = []
    for _ in range(600):
        found, weight = sampled_rows(adj, 5)
        assert found.degree.equal(adj.degree.clamp(max=5))
        sums.append(torch.zeros(12, dtype=F64).index_add(0, found.rows, weight * x[found.indices.long()]))
    drawn = torch.stack(sums)
    error = drawn.std(0) / len(sums) ** 0.5
    assert ((drawn.mean(0) - expected).abs() <= 3 * error + 1e-12).all()
    assert (error > 0).any()
    found, weight = sampled_rows(adj, 100)
    assert found.indices.equal(adj.indices)
    assert (weight == 1).all()


def test_sampling_takes_place_where_it_is_asked_for() -> None:
    h, edge_index, pairs = torch.randn(N, WIDTH, dtype=F64), graph(), pairs_of()
    exact = build(NCNC, dropout=0.0)(h, edge_index, pairs)
    in_training = build(NCNC, dropout=0.0, train_degree=1)
    assert_close(in_training(h, edge_index, pairs), exact)
    assert not torch.allclose(in_training.train()(h, edge_index, pairs), exact)
    assert not torch.allclose(build(NCNC, test_degree=1)(h, edge_index, pairs), exact)


def test_entries_of_the_graph_are_dropped_in_training_only() -> None:
    torch.manual_seed(4)
    adj = as_csr(torch.randint(50, (2, 4000)), 50)
    kept = dropped_entries(adj, 0.3)
    assert abs(kept.num_edges - 2800) < 4 * (4000 * 0.3 * 0.7) ** 0.5
    assert (dense(kept.edge_index, 50) <= dense(adj.edge_index, 50)).all()
    h, edge_index, pairs = torch.randn(N, WIDTH, dtype=F64), graph(), pairs_of()
    for kind in (NCN, NCNC):
        model = build(kind, dropout=0.0, edge_dropout=0.6)
        exact = model(h, edge_index, pairs)
        assert_close(build(kind, dropout=0.0)(h, edge_index, pairs), exact)
        assert not torch.allclose(model.train()(h, edge_index, pairs), exact)


def test_what_is_out_of_range_is_refused() -> None:
    for options, message in (
        ({"depth": -1}, "NCNC: depth=-1; pass 0 or more"),
        ({"train_degree": 0}, "NCNC: train_degree=0; pass 1 or more"),
        ({"test_degree": 0}, "NCNC: test_degree=0; pass 1 or more"),
        ({"split_size": 0}, "NCNC: split_size=0; pass 1 or more"),
        ({"prior": 0.0}, "NCNC: prior=0.0; pass a number above 0"),
        ({"dropout": 1.0}, "NCNC: dropout=1.0; pass a number from 0 to below 1"),
    ):
        with pytest.raises(ValueError, match=message):
            NCNC(WIDTH, HIDDEN, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pairs names node 25 but the graph has 25 nodes"):
        build()(torch.randn(N, WIDTH, dtype=F64), graph(), torch.tensor([[0], [N]]))
