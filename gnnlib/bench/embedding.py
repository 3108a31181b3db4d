"""The kinds of work that node embeddings are made of: walks, skip-gram over them, random projections."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnlib.bench.graphs import GRAPHS, Graph, UnavailableError
from gnnlib.bench.peers import sorted_rows
from gnnlib.bench.problems import SMALL, Problem
from gnnlib.bench.timing import Run, alone
from gnnlib.bench.traffic import NOTHING, Traffic, neighbor_pass, node_arrays

Floats = NDArray[np.float64]
#: Micro F1 that counts as the same quality (seeds differ by 0.001 on BlogCatalog with half of the labels).
SAME_QUALITY = 0.015
#: Standard errors that a mean over drawn steps may be off.
SIGMAS = 5.0


def required(package: str) -> Any:
    """A peer's module; refused where it is not installed, or not made for this numpy."""
    if importlib.util.find_spec(package.split(".")[0]) is None:
        raise UnavailableError(
            f"'{package.split('.')[0]}' is not installed; run: pip install 'gnnlib[peers]'"
        )
    try:
        return importlib.import_module(package)
    except (AttributeError, ImportError) as error:
        told = " ".join(str(error).split())
        raise UnavailableError(f"'{package}' does not load beside numpy {np.__version__}: {told}") from error


def _walks_ours(graph: Graph, start: Tensor, length: int, p: float, q: float) -> Callable[[], Tensor]:
    from gnnlib.sparse import as_csr, random_walk

    adj = as_csr(graph.edge_index, graph.num_nodes)
    return lambda: random_walk(adj, start, length, p=p, q=q, seed=0)


def _walks_pecanpy(graph: Graph, start: Tensor, length: int, p: float, q: float) -> Callable[[], Tensor]:
    """Its compiled walks alone: the functions are made once, and no list of texts is made of the result."""
    pecanpy, progress = required("pecanpy.pecanpy"), required("numba_progress").ProgressBar
    import numba

    method = pecanpy.SparseOTF(p=p, q=q, workers=1, random_state=0)
    indptr, indices = (a.numpy().astype(np.uint32) for a in sorted_rows(graph))
    method.set_node_ids([str(i) for i in range(graph.num_nodes)])
    method.indptr, method.indices = indptr, indices
    method.data = np.ones(indices.size, np.float32)
    move, some = method.get_move_forward(), method.get_has_nbrs()
    begin = start.numpy().astype(np.uint32)

    def run() -> Tensor:
        numba.set_num_threads(torch.get_num_threads())
        with progress(total=begin.size, disable=True) as bar:
            found = method._random_walks(begin.size, length - 1, 0, begin, some, move, bar)
        walks = found[:, :-1].astype(np.int64)
        walks[np.arange(length) >= found[:, -1:]] = -1
        return torch.from_numpy(walks)

    return run


def walk_fault(graph: Graph, walks: Tensor, p: float, q: float) -> str | None:
    """What is wrong with walks on an undirected graph, or None.

    Every step has to be an edge, and the share of steps that return has to be the mean of
    their exact probability, w(v, t) / p over the sum of w(v, x) alpha(t, x).
    """
    indptr, indices = (a.numpy() for a in sorted_rows(graph))
    n = graph.num_nodes
    keys = np.unique(np.repeat(np.arange(n), np.diff(indptr)) * n + indices)
    path = walks.numpy().astype(np.int64)
    here, there = path[:, :-1], path[:, 1:]
    step = (here >= 0) & (there >= 0)
    if not np.isin(here[step] * n + there[step], keys).all():
        return "a step of a walk is no edge"
    t, v, x = (part[(path[:, 2:] >= 0)] for part in (path[:, :-2], path[:, 1:-1], path[:, 2:]))
    some = np.random.default_rng(0).permutation(t.size)[:5_000]
    exact = np.empty(some.size)
    for i, k in enumerate(some):
        near = indices[indptr[v[k]] : indptr[v[k] + 1]]
        common = np.isin(near, indices[indptr[t[k]] : indptr[t[k] + 1]])
        alpha = np.where(near == t[k], 1 / p, np.where(common, 1.0, 1 / q))
        exact[i] = alpha[near == t[k]].sum() / alpha.sum()
    seen = x[some] == t[some]
    error = float(np.sqrt((exact * (1 - exact)).sum())) + 1e-12
    if abs(float(seen.sum()) - float(exact.sum())) > SIGMAS * error:
        return f"{seen.mean():.4f} of the steps return, {exact.mean():.4f} are to"
    return None


