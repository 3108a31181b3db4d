"""Node datasets of PyG that bring ten masks of their own: WebKB, Actor and the heterophilous graphs."""

from __future__ import annotations

from torch_geometric import datasets

from gnnlib.data.loaded import Parts
from gnnlib.data.readers import Source
from gnnlib.data.splits import mask_splits
from gnnlib.data.stage import staged


def read(source: Source) -> Parts:
    """Open the PyG class that the card names: ``class``, its ``arguments`` after root, ``inner`` folder."""
    options = source.card.options
    kind = getattr(datasets, options["class"])
    dataset = staged(
        source.card,
        source.files,
        source.digests,
        options.get("inner", ""),
        lambda root: kind(str(root), *options.get("arguments", ())),
    )
    data = dataset[0]
    splits = mask_splits(data.train_mask, data.val_mask, data.test_mask)
    return Parts(dataset, splits, [f"mask-{k}" for k in range(len(splits))])
