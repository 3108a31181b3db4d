r"""How narrow the way between two nodes is, and how little of one reaches the other.

.. math:: R_{uv} = (e_u - e_v)^T L^+ (e_u - e_v), \qquad L = D - A

Black et al., Understanding Oversquashing in GNNs through the Lens of Effective Resistance, ICML 2023: the
larger R, the smaller the bound on the sensitivity of the output at v to the features of u.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gnnlib.measure.rows import frozen
from gnnlib.sparse import as_csr

__all__ = ["effective_resistance", "sensitivity"]


def effective_resistance(edge_index: Any, pairs: Tensor, num_nodes: int) -> Tensor:
    """The resistance between nodes when every edge of an undirected graph is a resistor of 1 ohm.

    Args:
        edge_index: both directions of each edge, in any form that :func:`as_csr` takes; repeated edges
            conduct side by side, loops do nothing.
        pairs: the nodes.
        num_nodes: N.

    Returns: float64 ``[P]``; infinity between nodes that no path joins.
    Cost: one sparse factorisation, and two triangular solves for each different first node.

    Raises:
        ValueError: when the graph is not symmetric or pairs lie outside it.
    """
    from scipy.sparse import csc_matrix, diags
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import splu

    if pairs.dim() != 2 or pairs.size(0) != 2:
        raise ValueError(f"effective_resistance: pairs has shape {list(pairs.shape)}; pass [2, P]")
    if pairs.numel() and not 0 <= int(pairs.min()) <= int(pairs.max()) < num_nodes:
        raise ValueError(f"effective_resistance: pairs name nodes outside 0 .. {num_nodes - 1}")
    adj = as_csr(edge_index, (num_nodes, num_nodes))
    rows, columns = adj.rows.cpu().numpy(), adj.indices.cpu().numpy()
    keep = rows != columns
    a = csc_matrix((np.ones(int(keep.sum())), (rows[keep], columns[keep])), shape=(num_nodes, num_nodes))
    if (a != a.T).nnz:
        raise ValueError("effective_resistance: the graph is directed; pass both directions of every edge")
    _, part = connected_components(a, directed=False)
    ground = np.unique(part, return_index=True)[1]  # one node of each component has potential 0
    free = np.setdiff1d(np.arange(num_nodes), ground)
    place = np.full(num_nodes, -1)
    place[free] = np.arange(free.size)
    u, v = pairs.cpu().numpy()
    out = np.where(part[u] == part[v], 0.0, np.inf)
    if free.size == 0:
        return torch.from_numpy(out)
    laplacian = (diags(np.asarray(a.sum(axis=1)).ravel()) - a).tocsc()[free][:, free]
    solver = splu(laplacian.tocsc())
    for node in np.unique(u[(part[u] == part[v]) & (u != v)]):
        mine = np.flatnonzero((u == node) & (part[u] == part[v]) & (u != v))
        others, back = np.unique(v[mine], return_inverse=True)
        push = np.zeros((free.size, others.size))
        if place[node] >= 0:
            push[place[node]] += 1
        at = np.flatnonzero(place[others] >= 0)
        push[place[others[at]], at] -= 1
        potential = solver.solve(push)
        high = potential[place[node]] if place[node] >= 0 else np.zeros(others.size)
        low = np.zeros(others.size)
        low[at] = potential[place[others[at]], at]
        out[mine] = (high - low)[back]
    return torch.from_numpy(out)


def sensitivity(model: nn.Module, data: Any, pairs: Tensor) -> Tensor:
    r"""How much the output at v feels the features of u: the sum of all ``|d f_c(v) / d X_uj|``.

    Args:
        model: ``model(x, edge_index)`` gives a row for each node; left as it was.
        data: has ``x`` and ``edge_index``.
        pairs: u in the first row, v in the second, ``[2, P]``.

    Returns: ``[P]``. Cost: C backward passes for each different v.
    """
    out: Tensor = data.x.new_zeros(pairs.size(1))
    with frozen(model):
        x = data.x.detach().clone().requires_grad_()
        scores = model(x, data.edge_index)
        for v in sorted(set(pairs[1].tolist())) if scores.requires_grad else []:
            felt = torch.zeros_like(x[:, 0])
            for c in range(scores.size(1)):
                felt += torch.autograd.grad(scores[v, c], x, retain_graph=True)[0].abs().sum(1)
            mine = pairs[1] == v
            out[mine] = felt.detach()[pairs[0, mine]]
    return out
