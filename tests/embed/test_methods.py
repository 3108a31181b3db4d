"""The estimators: scikit-learn's habits, and each method against its formula in dense float64."""

from __future__ import annotations

import inspect
from typing import Any

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch_geometric.data import Data

from gnnlib import as_csr
from gnnlib.embed import (
    HOPE,
    LINE,
    DeepWalk,
    FastRP,
    GraRep,
    NetMF,
    Node2Vec,
    ProNE,
    RandNE,
    Walklets,
    projection,
)
from gnnlib.embed.factor import spectral_propagate
from gnnlib.embed.methods import METHODS
from gnnlib.sparse import use_backend
from gnnlib.sparse.ops.sparse_projection import sparse_projection

KARATE = networkx.karate_club_graph()
SMALL: dict[str, Any] = {
    "deepwalk": DeepWalk(16, num_walks=4, walk_length=10, window=3),
    "node2vec": Node2Vec(10, p=0.5, q=2.0, num_walks=4, walk_length=10, window=3),
    "walklets": Walklets(16, num_walks=4, walk_length=10, window=2),
    "line": LINE(8, samples=4000),
    "fastrp": FastRP(32),
    "randne": RandNE(8),
    "netmf": NetMF(8, window=3),
    "grarep": GraRep(8, steps=2),
    "hope": HOPE(8),
    "prone": ProNE(8),
}


def test_constructors_say_all_parameters() -> None:
    """They are made of fields; scikit-learn reads them."""
    shared = {"dim", "num_walks", "walk_length", "window", "negative", "epochs", "lr", "device", "seed"}
    assert set(DeepWalk().get_params()) == set(Walklets().get_params()) == shared
    assert set(Node2Vec().get_params()) == shared | {"p", "q", "adjacency"}
    assert list(inspect.signature(Node2Vec).parameters)[:3] == ["dim", "p", "q"]
    assert Node2Vec(32, 0.5, 2.0).get_params() | {"num_walks": 10} == Node2Vec(32, q=2.0, p=0.5).get_params()
    assert (DeepWalk().num_walks, Node2Vec().num_walks, Walklets().window) == (80, 10, 4)
    assert repr(DeepWalk(16)) == "DeepWalk(dim=16)"
    with pytest.raises(TypeError):
        DeepWalk(16, 80)  # type: ignore[call-arg, misc]
    with pytest.raises(TypeError):
        DeepWalk(p=2.0)  # type: ignore[call-arg]


def edges(graph: networkx.Graph, num_nodes: int) -> torch.Tensor:
    pairs = torch.tensor([(a, b) for a, b in graph.edges]).t()
    return torch.cat([pairs, pairs.flip(0)], dim=1)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_habits_of_scikit_learn(name: str) -> None:
    method = SMALL[name]
    other = clone(method)
    assert other.get_params() == method.get_params()
    embedding = other.fit_transform(KARATE)
    assert embedding.dtype == np.float32
    assert embedding.shape[0] == 34
    assert np.isfinite(embedding).all()
    assert other.embedding_ is embedding
    assert not other.isolated_.any()
    assert np.array_equal(other.transform([3, 1]), embedding[[3, 1]])
    with pytest.raises(ValueError, match="nodes run from 0 to 34 but the fitted graph has 34"):
        other.transform([0, 34])
    for call in (clone(method).transform, clone(method).get_feature_names_out):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call()
    mask = np.arange(34) == 5
    assert np.array_equal(other.transform(mask), embedding[5:6])
    with pytest.raises(ValueError, match=r"got shape \[2, 156\]; another graph needs a fit of its own"):
        other.transform(edges(KARATE, 34))
    with pytest.raises(TypeError, match="nodes are float64; pass node numbers as integers"):
        other.transform([0.5])
    names = other.get_feature_names_out()
    assert len(names) == embedding.shape[1]
    assert names[1] == f"{type(method).__name__.lower()}1"
    assert np.array_equal(clone(method).fit_transform(KARATE), embedding)
    if name not in ("netmf", "grarep", "hope", "prone"):  # those draw a sketch alone
        assert not np.allclose(clone(method).set_params(seed=1).fit_transform(KARATE), embedding)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_form_of_a_graph_gives_the_same_bits(name: str) -> None:
    plain = networkx.Graph(KARATE.edges)
    plain = networkx.relabel_nodes(plain, {})
    index = edges(KARATE, 34)
    adj = as_csr(index, 34)
    matrix = scipy.sparse.csr_matrix((np.ones(index.shape[1]), index.numpy()), shape=(34, 34))
    ordered = networkx.Graph()
    ordered.add_nodes_from(range(34))
    ordered.add_edges_from(plain.edges)
    forms = [index, adj, matrix, Data(edge_index=index, num_nodes=34), ordered]
    found = [clone(SMALL[name]).fit_transform(form) for form in forms]
    for other in found[1:]:
        assert np.allclose(other, found[0], atol=1e-5)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_isolated_nodes(name: str) -> None:
    embedding = clone(SMALL[name]).fit(edges(KARATE, 34), num_nodes=36)
    assert embedding.isolated_.tolist() == [False] * 34 + [True] * 2
    assert np.isfinite(embedding.embedding_).all()
    assert embedding.embedding_.shape[0] == 36


