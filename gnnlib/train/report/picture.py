"""The embeddings in two dimensions: t-SNE or principal components, a colour and a shape a class."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gnnlib.train.report.plot import Floats
from gnnlib.train.report.read import RunDir
from gnnlib.train.report.words import escape

__all__ = ["Method", "picture", "principal_components"]

Method = Literal["tsne", "pca"]

_POINTS: dict[str, int] = {"tsne": 1000, "pca": 3000}  # t-SNE of 1,000 points takes about two seconds
_FEW = 12  # fewer points than this are always drawn by principal components
_CLASSES = 20  # more classes than this are drawn as one grey group
_COLOURS, _SHAPES = 10, 4
_WIDTH, _HEIGHT, _MARGIN = 1000, 760, 36


def picture(found: RunDir, method: Method = "tsne") -> str:
    """The embedding of the best run as html; empty where the run has none."""
    arrays = found.best.predictions
    embedding = arrays.get("embedding", np.empty((0, 0)))
    if embedding.shape[0] < 2 or embedding.shape[1] < 1 or not np.isfinite(embedding).all():
        return ""
    label = arrays.get("embedding_label", np.full(embedding.shape[0], -1)).astype(np.int64)
    if embedding.shape[0] < _FEW:
        method = "pca"
    keep = _sample(label, _POINTS[method])
    shown = embedding[keep].astype(np.float64)
    if method == "tsne" and 2 * _distinct(shown) < len(shown):  # its tree of points cannot part equal ones
        keep = _sample(label, _POINTS["pca"])
        shown, method = embedding[keep].astype(np.float64), "pca"
    points, how = _plane(shown, method)
    return _draw(found, _fit(points), label[keep], how, embedding.shape[0])


def _distinct(x: Floats) -> int:
    """How many points differ by more than a millionth of their spread."""
    spread = float(x.std())
    return int(np.unique(np.round(x / (spread if spread > 0 else 1.0), 6), axis=0).shape[0])


def principal_components(x: Floats) -> tuple[Floats, Floats]:
    """The first two principal components and the share of the variance that each explains.

    Shapes: x ``[K, d]`` -> ``[K, 2]``, ``[2]``; the second component is 0 where d is 1.
    """
    centred = x - x.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((x.shape[0], 2))
    share = np.zeros(2)
    width = min(2, scale.size)
    plane[:, :width] = left[:, :width] * scale[:width]
    total = float((scale**2).sum())
    share[:width] = scale[:width] ** 2 / total if total > 0 else 0.0
    return plane, share


def _plane(x: Floats, method: Method) -> tuple[Floats, str]:
    if method == "pca":
        plane, share = principal_components(x)
        return plane, f"First two principal components ({share.sum():.0%} of the variance)"
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    perplexity = min(30.0, (x.shape[0] - 1) / 3)
    spread = x.std()
    x = (x - x.mean(axis=0)) / (spread if spread > 0 else 1.0)
    # One thread: the same picture on every machine, and no team of threads that spins while others work.
    with threadpool_limits(1):
        plane = TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=0).fit_transform(x)
    return np.asarray(plane, dtype=np.float64), f"t-SNE (perplexity {perplexity:.0f})"


def _sample(label: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """At most ``limit`` positions, the same ones on every call."""
    if label.size <= limit:
        return np.arange(label.size)
    return np.sort(np.random.default_rng(0).choice(label.size, limit, replace=False))


def _fit(points: Floats) -> Floats:
    """The points in the drawing's box, the proportions of the axes kept."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    room = np.array([_WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN])
    factor = (room / span).min()
    placed = (points - (low + high) / 2) * factor + np.array([_WIDTH / 2, _HEIGHT / 2])
    return np.asarray(placed, dtype=np.float64)


def _draw(found: RunDir, at: Floats, label: NDArray[np.int64], how: str, total: int) -> str:
    names = found.class_names
    classes, counts = np.unique(label[label >= 0], return_counts=True)
    own = np.sort(classes[np.argsort(-counts, kind="stable")[:_CLASSES]])
    rest = ~np.isin(label, own)
    marks, keys, words = [], [], []
    if rest.any():
        marks.append(_group(at[rest], "k-none" if own.size else "k0", 0, "none"))
        if own.size:
            text = f"{classes.size - own.size} more classes" if classes.size > own.size else "no label"
            keys.append(_key("k-none", 0, "none", text, int(rest.sum())))
    for k in own:
        here = at[label == k]
        css, shape = f"k{k % _COLOURS}", int(k) % _SHAPES
        name = names[k] if k < len(names) else str(k)
        marks.append(_group(here, css, shape, str(k)))
        keys.append(_key(css, shape, str(k), name, here.shape[0]))
        x, y = np.median(here, axis=0) / (_WIDTH, _HEIGHT)
        words.append(f'<span class="tag {css}" style="left:{x:.1%};top:{y:.1%}">{escape(_tag(name))}</span>')
    unit = "graphs" if found.result["dataset"]["task"] == "graph" else "nodes"
    few = f"{label.size:,} of {total:,} {unit}" if label.size < total else f"{total:,} {unit}"
    told = f"{how} of the last hidden layer, {few}, {found.best.label}, all parts of the split."
    return (
        '<figure class="picture" id="embedding">'
        f'<div class="plane"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'aria-labelledby="embedding-title embedding-desc"><title id="embedding-title">Embeddings in two '
        f'dimensions</title><desc id="embedding-desc">{escape(told)} A group of points for each of '
        f"{own.size} classes.</desc>{''.join(marks)}</svg>"
        f'<div class="tags {"many" if own.size > _COLOURS else "few"}" aria-hidden="true">'
        f"{''.join(words)}</div></div>"
        + (f'<ul class="legend classes">{"".join(keys)}</ul>' if keys else "")
        + f'<p class="note">{escape(told)}</p></figure>'
    )


def _group(points: Floats, css: str, shape: int, key: str) -> str:
    """One class: strokes of no length, round or square; shapes 2 and 3 have a hole."""
    rounded: Any = np.round(points).astype(np.int64)
    path = "".join(f"M{x} {y}h0" for x, y in rounded)
    hole = f'<path class="hole" d="{path}"/>' if shape >= 2 else ""
    return f'<g class="points {css} shape{shape}" data-class="{key}"><path d="{path}"/>{hole}</g>'


def _key(css: str, shape: int, key: str, name: str, count: int) -> str:
    hole = '<path class="hole" d="M10 10h0"/>' if shape >= 2 else ""
    swatch = (
        f'<svg class="points {css} shape{shape}" viewBox="0 0 20 20" aria-hidden="true">'
        f'<path d="M10 10h0"/>{hole}</svg>'
    )
    return f'<li><span data-class="{key}">{swatch}{escape(name)} <small>{count:,}</small></span></li>'


def _tag(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"
