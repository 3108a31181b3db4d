"""Fisher information embedding with labels: the same network, its anchors and mixtures trained."""

from __future__ import annotations

import copy
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from gnnlib.embed.base import NodeEmbedding
from gnnlib.embed.fisher import (
    check_features,
    check_heads,
    fisher_step,
    mixture_means,
    nystroem,
    spherical_kmeans,
)
from gnnlib.embed.graph import as_graph
from gnnlib.names import choose
from gnnlib.sparse import CSR
from gnnlib.sparse.random import as_seed

__all__ = ["FIEConv", "FIENet", "SupervisedFIE"]

Norm = Literal["softmax", "sum"]


class FIEConv(nn.Module):
    r"""One EM step of each neighbourhood from a shared mixture, whose means and biases are trained.

    .. math:: \gamma_{uj} = \operatorname{softmax}_j\big((\hat x_u \cdot \mu_j + b_j) / d\big), \qquad
        \phi(v)_j = \sum_u \frac{a_{uj}}{\sum_{u'} a_{u'j}} x_u - \mu_j

    over the sources u of v, with a = exp(gamma) (``"softmax"``, the authors' code) or gamma (``"sum"``, EM).
    The means have length 1 whatever the parameters' length. Chen, Pellizzoni and Borgwardt, Fisher
    Information Embedding for Node and Graph Learning, ICML 2023, Sec. 3.

    Args:
        in_channels: d.
        n_mixtures: p.
        n_heads: h, mixtures side by side, each over d / h of the columns, which is d in the formula then.
        neighbor_norm: ``"softmax"`` or ``"sum"``.

    Shapes: x ``[N, d]`` and a square graph with its self-loops -> ``[N, p d]``; a node without sources gets
        0.
    Cost: sums ``[N, p d]`` over the graph once; no edge array.
    Raises: ValueError for an unknown ``neighbor_norm``, or heads that do not divide d.
    """

    def __init__(
        self, in_channels: int, n_mixtures: int, n_heads: int = 1, *, neighbor_norm: Norm = "softmax"
    ) -> None:
        super().__init__()
        choose("FIEConv: neighbor_norm", neighbor_norm, ("softmax", "sum"))
        check_heads("FIEConv", in_channels, n_heads)
        self.neighbor_norm, self.n_heads = neighbor_norm, n_heads
        self.means = nn.Parameter(torch.empty(n_mixtures, in_channels))
        self.bias = nn.Parameter(torch.empty(n_mixtures * n_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random directions, and biases of 0."""
        nn.init.normal_(self.means)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, adj: Any) -> Tensor:
        means = normalize(self.means.view(len(self.means), self.n_heads, -1), dim=2).flatten(1)
        return fisher_step(as_graph(adj), x, means, self.neighbor_norm, self.bias, self.n_heads)


class KernelMap(nn.Module):
    """The map of the kernel |x| |y| exp((cos(x, y) - 1) / sigma^2) on trained anchors of length 1.

    Shapes: ``[N, in_channels]`` -> ``[N, out_channels]``.
    """

    def __init__(self, in_channels: int, out_channels: int, sigma: float = 1.0) -> None:
        super().__init__()
        self.sigma = sigma
        self.anchors = nn.Parameter(torch.empty(out_channels, in_channels))
        nn.init.normal_(self.anchors)

    def forward(self, x: Tensor) -> Tensor:
        return nystroem(x, normalize(self.anchors, dim=1), self.sigma)


class _Layer(nn.Module):
    """An EM step and the kernel map of its displacement."""

    def __init__(self, width: int, n_mixtures: int, n_heads: int, sigma: float, neighbor_norm: Norm) -> None:
        super().__init__()
        self.step = FIEConv(width, n_mixtures, n_heads, neighbor_norm=neighbor_norm)
        self.map = KernelMap(n_mixtures * width, width, sigma)

    def initialise(self, x: Tensor, adj: CSR, generator: torch.Generator) -> Tensor:
        self.step.means.copy_(mixture_means(x, len(self.step.means), self.step.n_heads, generator))
        x = self.step(x, adj)
        self.map.anchors.copy_(spherical_kmeans(x, self.map.anchors.shape[0], generator))
        found: Tensor = self.map(x)
        return found

    def forward(self, x: Tensor, adj: CSR) -> Tensor:
        found: Tensor = self.map(self.step(x, adj))
        return found


class FIENet(nn.Module):
    """Kernel map, then EM steps each with a kernel map, and a linear head over what each of them gives.

    Args:
        in_channels: features of a node; rows are scaled to length 1.
        out_channels: classes.
        n_layers: EM steps.
        hidden: anchors of each kernel.
        n_mixtures: means of each mixture.
        n_heads: as in :class:`FIEConv`.
        sigma: width of the kernels.
        neighbor_norm: as in :class:`FIEConv`.
        concat: the head sees all layers side by side, or the last alone.

    Shapes: x ``[N, in_channels]`` and a square graph, to which self-loops are added -> ``[N, out_channels]``.
    Cost: a layer sums ``[N, n_mixtures hidden]`` over the graph once.
    Raises: ValueError for an unknown ``neighbor_norm``, or heads that do not divide ``hidden``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        n_layers: int = 2,
        hidden: int = 64,
        n_mixtures: int = 8,
        n_heads: int = 1,
        sigma: float = 1.0,
        neighbor_norm: Norm = "softmax",
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.concat = concat
        self.first = KernelMap(in_channels, hidden, sigma)
        self.layers = nn.ModuleList(
            _Layer(hidden, n_mixtures, n_heads, sigma, neighbor_norm) for _ in range(n_layers)
        )
        self.head = nn.Linear(hidden * (n_layers + 1 if concat else 1), out_channels)

    @torch.no_grad()
    def initialise(self, x: Tensor, adj: Any, generator: torch.Generator) -> None:
        """Anchors and means by spherical k-means of what comes to them, layer by layer, as without labels."""
        looped, x = as_graph(adj).add_self_loops(), normalize(x, dim=1)
        self.first.anchors.copy_(spherical_kmeans(x, self.first.anchors.shape[0], generator))
        x = self.first(x)
        for layer in self.layers:
            x = layer.initialise(x, looped, generator)  # type: ignore[operator]  # a module list forgets kinds

    def embed(self, x: Tensor, adj: Any) -> Tensor:
        """What the head sees, ``[N, hidden (n_layers + 1)]`` or ``[N, hidden]``."""
        looped = as_graph(adj).add_self_loops()
        found = [self.first(normalize(x, dim=1))]
        for layer in self.layers:
            found.append(layer(found[-1], looped))
        return torch.cat(found, dim=1) if self.concat else found[-1]

    def forward(self, x: Tensor, adj: Any) -> Tensor:
        logits: Tensor = self.head(self.embed(x, adj))
        return logits


class SupervisedFIE(NodeEmbedding):
    """Fisher information embedding trained with labels: :class:`FIENet` with the authors' schedule.

    Anchors and means begin as those of :class:`FisherInformationEmbedding`; Adam, the rate a tenth whenever
    the validation accuracy has not risen for ten passes, and in the end the weights of the best one. Chen,
    Pellizzoni and Borgwardt, ICML 2023, Sec. 4. The anchors' length does not count, where the authors' code
    sets it to 1 after each step.

    Args:
        n_layers, hidden, n_mixtures, n_heads, sigma, neighbor_norm, concat: as in :class:`FIENet`.
        epochs: passes.
        lr: first rate.
        weight_decay: of Adam.
        seed: of the k-means and the head.

    Shapes: a graph of N nodes with features ``[N, F]`` and classes ``[N]`` -> ``embedding_`` float32, what
        the head sees; :meth:`predict` gives a class for each node.
    Cost: a pass sums ``[N, n_mixtures hidden]`` over the graph forward and back in each layer.
    Raises: ValueError without features or classes, when their number is not that of the nodes, or for heads
        that do not divide ``hidden``.
    """

    classes_: NDArray[Any]
    model_: FIENet

    def __init__(
        self,
        n_layers: int = 4,
        hidden: int = 64,
        n_mixtures: int = 8,
        n_heads: int = 1,
        *,
        sigma: float = 1.0,
        neighbor_norm: Norm = "softmax",
        concat: bool = True,
        epochs: int = 200,
        lr: float = 0.01,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.n_layers = n_layers
        self.hidden = hidden
        self.n_mixtures = n_mixtures
        self.n_heads = n_heads
        self.sigma = sigma
        self.neighbor_norm = neighbor_norm
        self.concat = concat
        self.epochs = epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(
        self,
        graph: Any,
        y: Any = None,
        *,
        train: ArrayLike | None = None,
        val: ArrayLike | None = None,
        features: Any = None,
        num_nodes: int | None = None,
    ) -> Self:
        """Train on the classes of some nodes; a PyG ``Data`` brings features and classes.

        Args:
            graph: as in :class:`NodeEmbedding`.
            y: classes ``[N]``.
            train: numbers of the nodes whose classes are seen; all when None.
            val: numbers of the nodes that choose the weights; ``train`` when None.
        """
        features = getattr(graph, "x", None) if features is None else features
        y = getattr(graph, "y", None) if y is None else y
        for name, given in (("features", features), ("y", y)):
            if given is None:
                raise ValueError(f"SupervisedFIE: no {name} came; pass {name}=..., or a Data that has them")
        self._whole(n_layers=1, hidden=1, n_mixtures=1, n_heads=1, epochs=1)
        self._above_0("sigma", "lr")
        self._finite("weight_decay")
        adj, x = as_graph(graph, num_nodes), torch.as_tensor(features).float()
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        if not len(x) == len(codes) == adj.num_rows:
            raise ValueError(
                f"SupervisedFIE: {len(x)} rows of features and {len(codes)} classes for {adj.num_rows} "
                "nodes; pass one each"
            )
        check_features("SupervisedFIE", x)
        target = torch.from_numpy(codes)
        seen = torch.arange(len(x)) if train is None else torch.as_tensor(np.asarray(train))
        judged = seen if val is None else torch.as_tensor(np.asarray(val))
        with torch.random.fork_rng():
            torch.manual_seed(as_seed(self.seed))
            self.model_ = FIENet(
                x.shape[1], len(self.classes_), n_layers=self.n_layers, hidden=self.hidden,
                n_mixtures=self.n_mixtures, n_heads=self.n_heads, sigma=self.sigma,
                neighbor_norm=self.neighbor_norm, concat=self.concat,
            )  # fmt: skip
        self.model_.initialise(x, adj, torch.Generator().manual_seed(self.seed & (2**63 - 1)))
        self._train(x, adj, target, seen, judged)
        self.model_.eval()
        with torch.no_grad():
            rows = self.model_.embed(x, adj)
            self._logits = self.model_.head(rows)
        self.embedding_ = rows.numpy()
        self.isolated_ = ((adj.degree + adj.col_degree) == 0).numpy()
        self.n_features_in_ = x.shape[1]
        return self

    def fit_transform(self, graph: Any, y: Any = None, **options: Any) -> Any:
        """Train and return ``embedding_``; options are those of :meth:`fit`."""
        return self.fit(graph, y, **options).embedding_

    def predict(self, nodes: ArrayLike | None = None) -> NDArray[Any]:
        """The most likely classes of some nodes of the fitted graph, of all when none are named."""
        self.transform(nodes)  # refuses before fit, and nodes that are not there
        best = self._logits.argmax(1).numpy()
        found: NDArray[Any] = self.classes_[best if nodes is None else best[np.asarray(nodes)]]
        return found

    def _train(self, x: Tensor, adj: CSR, target: Tensor, seen: Tensor, judged: Tensor) -> None:
        model = self.model_
        optimizer = torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.1, patience=10, min_lr=1e-4
        )
        best, weights = -1.0, model.state_dict()
        for epoch in range(self.epochs):
            optimizer.zero_grad()
            logits = model(x, adj)
            # of the weights before this step
            accuracy = float((logits[judged].argmax(1) == target[judged]).float().mean())
            if accuracy > best:
                best, weights = accuracy, copy.deepcopy(model.state_dict())
            cross_entropy(logits[seen], target[seen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step(accuracy)
            self._tell("training", epoch + 1, self.epochs)
        model.load_state_dict(weights)
