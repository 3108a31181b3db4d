"""Laplacian encodings: eigenvectors of the normalised Laplacian as coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.nn.encode.base import PlaceEncoding, checked, rows_of
from gnnlib.sparse.graphs import Graphs


def laplacian_encoding(edge_index: Tensor, num_nodes: int, k: int, batch: Tensor | None = None) -> Tensor:
    r"""The second to (k + 1)-th eigenvectors of the normalised Laplacian of each graph.

    .. math:: (I - D^{-1/2} A D^{-1/2})\, v_j = \lambda_j v_j, \qquad \lambda_1 \le \lambda_2 \le \dots

    Dwivedi et al., Benchmarking Graph Neural Networks, JMLR 2023. Directions, loops and parallel edges are
    dropped; the row and column of a node without edges are those of I. Vectors have length 1, and the sign
    that makes their largest entry (the first of equal ones) positive. Those of one repeated eigenvalue are
    any orthonormal basis of its space, so they need not follow a renumbering of the nodes.

    Args:
        edge_index: the edges.
        num_nodes: N.
        k: number of vectors, 1 or more; those that a graph of n nodes does not have are 0.
        batch: the graph of each node; None for one graph.

    Shapes: edge_index ``[2, E]``, batch ``[N]`` -> float64 ``[N, k]``.
    Cost: a dense eigendecomposition for each graph, O(n^3) time and O(n^2) memory.
    Raises: ValueError for k below 1, or a batch that does not fit.
    """
    checked("laplacian_encoding", "k", k)
    graphs = rows_of(edge_index, num_nodes, batch)
    return graphs.in_callers_order(_vectors(graphs, k)).to(edge_index.device)


class LaplacianPE(PlaceEncoding):
    r"""Adds to the nodes their :func:`laplacian_encoding`, mapped to the width of x.

    .. math:: x'_i = x_i + \mathrm{ReLU}\big(\mathrm{BN}(W (s \odot v_i) + b)\big)

    The signs s of the vectors are random in each training step, since neither is the right one, and 1 in
    evaluation.

    Args:
        channels: width of x.
        k: number of eigenvectors.

    Shapes: x ``[N, channels]``, edge_index ``[2, E]``, batch ``[N]`` -> ``[N, channels]``.
    Cost: the eigenvectors once for each graph, kept by its content; then a dense product.
    Raises: ValueError for k below 1, or x of another width.
    """

    def __init__(self, channels: int, k: int) -> None:
        super().__init__(channels, checked("LaplacianPE", "k", k))
        self.k = k

    def numbers(self, graphs: Graphs) -> Tensor:
        """The entries of the eigenvectors, ``[N, k]``."""
        return _vectors(graphs, self.k)

    def _varied(self, rows: Tensor) -> Tensor:
        if not self.training:
            return rows
        return rows * (torch.rand(self.k, device=rows.device) < 0.5).to(rows.dtype).mul(2).sub(1)

    def __repr__(self) -> str:
        return f"LaplacianPE({self.channels}, k={self.k})"


def _vectors(graphs: Graphs, k: int) -> Tensor:
    out = torch.zeros(graphs.num_nodes, k, dtype=torch.float64)
    ptr, edge_ptr = graphs.ptr.tolist(), graphs.edge_ptr.tolist()
    for g, n in enumerate(graphs.size.tolist()):
        if n < 2:
            continue
        row, col = graphs.edge_index[:, edge_ptr[g] : edge_ptr[g + 1]] - ptr[g]
        a = torch.zeros(n, n, dtype=torch.float64)
        a[row, col] = a[col, row] = 1
        a.fill_diagonal_(0)
        scale = a.sum(1).rsqrt().nan_to_num(posinf=0.0)
        laplacian = torch.eye(n, dtype=torch.float64) - scale[:, None] * a * scale
        v = torch.linalg.eigh(laplacian).eigenvectors[:, 1 : k + 1]
        largest = v.gather(0, v.abs().argmax(0, keepdim=True))
        out[ptr[g] : ptr[g + 1], : v.shape[1]] = v * largest.sign()
    return out