@pytest.mark.parametrize("method", [SMALL["node2vec"], SMALL["line"]], ids=["node2vec", "line"])
def test_threads_give_the_same_bits(method: Any) -> None:
    threads, found = torch.get_num_threads(), []
    graph = networkx.barabasi_albert_graph(300, 4, seed=0)
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(clone(method).set_params(dim=64).fit_transform(graph))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(*found)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_more_columns_than_nodes(name: str) -> None:
    small = {"num_walks": 1, "walk_length": 4, "samples": 100, "epochs": 1, "steps": 2, "window": 4}
    method = METHODS[name]()
    known = method.get_params()
    method.set_params(**{k: v for k, v in small.items() if k in known})
    for graph, n in ((edges(networkx.path_graph(2), 2), 2), (KARATE, 34)):
        given = {"features": torch.rand(n, 3)} if name == "fie" else {}
        if "dim" in known:
            method.set_params(dim=64)
        z = method.fit_transform(graph if name != "sarkar" else networkx.path_graph(n), **given)
        columns = (64 * (2 if name == "line" else 1)) if "dim" in known else z.shape[1]
        assert z.shape == (n, columns)
        assert np.isfinite(z).all()
        if name in ("netmf", "prone", "randne", "hmds"):
            assert not z[:, n:].any()
        if name == "hope":  # sources first, whatever the rank
            assert not z[:, n:32].any()
            assert not z[:, 32 + n :].any()
            assert z[:, 32].any()
        if name == "grarep":
            assert not z[:, n:32].any()
            assert not z[:, 32 + n :].any()


@pytest.mark.parametrize("name", sorted(SMALL))
def test_no_nodes(name: str) -> None:
    method = clone(SMALL[name])
    found = method.fit_transform(torch.empty(2, 0, dtype=torch.int64), num_nodes=0)
    assert found.shape == (0, method.fit_transform(KARATE).shape[1])


def test_wide_hope_still_multiplies_to_the_proximities() -> None:
    narrow, broad = (HOPE(d, seed=1).fit_transform(KARATE) for d in (68, 100))
    half = 50
    assert np.allclose(broad[:, :half] @ broad[:, half:].T, narrow[:, :34] @ narrow[:, 34:].T, atol=1e-4)


def test_two_cliques_come_apart() -> None:
    graph = networkx.barbell_graph(12, 0)
    for method in (
        DeepWalk(32, num_walks=60, walk_length=20, window=4, lr=0.1),
        LINE(32, "both", samples=200_000),
    ):
        z = method.fit_transform(graph)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        cosine = z @ z.T
        for i in range(24):
            own = np.arange(24) // 12 == i // 12
            inside = cosine[i, own & (np.arange(24) != i)].mean()
            assert inside > cosine[i, ~own].mean()


