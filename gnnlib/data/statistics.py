"""What a dataset measures beyond counts: sizes, diameters, the entropy of its labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from gnnlib.data.loaded import Loaded
from gnnlib.sparse import as_csr
from gnnlib.sparse.hops import diameter_bound, hop_eccentricity

__all__ = ["statistics"]

_EXACT = 20_000  # nodes of one graph up to which its diameter is computed, and not bounded
_GRAPHS = 2000  # of many graphs, so many from the start are measured


def statistics(loaded: Loaded) -> dict[str, Any]:
    """Sizes, hop diameters with both directions of every edge, and the entropy of the class labels in bits.

    Of more than 2,000 graphs the first 2,000 are measured. The diameter of a single graph of more than 20,000
    nodes is a lower bound, by four sweeps from its farthest nodes.

    Returns: plain numbers by name: ``graphs``, ``nodes`` and ``edges`` (mean of a graph), ``degree``,
        ``diameter`` (mean) and ``largest_diameter``, ``diameter_is`` (``exact`` or ``at least``), and
        ``label_entropy`` with ``label_classes`` where labels are classes, the mean over columns where there
        are several.
    """
    graphs = [loaded.dataset[k] for k in range(min(len(loaded.dataset), _GRAPHS))]
    union = Batch.from_data_list(graphs)
    ends = torch.cat([union.edge_index, union.edge_index.flip(0)], dim=1)
    count = int(union.num_nodes)
    adj = as_csr(ends, (count, count))
    exact = len(graphs) > 1 or count <= _EXACT
    if exact:
        each = torch.zeros(len(graphs), dtype=torch.int64)
        each.scatter_reduce_(0, union.batch, hop_eccentricity(adj), "amax")
    else:
        each = torch.tensor([diameter_bound(adj)])
    return {
        "graphs": len(loaded.dataset),
        "nodes": round(count / len(graphs), 2),
        "edges": round(union.edge_index.size(1) / len(graphs), 2),
        "degree": round(union.edge_index.size(1) / max(count, 1), 2),
        "diameter": round(float(each.double().mean()), 2),
        "largest_diameter": int(each.max()),
        "diameter_is": "exact" if exact else "at least",
        **_entropy(loaded, union),
    }


def _entropy(loaded: Loaded, union: Any) -> dict[str, Any]:
    y: Tensor | None = union.get("edge_label" if loaded.metric.kind == "ranking" else "y")
    if loaded.metric.kind == "regression" or y is None:
        return {}
    y = y if union.get("mask") is None else y[union.mask]
    columns = y.view(y.size(0), -1).unbind(1) if loaded.metric.kind == "multilabel" else [y.view(-1)]
    found = [_bits(column[column == column]) for column in columns]  # a missing label is NaN
    return {
        "label_entropy": round(sum(bits for bits, _ in found) / len(found), 3),
        "label_classes": max(classes for _, classes in found),
    }


def _bits(y: Tensor) -> tuple[float, int]:
    """The entropy of the labels in bits, and how many different ones there are."""
    share = torch.unique(y, return_counts=True)[1].double()
    share = share / share.sum()
    return float(-(share * share.log2()).sum()), share.numel()
