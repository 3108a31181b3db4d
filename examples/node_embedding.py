"""Embed the nodes of a graph without labels, then see how much of the labels the rows hold.

python examples/node_embedding.py          # node2vec and FastRP on the handwritten digits, a few seconds
python examples/node_embedding.py --quick  # fewer and shorter walks
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from gnnlib.data import load
from gnnlib.embed import FastRP, Node2Vec, NodeEmbedding, classify_nodes


def score(method: NodeEmbedding) -> float:
    """Micro F1 of logistic regression on the rows of a tenth of the nodes, tested on the rest."""
    data = load("digits").dataset[0]  # images are nodes, each joined with those most like it
    start = time.perf_counter()
    rows = method.fit_transform(data)
    seconds = time.perf_counter() - start
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = classify_nodes(rows, data.y.numpy(), fractions=(0.1,), shuffles=3, C=10.0)[0.1]
    print(f"{type(method).__name__}: {rows.shape[0]} nodes, {rows.shape[1]} columns, {seconds:.1f} s, "
          f"micro F1 {found['micro_f1']:.3f}, macro F1 {found['macro_f1']:.3f}")  # fmt: skip
    return found["micro_f1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    walks, length = (2, 20) if quick else (10, 40)
    score(FastRP(dim=128, seed=0))
    micro = score(Node2Vec(dim=64, p=1, q=0.5, num_walks=walks, walk_length=length, seed=0))
    print(f"test micro_f1 {micro:.3f}")


if __name__ == "__main__":
    main()
