"""HGTLoader: PyG's output, workers, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_geometric.loader import NodeLoader

from gnnlib.loader import HGTLoader, HGTSampler
from tests.loader.graphs import SIZES, check_typed, plain, same_batches, typed


def test_batches() -> None:
    data = typed()
    loader = HGTLoader(data, [4, 2], input_nodes=("paper", torch.arange(20)), batch_size=8)
    for k, batch in enumerate(loader):
        check_typed(batch, data)
        size = batch["paper"].batch_size
        assert batch["paper"].n_id[:size].tolist() == list(range(20))[8 * k : 8 * k + 8]
        assert batch["author"].num_nodes <= 6
        assert batch["paper"].num_nodes <= size + 6
        for name in SIZES:
            assert batch[name].n_id.unique().numel() == batch[name].num_nodes


def test_workers_and_pygs_loader() -> None:
    def run(**options: Any) -> list[Any]:
        return list(
            HGTLoader(
                typed(),
                {"paper": [2], "author": [3, 1]},
                "paper",
                batch_size=8,
                shuffle=True,
                seed=1,
                **options,
            )
        )

    same_batches(run(), run(num_workers=2))
    data = typed()
    for batch in NodeLoader(data, HGTSampler(data, [3, 3]), input_nodes="author", batch_size=8):
        check_typed(batch, data)


def test_errors() -> None:
    with pytest.raises(NotImplementedError, match="takes HeteroData, got Data"):
        HGTLoader(plain(), [2], "paper")
    with pytest.raises(NotImplementedError, match="samples around nodes only"):
        HGTSampler(typed(), [2]).sample_from_edges(None)