def node2vec_walks(graph: Graph, *, count: int, length: int, p: float, q: float) -> Problem:
    """Second-order walks of ``length`` nodes from ``count`` nodes, on one thread."""
    order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(0))
    start = order[: min(count, graph.num_nodes)]
    made = {"ours": _walks_ours, "pecanpy": _walks_pecanpy}

    def begin(name: str) -> Run:
        run = made[name](graph, start, length, p, q)
        return lambda: alone(run)

    def verify(name: str) -> str | None:
        return walk_fault(graph, begin(name)(), p, q)

    steps = start.numel() * length  # an offset pair and an index read, and a node written, for each step
    moved = Traffic(steps * (16 + 4 + 4), steps * (16 + 4 + 4))
    return Problem({n: functools.partial(begin, n) for n in made}, verify, moved)


def _corpus(graph: Graph, num_walks: int, length: int) -> Tensor:
    from gnnlib.sparse import as_csr, random_walk

    start = torch.arange(graph.num_nodes).repeat(num_walks)
    order = torch.randperm(start.numel(), generator=torch.Generator().manual_seed(0))
    return random_walk(as_csr(graph.edge_index, graph.num_nodes), start[order], length, seed=0)


def _train_ours(walks: Tensor, num_nodes: int, window: int, negative: int, dim: int) -> Callable[[], Tensor]:
    from gnnlib.embed.sgns import Sgns, parts
    from gnnlib.sparse.ops.skipgram import walk_windows

    seen = walks[walks >= 0].long()
    count = seen.bincount(minlength=num_nodes)

    def run() -> Tensor:
        trainer = Sgns(num_nodes, dim, negative, 0.025, seen.numel(), 2, count, spread=1.0)
        for first, part in parts(walks):
            trainer.step(*walk_windows(part, window, 1, first))
        return trainer.vectors

    return run


def _train_gensim(
    walks: Tensor, num_nodes: int, window: int, negative: int, dim: int
) -> Callable[[], Tensor]:
    """Its training alone: the lists of texts that it reads and its vocabulary are made before the clock."""
    word2vec = required("gensim.models").Word2Vec
    told = [[str(node) for node in walk if node >= 0] for walk in walks.tolist()]
    plain = {"vector_size": dim, "window": window, "negative": negative, "sg": 1, "hs": 0, "epochs": 1}
    model = word2vec(**plain, min_count=0, sample=0, workers=1, alpha=0.025, min_alpha=2.5e-6, seed=1)
    model.build_vocab(told)

    def run() -> Tensor:
        model.init_weights()
        model.train(told, total_examples=len(told), epochs=1)
        row = torch.zeros(num_nodes, dim)
        row[[int(word) for word in model.wv.index_to_key]] = torch.from_numpy(model.wv.vectors)
        return row

    return run


def labels_of(graph: Graph) -> Tensor:
    """The classes or sets of labels of a real graph's nodes."""
    from gnnlib.data import load

    found: Tensor = load(graph.name).dataset[0].y
    return found


def _quality(embedding: Tensor, labels: Tensor) -> float:
    from gnnlib.embed import classify_nodes

    return classify_nodes(embedding, labels, fractions=(0.5,), shuffles=1)[0.5]["micro_f1"]


def skip_gram(
    graph: Graph,
    *,
    num_walks: int,
    length: int,
    checked: tuple[int, int],
    dim: int = 128,
    window: int = 10,
    negative: int = 5,
) -> Problem:
    """One pass of skip-gram over first-order walks, on one thread.

    There is no exact result. Ours is to classify the nodes as well as gensim's, where gensim is installed,
    and far better than the same vectors given to other nodes: on the walks and length of ``checked``, since
    on the few that are timed nothing is learned yet (micro F1 0.17 on BlogCatalog, as without looking).
    """
    walks = _corpus(graph, num_walks, length)
    made = {"ours": _train_ours, "gensim": _train_gensim}

    def begin(name: str, corpus: Tensor = walks) -> Run:
        run = made[name](corpus, graph.num_nodes, window, negative, dim)
        return lambda: alone(run)

    @functools.cache
    def longer() -> Tensor:
        return _corpus(graph, *checked)

    @functools.cache
    def reached(name: str) -> tuple[float, float]:
        vectors, labels = begin(name, longer())(), labels_of(graph)
        other = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(1))
        return _quality(vectors, labels), _quality(vectors[other], labels)

    def verify(name: str) -> str | None:
        got, chance = reached(name)
        if not got > chance + 4 * SAME_QUALITY:
            return f"micro F1 is {got:.4f}, and {chance:.4f} with the rows moved to other nodes"
        try:
            wanted = reached("gensim")[0]
        except UnavailableError:
            return None
        if got < wanted - SAME_QUALITY:
            return f"micro F1 is {got:.4f}, gensim's {wanted:.4f}"
        return None

    pairs = int((walks >= 0).sum()) * (window + 1)  # of each pair the context's row is read and written
    moved = Traffic(2 * 4 * dim * 2 * graph.num_nodes, 2 * 4 * dim * pairs)
    return Problem({n: functools.partial(begin, n) for n in made}, verify, moved)


