"""DeepWalk, node2vec and Walklets: skip-gram over random walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.sgns import Sgns, parts
from gnnlib.sparse import CSR, random_walk
from gnnlib.sparse.ops.random_walk import Adjacency
from gnnlib.sparse.ops.skipgram import walk_windows

__all__ = ["DeepWalk", "Node2Vec", "Walklets"]

#: Nodes of walks that are kept; a larger corpus is walked again for each pass, the same walks each time.
KEPT = 1 << 28


@dataclass(eq=False, repr=False)
class _OverWalks(NodeEmbedding):
    """Skip-gram over random walks: the parameters that all of these methods have, each with its own defaults.

    The constructors are made from the fields, and scikit-learn reads its parameters from the constructors.
    """

    dim: int = 128
    _: KW_ONLY
    num_walks: int = 80
    walk_length: int = 40
    window: int = 10
    negative: int = 5
    epochs: int = 1
    lr: float = 0.025
    device: str = "cpu"
    seed: int = 0

    def _bias(self) -> tuple[float, float, Adjacency]:
        """p, q and what adjacent means, see :func:`gnnlib.sparse.random_walk`."""
        return 1.0, 1.0, "out"

    def _embed(self, graph: CSR) -> Tensor:
        self._check()
        return self._train(_Corpus(self, graph), 0)

    def _check(self) -> None:
        self._whole(dim=1, num_walks=1, walk_length=2, window=1, negative=1, epochs=1)
        self._above_0("lr")

    def _train(self, corpus: _Corpus, offset: int) -> Tensor:
        total = self.epochs * corpus.size
        trainer = Sgns(
            corpus.num_nodes, self.dim, self.negative, self.lr, total, self.seed * 4 + 2, corpus.count,
            spread=1.0,
        )  # fmt: skip
        for epoch in range(self.epochs):
            for number, walks in corpus.rounds():
                for start, part in parts(walks):
                    first = (epoch * self.num_walks + number) * corpus.num_nodes + start
                    trainer.step(*walk_windows(part, self.window, self.seed * 4 + 1, first, offset))
                self._tell("training", epoch * self.num_walks + number + 1, self.epochs * self.num_walks)
        return trainer.vectors


@dataclass(eq=False, repr=False)
class Node2Vec(_OverWalks):
    r"""node2vec: skip-gram over second-order random walks.

    .. math:: \max \sum_{(u, v)} \log \sigma(w_u \cdot c_v) + K\, E_{n \sim P} \log \sigma(- w_u \cdot c_n)

    over the pairs of a window on walks that return with weight 1/p and leave the neighbourhood of the last
    node with weight 1/q. Grover and Leskovec, node2vec, KDD 2016, Sec. 3. As in word2vec the half width of
    each window is drawn from 1 to ``window``, P is in proportion to the visits to the power 0.75, the
    learning rate falls in a line, and a centre moves with each of its contexts in turn. A centre's negatives
    are shared by its contexts, and the centres of a block of up to 64 (512 on a GPU) begin with the same
    tables. Vectors w begin evenly in -1 / dim .. 1 / dim, as gensim's do and twice as wide as word2vec's.

    Args:
        dim: columns of the embedding.
        p: return parameter, above 0; low values keep walks near.
        q: in-out parameter, above 0; low values send them outward.
        num_walks: walks from each node.
        walk_length: nodes of a walk.
        window: largest half width of a window, in steps.
        negative: negatives of each centre.
        epochs: passes over the walks.
        lr: first learning rate, above 0.
        adjacency: for directed graphs, see :func:`gnnlib.sparse.random_walk`.
        device: where walks and tables live. On a CPU the result has the same bits for a seed on any number of
            threads; on a GPU torch adds up what centres move, in no fixed order.
        seed: of walks, windows, negatives and start.

    Shapes: a graph of N nodes -> ``embedding_`` float32 ``[N, dim]``. A node without edges keeps its small
        random start.
    Cost: N num_walks walk_length (window + 1) (negative + 1) dim multiplications and additions, three times.
    Raises: ValueError for a parameter out of range or a weight that is negative or not finite.
    """

    p: float = 1.0
    q: float = 1.0
    _: KW_ONLY
    num_walks: int = 10
    walk_length: int = 80
    adjacency: Adjacency = "out"

    def _check(self) -> None:
        super()._check()
        self._above_0("p", "q")

    def _bias(self) -> tuple[float, float, Adjacency]:
        return self.p, self.q, self.adjacency


class DeepWalk(_OverWalks):
    """DeepWalk: skip-gram over uniform (or weighted) random walks.

    Node2Vec's walk with p = q = 1, trained by negative sampling where the paper has a hierarchical softmax.
    Perozzi, Al-Rfou and Skiena, DeepWalk, KDD 2014, Alg. 1 and 2. Arguments and results are those of
    :class:`Node2Vec`; the defaults 80 walks of 40 nodes are the authors' for BlogCatalog.
    """


@dataclass(eq=False, repr=False)
class Walklets(_OverWalks):
    """Walklets: one skip-gram model for each distance on a walk, side by side.

    Model k sees only the pairs of nodes that are exactly k steps apart. Perozzi, Kulkarni, Chen and Skiena,
    Don't Walk, Skip!, ASONAM 2017, Sec. 3. Arguments are those of :class:`Node2Vec`; ``window`` is the
    number of distances and each gets dim / window columns.

    Raises: ValueError when ``window`` does not divide ``dim``.
    """

    _: KW_ONLY
    window: int = 4

    def _embed(self, graph: CSR) -> Tensor:
        self._check()
        if self.dim % self.window:
            raise ValueError(
                f"Walklets: dim={self.dim} is not divisible by window={self.window}; each distance gets "
                f"as many"
            )
        corpus, whole = _Corpus(self, graph), self.dim
        try:
            self.dim = whole // self.window
            return torch.cat([self._train(corpus, k) for k in range(1, self.window + 1)], dim=1)
        finally:
            self.dim = whole


class _Corpus:
    """The walks of an estimator: a round starts once from every node, in an order of its own."""

    def __init__(self, method: _OverWalks, graph: CSR) -> None:
        self.method, self.graph, self.num_nodes = method, graph, graph.num_rows
        self.count = torch.zeros(self.num_nodes, dtype=torch.int64, device=graph.device)
        self.kept: list[Tensor] | None = None
        if self.num_nodes * method.num_walks * method.walk_length <= KEPT:
            self.kept = [self._walk(number) for number in range(method.num_walks)]
        for _, walks in self.rounds():
            flat = walks.view(-1).long()
            self.count += flat[flat >= 0].bincount(minlength=self.num_nodes)
        self.size = int(self.count.sum())

    def rounds(self) -> Iterator[tuple[int, Tensor]]:
        """Every round with its number."""
        for number in range(self.method.num_walks):
            yield number, self._walk(number) if self.kept is None else self.kept[number]

    def _walk(self, number: int) -> Tensor:
        method = self.method
        draw = torch.Generator().manual_seed((method.seed * 4 + 3 + number * 0x9E3779B9) & (2**63 - 1))
        start = torch.randperm(self.num_nodes, generator=draw).to(self.graph.device)
        method._tell("walking", number + 1, method.num_walks)
        p, q, adjacency = method._bias()
        return random_walk(
            self.graph,
            start,
            method.walk_length,
            p=p,
            q=q,
            adjacency=adjacency,
            seed=method.seed * 4,
            first=number * self.num_nodes,
        )
