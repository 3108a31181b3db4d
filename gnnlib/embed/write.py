"""Embeddings as files: npy, csv, the text form of word2vec and gensim, and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnnlib.files import check_file
from gnnlib.names import choose

__all__ = ["draw_embedding", "write_embedding"]

FORMS = (".npy", ".csv", ".txt")
PICTURES = (".jpg", ".pdf", ".png", ".svg")


def check_path(path: Path) -> None:
    """Refuse a name that tells no form or cannot be written, and make its folder, before the work.

    Raises: ValueError for an unknown ending; OSError for a place that cannot be written.
    """
    choose("embed: ending of the output", path.suffix.lower() or "(none)", FORMS)
    check_file(path)


def check_picture(path: Path) -> None:
    """The same for the name of a picture."""
    choose("embed: ending of the picture", path.suffix.lower() or "(none)", PICTURES)
    check_file(path)


def write_embedding(embedding: NDArray[np.float32], path: Path | str) -> None:
    """Write an embedding in the form that the ending names.

    ``.npy`` is numpy's; ``.csv`` has a line for each node, in order; ``.txt`` is the text form of word2vec,
    a line with both sizes and then one for each node with its number, which gensim's
    ``KeyedVectors.load_word2vec_format`` reads.

    Raises: ValueError for another ending.
    """
    target = Path(path)
    check_path(target)
    if target.suffix.lower() == ".npy":
        np.save(target, embedding)
    elif target.suffix.lower() == ".csv":
        np.savetxt(target, embedding, delimiter=",", fmt="%.9g")
    else:
        numbered = np.column_stack([np.arange(len(embedding)), embedding])
        form = ["%d", *["%.9g"] * embedding.shape[1]]
        header = f"{embedding.shape[0]} {embedding.shape[1]}"
        np.savetxt(target, numbered, fmt=form, header=header, comments="")


def draw_embedding(
    embedding: NDArray[np.float32], path: Path | str, classes: NDArray[np.int64] | None = None
) -> None:
    """Draw the first two principal components as a picture, nodes coloured by class where there are some.

    Raises: ValueError for an ending that names no form of pictures; OSError where it cannot be written.
    """
    target = Path(path)
    check_picture(target)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    centred = embedding - embedding.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    at = centred @ axes.T
    figure, plot = plt.subplots(figsize=(6, 6), layout="constrained")
    plot.scatter(at[:, 0], at[:, -1], s=4, c=classes, cmap="tab20", linewidths=0)
    plot.set(xticks=[], yticks=[], xlabel="first component", ylabel="second component")
    figure.savefig(target, dpi=150)
    plt.close(figure)
