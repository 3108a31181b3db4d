"""Small datasets, written as the collections write theirs."""

from __future__ import annotations

from pathlib import Path


def write_tu(folder: Path, name: str, *, num_graphs: int = 20, attributes: bool = False) -> Path:
    """Write a TU dataset of rings of 3 or 4 nodes, labelled by their size; return its folder."""
    raw = folder / "TUDataset" / name / "raw"
    raw.mkdir(parents=True)
    edges, indicator, labels, start = [], [], [], 1
    for graph in range(num_graphs):
        size = 3 + graph % 2
        for k in range(size):
            a, b = start + k, start + (k + 1) % size
            edges += [f"{a}, {b}", f"{b}, {a}"]
        indicator += [str(graph + 1)] * size
        labels.append(str(size))
        start += size
    parts = {"A": edges, "graph_indicator": indicator, "graph_labels": labels}
    if attributes:
        parts["graph_attributes"] = [f"{0.5 * g}" for g in range(num_graphs)]
    for part, lines in parts.items():
        (raw / f"{name}_{part}.txt").write_text("\n".join(lines) + "\n")
    return raw
