"""From a name to a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gnnlib.data import download
from gnnlib.data.card import Card
from gnnlib.data.catalogue import find_card
from gnnlib.data.checksum import verify
from gnnlib.data.counts import check_counts
from gnnlib.data.loaded import Loaded, Parts
from gnnlib.data.metrics import get_metric
from gnnlib.data.places import Found, downloads, locate
from gnnlib.data.readers import Source, reader_module
from gnnlib.files import cache_root


def load(name: str | Card, root: str | os.PathLike[str] | None = None, *, split: int = 0) -> Loaded:
    """Load a dataset, its split and its metric.

    The files are looked for in ``root``, then in ``$GNNLIB_DATA``, then in the user's cache; what is
    missing is downloaded to the cache over https when its checksum is known. ``root`` is only read:
    processed files go to the cache (``$GNNLIB_CACHE``, or the platform's usual folder).

    Args:
        name: one of :func:`names`, ``"TU:NAME"``, or a :class:`Card` of your own.
        root: folder that holds datasets; it may be read-only.
        split: which of the dataset's splits, counted from 0.

    Shapes: see :class:`Loaded`.

    Raises:
        ValueError: unknown name or split; a file whose checksum differs; a count that differs from the card.
        FileNotFoundError: a file that is nowhere; the message says where to put it.
    """
    card = find_card(name, root)
    parts, found = _read(card, root, split)
    if not 0 <= split < len(parts.splits):
        raise ValueError(
            f"dataset '{card.name}': split {split} is asked for but there are {len(parts.splits)}, "
            f"counted from 0 ({_listing(parts)})"
        )
    check_counts(card, parts)
    metric = parts.metric or get_metric(card.metric)
    return Loaded(
        card=card,
        dataset=parts.dataset,
        split=parts.splits[split],
        metric=metric,
        splits=parts.splits,
        split_names=parts.split_names,
        split_index=split,
        num_features=0 if parts.dataset._data.get("x") is None else int(parts.dataset._data.x.size(-1)),
        num_outputs=_num_outputs(card, parts, metric.kind),
        feature_sizes=parts.feature_sizes,
        edge_feature_sizes=parts.edge_feature_sizes,
        folder=found.folder if found else None,
    )


def fetch(name: str | Card, *, unverified: bool = False, progress: bool = False) -> Path:
    """Download a dataset's files to the user's cache and return their folder.

    Args:
        name: as for :func:`load`.
        unverified: also fetch files for which no checksum is known.
        progress: draw a progress bar for each file.

    Raises:
        FileNotFoundError: when a file cannot be fetched; the message says where to put it by hand.
        ValueError: when a fetched file has the wrong checksum, or the dataset is bundled.
    """
    card = find_card(name)
    if card.bundled:
        raise ValueError(
            f"dataset '{card.name}' comes with the installed packages; there is nothing to fetch"
        )
    download.download(card, unverified=unverified, progress=progress)
    return downloads().folder / card.folder


def _read(card: Card, root: str | os.PathLike[str] | None, split: int) -> tuple[Parts, Found | None]:
    read: Callable[[Source], Parts] = reader_module(card.reader).read
    if split < 0:
        raise ValueError(f"dataset '{card.name}': split {split} is asked for; splits are counted from 0")
    if card.bundled:
        return read(Source(card, None, {}, split)), None
    # splits past the first may need the optional files; the first never does
    wants_optional = split >= int(card.options.get("splits_without_optional", split + 1))
    found = locate(card, root, optional=wants_optional)
    if found is None:
        download.download(card, optional=wants_optional)
        found = locate(card, None, optional=wants_optional)
        assert found is not None, "a finished download holds every file"
    ledger = cache_root() / "checksums" / f"{_folder_key(found.folder)}.json"
    digests = verify(card, found.files, ledger)
    return read(Source(card, found, digests, split)), found


def _folder_key(folder: Path) -> str:
    import hashlib

    return hashlib.sha256(str(folder).encode()).hexdigest()[:24]


def _num_outputs(card: Card, parts: Parts, kind: str) -> int:
    if parts.num_outputs is not None:
        return parts.num_outputs
    if kind == "ranking":
        return 0
    if kind == "multiclass":
        return int(parts.dataset._data.y.max()) + 1
    y = parts.dataset._data.y
    return 1 if y.dim() == 1 else int(y.size(1))


def _listing(parts: Parts) -> str:
    shown = list(parts.split_names[:4])
    return ", ".join(shown) + (", ..." if len(parts.split_names) > 4 else "")
