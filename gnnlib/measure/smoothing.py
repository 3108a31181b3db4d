r"""How alike the nodes become, layer by layer: Dirichlet energy.

.. math:: E(X) = \operatorname{tr}(X^T (I - S) X) = \frac{1}{2} \sum_{i, j} \tilde A_{ij} \Big\|
    \frac{x_i}{\sqrt{\tilde d_i}} - \frac{x_j}{\sqrt{\tilde d_j}} \Big\|^2, \qquad \tilde A = A + I

Cai and Wang, A Note on Over-Smoothing for Graph Neural Networks, 2020, Definition 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.measure.rows import frozen
from gnnlib.nn.conv.base import Conv
from gnnlib.sparse import CSR, as_csr, spmm
from gnnlib.sparse.symmetric import keys, symmetrized

__all__ = ["dirichlet_energy", "LayerEnergy", "smoothing"]


@dataclass(frozen=True)
class LayerEnergy:
    """The energy of one layer's output.

    Args:
        layer: name of the module, ``"input"`` for the features.
        energy: E(X).
        share: E(X) divided by the squared Frobenius norm of X, from 0 (as smooth as can be) to below 2.
    """

    layer: str
    energy: float
    share: float


def dirichlet_energy(x: Tensor, edge_index: Any) -> Tensor:
    """The Dirichlet energy of features on an undirected graph, loops added.

    Shapes: x ``[N, F]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes -> a number.
    Cost: one sparse product.
    Raises: ValueError when x and the graph do not fit, or the graph is directed.
    """
    adj = as_csr(edge_index, (x.size(0), x.size(0)))
    if not _both_ways(adj):
        raise ValueError("dirichlet_energy: the graph is directed; pass both directions of every edge")
    return _energy(x, adj)


def _both_ways(adj: CSR) -> bool:
    pairs, back = (keys(a).sort().values for a in (adj, adj.transposed))
    return bool(torch.equal(pairs, back))


def _energy(x: Tensor, adj: CSR) -> Tensor:
    loops = adj.add_self_loops()
    scale = loops.degree.to(x.dtype).rsqrt()[:, None]
    return (x * (x - scale * spmm(loops, scale * x))).sum()


def smoothing(model: nn.Module, data: Any, *, layers: list[str] | None = None) -> list[LayerEnergy]:
    """The energy of the features and of the output of every convolution, in the order of their calls.

    Args:
        model: ``model(x, edge_index)``; evaluated in eval mode, and left as it was.
        data: has ``x`` and ``edge_index``; the energy of a directed graph is that without its directions.
        layers: names of the modules to look at; None: the convolutions of gnnlib and of PyG.

    Raises:
        ValueError: when no layer is found, or one of that name does not exist.
    """
    modules = dict(model.named_modules())
    if layers is None:
        layers = [name for name, module in modules.items() if _is_convolution(module)]
    if missing := [name for name in layers if name not in modules]:
        raise ValueError(
            f"smoothing: the model has no module {missing[0]!r}; pass names of model.named_modules()"
        )
    if not layers:
        raise ValueError("smoothing: the model has no convolution of gnnlib or PyG; name its layers")
    num_nodes = data.x.size(0)
    adj = as_csr(data.edge_index, (num_nodes, num_nodes))
    if not _both_ways(adj):
        adj = symmetrized(adj).adj
    found = [_measured("input", data.x, adj)]

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 2 and output.size(0) == num_nodes:
                found.append(_measured(name, output, adj))

        return hook

    handles = [modules[name].register_forward_hook(watch(name)) for name in layers]
    try:
        with frozen(model), torch.no_grad():
            model(data.x, data.edge_index)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _measured(name: str, x: Tensor, adj: CSR) -> LayerEnergy:
    x = x.detach().double()
    energy, size = float(_energy(x, adj)), float((x * x).sum())
    return LayerEnergy(name, energy, energy / size if size else 0.0)


def _is_convolution(module: nn.Module) -> bool:
    from torch_geometric.nn import MessagePassing

    return isinstance(module, Conv | MessagePassing)
