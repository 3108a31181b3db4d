"""What a loaded dataset counts, held against its card."""

from __future__ import annotations

from typing import Any

import torch

from gnnlib.data.card import Card
from gnnlib.data.loaded import Parts
from gnnlib.data.splits import LinkSplit


def check_counts(card: Card, parts: Parts) -> None:
    """Compare a dataset with the counts of its card.

    Raises:
        ValueError: when one differs; the message gives both.
    """
    if not card.counts:
        return
    counted = count(card, parts)
    for name, expected in card.counts.items():
        if counted.get(name) != expected:
            raise ValueError(
                f"dataset '{card.name}': {name} should be {expected} but {counted.get(name, 'none')} came; "
                f"the files are not those of the card: fetch them again from {card.source}"
            )


def count(card: Card, parts: Parts) -> dict[str, int]:
    """Return what there is to count: graphs, nodes, edges, features, classes and parts of the first split."""
    data = parts.dataset._data
    result = {
        "graphs": len(parts.dataset),
        "nodes": _num_nodes(parts.dataset),
        "features": 0 if data.get("x") is None else _columns(data.x),
    }
    if card.task in ("hypergraph", "incidence"):
        result["hyperedges"] = int(data.num_hyperedges)
        result["incidences"] = data.edge_index.size(1)
    else:
        result["edges"] = data.edge_index.size(1)
    if data.get("edge_attr") is not None:
        result["edge_features"] = _columns(data.edge_attr)
    if (y := data.get("y")) is not None:
        if y.dtype == torch.int64 and _columns(y) == 1:
            result["classes"] = int(y.max()) + 1 if y.numel() else 0
        result["tasks"] = _columns(y)
    return result | _split_counts(parts)


def _split_counts(parts: Parts) -> dict[str, int]:
    first = parts.splits[0]
    result = {"splits": len(parts.splits)}
    if isinstance(first, LinkSplit):
        fields = ("train_edges", "val_pos", "val_neg", "test_pos", "test_neg")
        return result | {field: getattr(first, field).size(1) for field in fields}
    return result | {field: getattr(first, field).numel() for field in ("train", "val", "test")}


def _columns(values: Any) -> int:
    return 1 if values.dim() == 1 else int(values.size(-1))


def _num_nodes(dataset: Any) -> int:
    """Nodes of all graphs together; a graph without features keeps its number of nodes in a list."""
    data = dataset._data
    if data.get("x") is not None:
        return int(data.x.size(0))
    num_nodes = data.get("num_nodes")
    if isinstance(num_nodes, list):
        return sum(int(n) for n in num_nodes)
    return int(num_nodes) if num_nodes is not None else int(data.num_nodes)
