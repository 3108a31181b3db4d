"""How good an embedding is: labels of nodes with the known-k rule, and links from pairs of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding, check_nodes
from gnnlib.embed.graph import as_graph, has_reverses, out_weight
from gnnlib.names import choose
from gnnlib.sparse import CSR, as_csr

__all__ = [
    "classify_nodes",
    "classify_split",
    "edge_features",
    "known_k",
    "OPERATORS",
    "predict_links",
    "split_links",
]

Floats: TypeAlias = NDArray[np.float64]
Operator: TypeAlias = Literal["average", "hadamard", "l1", "l2"]
#: How two rows become one (Grover and Leskovec, node2vec, KDD 2016, Table 1).
OPERATORS: tuple[Operator, ...] = ("average", "hadamard", "l1", "l2")


def one_vs_rest(x: ArrayLike, y: ArrayLike, C: float = 1.0) -> tuple[Floats, Floats]:
    """Logistic regression of every column of y at once, by L-BFGS on their sum.

    The labels share one matrix product an iteration; as the sum has no common term, the optimum is that of
    each label alone: 1/2 |w|^2 + C times the log loss, the intercept free.
    """
    from scipy.optimize import minimize

    features = torch.as_tensor(np.asarray(x, dtype=np.float64))
    sign = torch.as_tensor(2.0 * (np.asarray(y) > 0) - 1.0)
    d, labels = features.shape[1], sign.shape[1]

    def loss(flat: Floats) -> tuple[float, Floats]:
        both = torch.from_numpy(flat).view(d + 1, labels)
        margin = sign * torch.addmm(both[d], features, both[:d])
        pull = -C * sign * torch.sigmoid(-margin)
        value = 0.5 * both[:d].square().sum() + C * torch.nn.functional.softplus(-margin).sum()
        grad = torch.cat([both[:d] + features.t() @ pull, pull.sum(0, keepdim=True)])
        return float(value), grad.view(-1).numpy()

    found = minimize(
        loss,
        np.zeros((d + 1) * labels),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 200, "ftol": 1e-8, "maxcor": 20},
    )
    both = found.x.reshape(d + 1, labels)
    return both[:d], both[d]


def _rows(who: str, embedding: ArrayLike) -> NDArray[Any]:
    rows = np.asarray(embedding)
    if rows.ndim != 2:
        raise ValueError(f"{who}: the embedding has shape {list(rows.shape)}; expected [N, D]")
    if wrong := int((~np.isfinite(rows)).any(1).sum()):
        raise ValueError(
            f"{who}: {wrong} of {len(rows)} rows of the embedding hold NaN or infinity; check its fit"
        )
    return rows


def check_penalty(who: str, C: float) -> None:
    if not 0 < C < np.inf:
        raise ValueError(f"{who}: C={C}; expected a finite number above 0")


def known_k(score: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
    """For each node as many labels as it truly has, those with the highest scores; none for none.

    Shapes: score and y ``[n, labels]`` -> bool ``[n, labels]``.
    """
    values, count = np.asarray(score), (np.asarray(y) > 0).sum(1)
    rank = np.empty(values.shape, np.int64)
    order = np.argsort(-values, axis=1, kind="stable")
    np.put_along_axis(rank, order, np.arange(values.shape[1])[None], axis=1)
    found: NDArray[np.bool_] = rank < count[:, None]
    return found


def f1(predicted: NDArray[np.bool_], y: NDArray[np.bool_]) -> tuple[float, float]:
    """Micro and macro F1 over all label columns; an undefined F1 is 0."""
    hits = (predicted & y).sum(0).astype(float)
    sizes = (predicted.sum(0) + y.sum(0)).astype(float)
    each = np.divide(2 * hits, sizes, out=np.zeros_like(hits), where=sizes > 0)
    micro = 2 * hits.sum() / sizes.sum() if sizes.sum() else 0.0
    return float(micro), float(each.mean())


def classify_nodes(
    embedding: ArrayLike,
    y: ArrayLike,
    *,
    fractions: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    shuffles: int = 10,
    C: float = 1.0,
    seed: int = 0,
) -> dict[float, dict[str, float]]:
    """Micro and macro F1 of logistic regression on an embedding, by share of labelled nodes.

    The protocol of DeepWalk's ``scoring.py``: for every shuffle and share, one-vs-rest logistic regression
    on the first nodes of a permutation; a test node with k labels is given its k most likely ones. A
    label that no training node has is never more likely than one that some has.

    Args:
        embedding: one row a node; used as it is, without standardising.
        y: classes ``[N]``, or labels ``[N, labels]`` of which any number may be set.
        fractions: shares of the nodes with known labels, each in (0, 1).
        shuffles: permutations, of seeds ``seed``, ``seed + 1``, ...
        C: inverse strength of the penalty; results depend on it.
        seed: of the first permutation.

    Returns: share -> ``micro_f1`` and ``macro_f1``, means over the shuffles, and their deviations
        ``..._std``.
    Raises: ValueError when the rows of embedding and y differ in number, an entry of the embedding is not
        finite, C is not above 0, there are no shuffles, a share is out of range, or a training part is empty
        or without labels.
    """
    rows = _rows("classify_nodes", embedding)
    check_penalty("classify_nodes", C)
    if shuffles < 1:
        raise ValueError(f"classify_nodes: shuffles={shuffles}; expected 1 or more")
    labels = np.asarray(y)
    if labels.ndim == 1:
        labels = labels[:, None] == np.unique(labels)[None]
    labels = labels > 0
    if len(rows) != len(labels):
        raise ValueError(
            f"classify_nodes: the embedding has {len(rows)} rows but y has {len(labels)}; pass one row a node"
        )
    found = {}
    for fraction in fractions:
        if not 0 < fraction < 1:
            raise ValueError(f"classify_nodes: fraction={fraction}; expected a share between 0 and 1")
        if int(fraction * len(rows)) < 1:
            raise ValueError(
                f"classify_nodes: fraction={fraction} of {len(rows)} nodes leaves none to train on; pass "
                "larger fractions"
            )
        scores = []
        for shuffle in range(shuffles):
            order = np.random.RandomState((seed + shuffle) % 2**32).permutation(len(rows))
            train, test = np.split(order, [int(fraction * len(rows))])
            known = labels[train].any(0)
            if not known.any():
                raise ValueError(
                    f"classify_nodes: fraction={fraction} with seed {seed + shuffle} trains on {len(train)} "
                    "nodes without a label; pass larger fractions, or labelled nodes alone"
                )
            weight, bias = one_vs_rest(rows[train], labels[train][:, known], C)
            score = np.full(labels[test].shape, -np.inf)
            score[:, known] = rows[test] @ weight + bias
            scores.append(f1(known_k(score, labels[test]), labels[test]))
        mean, std = np.mean(scores, axis=0), np.std(scores, axis=0)
        found[fraction] = {
            "micro_f1": float(mean[0]),
            "macro_f1": float(mean[1]),
            "micro_f1_std": float(std[0]),
            "macro_f1_std": float(std[1]),
        }
    return found


def classify_split(
    embedding: ArrayLike, y: ArrayLike, split: Any, *, Cs: Sequence[float] = tuple(np.logspace(-4, 5, 19))
) -> dict[str, float]:
    """Accuracy of multinomial logistic regression on a fixed split, its penalty chosen by validation.

    Args:
        embedding: one row a node; used as it is.
        y: classes ``[N]``.
        split: ``train``, ``val`` and ``test``, node numbers each.
        Cs: inverse strengths of the penalty to choose from; of equally good ones the smallest.

    Returns: ``accuracy`` on the test part, ``val`` on the validation part, and ``C``.
    Raises: ValueError when a part is empty, an entry of the embedding is not finite, or a C is not above 0.
    """
    from sklearn.linear_model import LogisticRegression

    rows, classes = _rows("classify_split", embedding).astype(np.float64), np.asarray(y)
    for C in Cs:
        check_penalty("classify_split", C)
    train, val, test = (np.asarray(part) for part in (split.train, split.val, split.test))
    for name, part in (("training", train), ("validation", val), ("test", test)):
        if not len(part):
            raise ValueError(
                f"classify_split: the split has no {name} part; use classify_nodes, which draws its own"
            )
    best: dict[str, float] = {"val": -1.0}
    for C in sorted(Cs):
        fitted = LogisticRegression(C=C, max_iter=500).fit(rows[train], classes[train])
        reached = float(fitted.score(rows[val], classes[val]))
        if reached > best["val"]:
            best = {"accuracy": float(fitted.score(rows[test], classes[test])), "val": reached, "C": float(C)}
    return best


def edge_features(embedding: ArrayLike, pairs: ArrayLike, operator: Operator) -> NDArray[np.float32]:
    """One row for each pair of nodes, the same for both orders of a pair.

    Args:
        embedding: one row a node.
        pairs: node numbers.
        operator: ``"average"``, ``"hadamard"`` (product), ``"l1"`` (absolute difference) or ``"l2"`` (its
            square).

    Shapes: embedding ``[N, D]``, pairs ``[2, P]`` -> float32 ``[P, D]``.
    Raises: ValueError for an unknown operator, pairs of another shape, or nodes that have no row; TypeError
        for pairs that are no whole numbers.
    """
    choose("edge_features: operator", operator, OPERATORS)
    rows, ends = np.asarray(embedding, dtype=np.float32), np.asarray(pairs)
    if ends.ndim != 2 or ends.shape[0] != 2:
        turn = "; transpose them" if ends.ndim == 2 and ends.shape[1] == 2 else ""
        raise ValueError(f"edge_features: pairs have shape {list(ends.shape)}; expected [2, P]{turn}")
    check_nodes("edge_features: pairs", ends, len(rows))
    u, v = ends
    a, b = rows[u], rows[v]
    made = {
        "average": lambda: (a + b) / 2,
        "hadamard": lambda: a * b,
        "l1": lambda: np.abs(a - b),
        "l2": lambda: (a - b) ** 2,
    }
    found: NDArray[np.float32] = made[operator]()
    return found


def split_links(graph: Any, share: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Take edges out of an undirected graph so that no component falls apart, and draw as many non-edges.

    A random spanning forest stays; the removed edges are drawn from the others (node2vec, Sec. 4.4). Weights
    play no part in it, and a graph is undirected when every edge has its reverse, of whatever weight.

    Shapes: -> the remaining ``edge_index`` ``[2, E']`` in both directions, removed pairs ``[2, P]`` and
        non-edges of the whole graph ``[2, P]``.
    Raises: ValueError for a directed graph, a share that leaves or takes nothing, or a graph with fewer
        edges outside a spanning forest, or fewer non-edges, than are asked for.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    csr = as_graph(graph)
    if not has_reverses(csr):
        raise ValueError("split_links: the graph is directed; pass both directions of each edge")
    n = csr.num_rows
    row, col = csr.rows.numpy(), csr.indices.long().numpy()
    key = np.unique(row[row < col] * n + col[row < col])
    random = np.random.RandomState(seed % 2**32)
    pairs = np.stack([key // n, key % n])
    cost = random.permutation(len(key)) + 1.0
    tree = minimum_spanning_tree(coo_matrix((cost, pairs), shape=(n, n))).tocoo()
    in_tree = np.isin(
        key, np.minimum(tree.row, tree.col).astype(np.int64) * n + np.maximum(tree.row, tree.col)
    )
    free = np.flatnonzero(~in_tree)
    if not 0 < share < 1:
        raise ValueError(f"split_links: share={share}; expected a share of the edges between 0 and 1")
    count = int(share * len(key))
    if count < 1:
        raise ValueError(f"split_links: share={share} of {len(key)} edges is none; ask for more")
    if count > n * (n - 1) // 2 - len(key):
        raise ValueError(
            f"split_links: {count} pairs without an edge are wanted but the graph has "
            f"{n * (n - 1) // 2 - len(key)}; ask for less"
        )
    if count > len(free):
        raise ValueError(
            f"split_links: {count} edges are to go but only {len(free)} lie outside a spanning forest; "
            f"ask for less"
        )
    gone = np.zeros(len(key), bool)
    gone[random.permutation(free)[:count]] = True
    absent = np.empty(0, np.int64)
    while len(absent) < count:
        a, b = random.randint(0, n, (2, 2 * count + 16))
        drawn = (np.minimum(a, b) * n + np.maximum(a, b))[a != b]
        absent = np.concatenate([absent, drawn[~np.isin(drawn, key)]])
        absent = absent[np.sort(np.unique(absent, return_index=True)[1])]
    kept = torch.from_numpy(pairs[:, ~gone])
    negatives = torch.from_numpy(np.stack([absent[:count] // n, absent[:count] % n]))
    return torch.cat([kept, kept.flip(0)], dim=1), torch.from_numpy(pairs[:, gone]), negatives


def predict_links(
    method: NodeEmbedding,
    graph: Any,
    *,
    share: float = 0.5,
    C: float = 1.0,
    seed: int = 0,
) -> Mapping[str, float]:
    """Area under the curve of link prediction from an embedding, for each operator and the plain dot product.

    The method embeds the graph without the removed edges (:func:`split_links`); logistic regression on a
    random half of the removed edges and non-edges is tested on the other half. The edges that remain keep
    their weights: each direction its own, and parallel edges, which are one, their sum.

    Args:
        method: an estimator; it is fitted.
        graph: an undirected graph.
        share: of the edges to remove.
        C: inverse strength of the penalty.
        seed: of the split.

    Returns: ``average``, ``hadamard``, ``l1``, ``l2`` and ``dot``, each an area in [0, 1].
    Raises: what :func:`split_links` raises; ValueError for a C that is not above 0, an embedding that is not
        finite, or so few removed edges that a half has no edges or no others.
    """
    from sklearn.metrics import roc_auc_score

    check_penalty("predict_links", C)
    csr = as_graph(graph)
    kept, removed, absent = split_links(csr, share, seed)
    embedding = _rows("predict_links", method.fit_transform(_weighted(kept, csr)))
    pairs = torch.cat([removed, absent], dim=1).numpy()
    y = np.repeat([1, 0], removed.shape[1])
    order = np.random.RandomState(seed % 2**32).permutation(len(y))
    train, test = np.array_split(order, 2)
    if min(len(np.unique(y[half])) for half in (train, test)) < 2:
        raise ValueError(
            f"predict_links: {removed.shape[1]} removed edges leave a half without both kinds of pairs; take "
            "a larger share or another seed"
        )
    found: dict[str, float] = {}
    for operator in OPERATORS:
        x = edge_features(embedding, pairs, operator)
        weight, bias = one_vs_rest(x[train], y[train, None], C)
        found[operator] = float(roc_auc_score(y[test], (x[test] @ weight + bias)[:, 0]))
    dot = (embedding[pairs[0]] * embedding[pairs[1]]).sum(1)
    found["dot"] = float(roc_auc_score(y[test], dot[test]))
    return found


def _weighted(edge_index: Tensor, whole: CSR) -> CSR:
    """The graph of these edges with the weights that they have in the whole one, sums of parallel ones."""
    out, weight = out_weight(whole)
    n = whole.num_rows
    key, group = torch.unique(out.rows * n + out.indices.long(), return_inverse=True)
    total = torch.zeros(key.numel()).index_add_(0, group, out.to_slots(weight))
    found = total[torch.searchsorted(key, edge_index[0] * n + edge_index[1])]
    return as_csr(edge_index, n).with_value(found)