_WEIGHTS, _BETA, _SPARSITY = (0.0, 0.0, 1.0, 6.67), -0.64, 3.0


def fastrp_formula(graph: Graph, projection: NDArray[Any]) -> Any:
    """FastRP of a projection R by scipy, in R's precision: sum of alpha_k norm(S^k L R), standardised."""
    from scipy.sparse import csr_matrix

    indptr, indices = (a.numpy() for a in sorted_rows(graph))
    degree = np.diff(indptr).astype(projection.dtype)
    inverse = np.divide(1, degree, out=np.zeros_like(degree), where=degree > 0)
    adj = csr_matrix((np.repeat(inverse, np.diff(indptr)), indices.astype(np.int32), indptr.astype(np.int32)))
    adj.resize((graph.num_nodes, graph.num_nodes))
    scale = np.power(degree / degree.sum(), _BETA, out=np.zeros_like(degree), where=degree > 0)
    term = projection * scale[:, None]
    total = np.zeros_like(term)
    for alpha in _WEIGHTS:
        term = adj @ term
        if alpha:
            length = np.linalg.norm(term, axis=1, keepdims=True)
            total += alpha * np.divide(term, length, out=np.zeros_like(term), where=length > 0)
    total -= total.mean(0)
    deviation = total.std(0)
    total /= np.where(deviation > 0, deviation, 1)
    return total


def fast_rp(graph: Graph, *, dim: int, checked_at: float = 0.02) -> Problem:
    """FastRP with the authors' setting for BlogCatalog, the draw of its projection included.

    Results are checked on a smaller draw of the graph: float64 takes a gigabyte and more on this one.
    """
    sample = GRAPHS[graph.name](checked_at) if graph.num_edges > SMALL else graph

    def ours(of: Graph) -> Run:
        from gnnlib.embed import FastRP
        from gnnlib.sparse import as_csr

        adj = as_csr(of.edge_index, of.num_nodes)
        method = FastRP(dim, _WEIGHTS, beta=_BETA, sparsity=_SPARSITY)
        return lambda: method.fit_transform(adj)

    def scipy(of: Graph) -> Run:
        def run() -> Any:
            draw = np.random.default_rng(0).random((of.num_nodes, dim), dtype=np.float32)
            sign = (draw < 0.5 / _SPARSITY).astype(np.float32) - (draw > 1 - 0.5 / _SPARSITY)
            return fastrp_formula(of, np.float32(_SPARSITY**0.5) * sign)

        return run

    made = {"ours": ours, "scipy": scipy}

    def verify(name: str) -> str | None:
        from gnnlib.sparse.ops.sparse_projection import sparse_projection

        got = made[name](sample)()
        if name != "ours":  # its projection is another one
            return None if np.isfinite(got).all() else "it holds numbers that are not finite"
        r = sparse_projection(torch.ones(sample.num_nodes), dim, _SPARSITY, 0).double().numpy()
        off = float(np.abs(got - fastrp_formula(sample, r)).max())
        return None if off < 1e-3 else f"an entry is off by {off:.2g}, columns having a deviation of 1"

    passes = sum((neighbor_pass(graph, dim) for _ in _WEIGHTS), NOTHING)
    needs = {"scipy": 6 * 4 * dim * graph.num_nodes}
    return Problem(
        {n: functools.partial(start, graph) for n, start in made.items()},
        verify,
        passes + node_arrays(graph, dim, 6),
        needs,
    )