def dense(weighted: bool = False) -> tuple[torch.Tensor, torch.Tensor | None, np.ndarray]:
    index = edges(KARATE, 34)
    weight = torch.rand(78).repeat(2) + 0.5 if weighted else None
    a = np.zeros((34, 34))
    np.add.at(a, tuple(index.numpy()), 1.0 if weight is None else weight.double().numpy())
    return index, weight, a


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_fastrp_equals_its_formula(weighted: bool, normalize: bool) -> None:
    index, weight, a = dense(weighted)
    graph = Data(edge_index=index, edge_weight=weight, num_nodes=34)
    method = FastRP(24, (0.0, 1.0, 2.5), beta=-0.4, normalize=normalize, standardize=False, seed=3)
    degree = a.sum(1)
    term = (degree / degree.sum())[:, None] ** -0.4 * sparse_projection(
        torch.ones(34), 24, 3.0, 3
    ).double().numpy()
    wanted = 0
    for alpha in (0.0, 1.0, 2.5):
        term = a / degree[:, None] @ term
        wanted = wanted + alpha * (term / np.linalg.norm(term, axis=1, keepdims=True) if normalize else term)
    assert np.allclose(method.fit_transform(graph), wanted, rtol=1e-4, atol=1e-5)


def test_the_projection_has_its_moments() -> None:
    r = sparse_projection(torch.ones(9000), 64, 3.0, 0)
    assert abs(float(r.mean())) < 0.01
    assert abs(float(r.var()) - 1) < 0.01
    assert abs(float((r == 0).float().mean()) - 2 / 3) < 0.005
    assert abs(float((r[:, ::2] * r[:, 1::2]).mean())) < 0.01  # two columns share a word
    assert torch.equal(r[:50, :63], sparse_projection(torch.ones(50), 63, 3.0, 0))
    scale = torch.rand(50)
    with use_backend("reference"):
        assert torch.equal(sparse_projection(scale, 63, 3.0, 0), scale[:, None] * r[:50, :63])
    assert not torch.equal(r, sparse_projection(torch.ones(9000), 64, 3.0, 1))


def test_netmf_equals_its_symmetric_form() -> None:
    index, _, a = dense()
    degree, total = a.sum(1), np.zeros_like(a)
    normal = a / np.sqrt(degree[:, None] * degree)
    for t in range(1, 6):
        total += np.linalg.matrix_power(normal, t)
    total = degree.sum() / 5 * total / np.sqrt(degree[:, None] * degree)
    matrix = NetMF(8, window=5).matrix(as_csr(index, 34))
    assert np.allclose(matrix, np.log(np.maximum(total, 1)), atol=1e-4)
    z = NetMF(8, window=5).fit_transform(index)
    s = np.linalg.svd(matrix.double().numpy(), compute_uv=False)[:8]
    assert np.allclose((z.astype(float) ** 2).sum(0), s, rtol=1e-3)  # columns of U sqrt(S)


def test_hope_products_approach_the_katz_proximities() -> None:
    index = torch.cat([edges(KARATE, 34)[:, :120], torch.tensor([[0, 3], [33, 30]])], dim=1)  # directed
    a = np.zeros((34, 34))
    np.add.at(a, tuple(index.numpy()), 1.0)
    beta = 0.05
    katz = np.linalg.inv(np.eye(34) - beta * a) @ (beta * a)
    z = HOPE(64, beta=beta).fit_transform(index, num_nodes=34)
    u, s, vt = np.linalg.svd(katz)
    assert np.allclose(z[:, :32] @ z[:, 32:].T, u[:, :32] * s[:32] @ vt[:32], atol=1e-4)
    with pytest.raises(ValueError, match="HOPE: beta=9 but the series needs less than"):
        HOPE(8, beta=9.0).fit(index, num_nodes=34)


