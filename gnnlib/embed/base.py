"""What all embedding estimators share: scikit-learn's habits around one method, ``_embed``."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import Tensor

from gnnlib.embed.graph import as_graph
from gnnlib.sparse import CSR

__all__ = ["NodeEmbedding"]

Progress = Callable[[str, int, int], None]


class NodeEmbedding(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Base of the node embeddings, estimators with scikit-learn's habits.

    ``fit`` takes a graph: an ``edge_index`` (give ``num_nodes`` where the last nodes may have no edge), a
    PyG ``Data``, a :class:`gnnlib.sparse.CSR`, a torch or scipy sparse matrix (row = target) or a networkx
    graph. After it, ``embedding_`` holds a row for each node in the graph's order, always of as many
    columns as asked for: those that a small graph cannot fill are 0. ``isolated_`` says which nodes have
    no edge. ``progress``, an attribute and no parameter, is called with what is done, steps done and
    their number.
    """

    embedding_: NDArray[np.float32]
    isolated_: NDArray[np.bool_]
    n_features_in_: int
    progress: Progress | None = None

    def fit(self, graph: Any, y: object = None, *, num_nodes: int | None = None) -> Self:
        """Embed the nodes of a graph; ``y`` is ignored.

        Raises: ValueError for a graph that the method cannot take, a parameter out of range, or a device that
            is not here; TypeError for a parameter of another kind.
        """
        device = self._checked_device()
        csr = as_graph(graph, num_nodes).to(device)
        with torch.no_grad():
            found = self._embed(csr)
        self.embedding_ = found.float().cpu().contiguous().numpy()
        self.isolated_ = ((csr.degree + csr.col_degree) == 0).cpu().numpy()
        self.n_features_in_ = csr.num_rows
        return self

    def fit_transform(
        self, graph: Any, y: object = None, *, num_nodes: int | None = None
    ) -> NDArray[np.float32]:
        """Embed the nodes of a graph and return ``embedding_``, float32 ``[N, dim]``."""
        return self.fit(graph, y, num_nodes=num_nodes).embedding_

    def transform(self, nodes: ArrayLike | None = None) -> NDArray[np.float32]:
        """The rows of some nodes of the fitted graph, of all when none are named.

        Shapes: nodes ``[K]``, numbers or a mask ``[N]`` -> ``[K, dim]``.
        Raises: scikit-learn's NotFittedError before ``fit``; ValueError for a node that the graph did not
            have, or numbers of another shape, such as an edge_index; TypeError for no whole numbers.
        """
        who = type(self).__name__
        if not hasattr(self, "embedding_"):
            raise NotFittedError(f"{who}: not fitted yet; call fit(graph) first")
        if nodes is None:
            return self.embedding_
        index = np.asarray(nodes)
        if index.dtype == bool and index.shape == (len(self.embedding_),):
            index = np.flatnonzero(index)
        if index.ndim > 1:
            raise ValueError(
                f"{who}: transform takes node numbers [K] of the fitted graph, got shape "
                f"{list(index.shape)}; another graph needs a fit of its own: call fit_transform(graph)"
            )
        check_nodes(f"{who}: nodes", index, len(self.embedding_))
        index = index.astype(np.int64)
        found: NDArray[np.float32] = self.embedding_[index]
        return found

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the columns, as scikit-learn's transformers have them: the class in lower case, a number.

        Raises: NotFittedError before ``fit``.
        """
        name, columns = type(self).__name__.lower(), self.transform().shape[1]
        return np.array([f"{name}{k}" for k in range(columns)], dtype=object)

    def _embed(self, graph: CSR) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: _embed is for a subclass to write")

    def _tell(self, what: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(what, done, total)

    def _checked_device(self) -> torch.device:
        """Where to compute, if that is here."""
        name = getattr(self, "device", "cpu")
        try:
            device = torch.device(name)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"{type(self).__name__}: device={name!r} is none; choose cpu or cuda") from error
        try:
            torch.empty(0, device=device)
        except (AssertionError, RuntimeError) as error:
            why = str(error).partition("\n")[0]
            raise ValueError(
                f"{type(self).__name__}: device={name!r} is not here ({why}); choose cpu"
            ) from error
        return device

    def _real(self, name: str) -> Any:
        """A parameter that is a number."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            kind = type(value).__name__
            raise TypeError(f"{type(self).__name__}: {name}={value!r} is a {kind}; expected a number")
        return value

    def _whole(self, **bounds: int) -> None:
        """Refuse parameters that are no whole numbers from a bound on, and a seed that is none."""
        for name in [*bounds, *(["seed"] if hasattr(self, "seed") else [])]:
            value = self._real(name)
            if not isinstance(value, numbers.Integral):
                raise ValueError(f"{type(self).__name__}: {name}={value}; expected a whole number")
            if name in bounds and int(value) < bounds[name]:
                raise ValueError(f"{type(self).__name__}: {name}={value}; expected {bounds[name]} or more")

    def _finite(self, *names: str) -> None:
        """Refuse parameters that are NaN or infinite."""
        for name in names:
            if not math.isfinite(value := self._real(name)):
                raise ValueError(f"{type(self).__name__}: {name}={value}; expected a finite number")

    def _above_0(self, *names: str) -> None:
        """Refuse parameters that are not positive and finite."""
        for name in names:
            if not 0 < (value := self._real(name)) < math.inf:
                raise ValueError(f"{type(self).__name__}: {name}={value}; expected a finite number above 0")


def check_nodes(what: str, index: NDArray[Any], num_nodes: int) -> None:
    """Refuse what numbers no node; ``what`` begins the message.

    Raises: TypeError for no whole numbers; ValueError for one that is negative or too large.
    """
    if index.size == 0:
        return
    if not np.issubdtype(index.dtype, np.integer):
        raise TypeError(f"{what} are {index.dtype}; pass node numbers as integers")
    if index.min() < 0 or index.max() >= num_nodes:
        raise ValueError(
            f"{what} run from {index.min()} to {index.max()} but the fitted graph has {num_nodes}; fit the "
            "graph that has the new nodes"
        )