def test_the_filter_of_prone_is_its_chebyshev_sum() -> None:
    from scipy.special import iv

    index, _, a = dense()
    r = torch.randn(34, 6)
    walk = (a + np.eye(34)) / (a.sum(1) + 1)[:, None]
    m = np.eye(34) - walk - 0.1 * np.eye(34)
    terms = [np.eye(34), 0.5 * m @ m - np.eye(34)]
    for _ in range(8):
        terms.append(m @ m @ terms[-1] - 2 * terms[-1] - terms[-2])
    conv = iv(0, 0.5) * terms[0] - 2 * iv(1, 0.5) * terms[1]
    conv = conv + sum((-1) ** i * 2 * iv(i, 0.5) * terms[i] for i in range(2, 10))
    filtered = (a + np.eye(34)) @ (r.double().numpy() - conv @ r.double().numpy())
    u, s, _ = np.linalg.svd(filtered, full_matrices=False)
    wanted = u * np.sqrt(s)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = spectral_propagate(r, as_csr(index, 34)).double().numpy()
    assert np.allclose(np.abs(found), np.abs(wanted), atol=2e-3)


NO_RATES = (float("nan"), float("inf"), 0, -1)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Node2Vec(0), "Node2Vec: dim=0; expected 1 or more"),
        (Node2Vec(4, p=0), "p=0; expected a finite number above 0"),
        *((Node2Vec(4, lr=lr), f"Node2Vec: lr={lr}; expected a finite number above 0") for lr in NO_RATES),
        *((LINE(4, lr=lr), f"LINE: lr={lr}; expected a finite number above 0") for lr in NO_RATES),
        (LINE(4, samples=0), "LINE: samples=0; expected 1 or more"),
        (LINE(4, samples=-5), "LINE: samples=-5; expected 1 or more"),
        (ProNE(2.5), "ProNE: dim=2.5; expected a whole number"),  # type: ignore[arg-type]
        (FastRP(4, seed=0.5), "FastRP: seed=0.5; expected a whole number"),  # type: ignore[arg-type]
        (FastRP(4, sparsity=0.5), "FastRP: sparsity=0.5; expected 1 or more"),
        (FastRP(4, beta=float("nan")), "FastRP: beta=nan; expected a finite number"),
        (NetMF(4, negative=0), "NetMF: negative=0; expected a finite number above 0"),
        (HOPE(4, beta=float("nan")), "HOPE: beta=nan; expected a finite number above 0"),
        (Node2Vec(4, device="tpu"), "Node2Vec: device='tpu' is none; choose cpu or cuda"),
        (ProNE(4, device="cuda:9"), r"ProNE: device='cuda:9' is not here \(.*\); choose cpu"),
        (Walklets(9, window=2), "Walklets: dim=9 is not divisible by window=2"),
        (LINE(4, 1), "LINE: order 1 is undefined on a directed graph"),
        (FastRP(4, ()), "FastRP: weights is empty"),
        (HOPE(3), "HOPE: dim=3 is odd"),
        (GraRep(9, steps=2), "GraRep: dim=9 is not divisible by steps=2"),
    ],
)
def test_bad_parameters_are_told(method: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method.fit(torch.tensor([[0, 1], [1, 2]]))


@pytest.mark.parametrize("method", [Node2Vec("abc"), NetMF("abc"), FastRP("abc")])  # type: ignore[arg-type]
def test_parameters_of_another_kind_are_told(method: Any) -> None:
    with pytest.raises(TypeError, match="dim='abc' is a str; expected a number"):
        method.fit(torch.tensor([[0, 1], [1, 2]]))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_any_whole_number_is_a_seed(name: str) -> None:
    for seed in (2**70, 2**63 - 1, -1):
        found = clone(SMALL[name]).set_params(seed=seed).fit_transform(KARATE)
        assert np.isfinite(found).all()


def test_columns_are_standardized_and_constant_ones_left() -> None:
    x = torch.randn(9000, 4, dtype=torch.float64) * torch.tensor([1.0, 50.0, 0.0, 0.01]) + 3.7
    x[:, 3] -= 3.7
    found = x.float()
    projection._standardize(found)
    wanted = (x - x.mean(0)) / torch.where(x.var(0) > 1e-9, x.std(0, correction=0), 1.0)
    torch.testing.assert_close(found.double(), wanted, atol=2e-4, rtol=2e-4)
