"""Mini-batches of METIS partitions."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
import torch_geometric.loader
from torch import Tensor
from torch_geometric.loader.cluster import Partition

from gnnlib.loader.seeded import SeededIndex, SeededLoader
from gnnlib.sparse.hypergraph import refuse_hypergraph
from gnnlib.sparse.partition import metis

__all__ = ["ClusterData", "ClusterLoader"]


class ClusterData(torch_geometric.loader.ClusterData):  # type: ignore[misc]
    """A graph cut into parts by METIS, as PyG's class of this name holds it, without pyg-lib or torch-sparse.

    Chiang et al., Cluster-GCN: An Efficient Algorithm for Training Deep and Large Graph Convolutional
    Networks, KDD 2019.

    Args:
        data: a ``Data`` object with an ``edge_index``.
        num_parts: number of parts.
        recursive: cut in two again and again.
        save_dir: folder to keep the partition in, and to read it from.
        filename: of the partition in that folder.
        log: print when METIS begins and ends, as PyG does.
        keep_inter_cluster_edges: let a single part keep its edges to other parts.
        sparse_format: ``csr`` or ``csc``: how edges are sorted.
        seed: of METIS.

    Raises: ImportError without pymetis; ValueError for a file in ``save_dir`` that holds other objects.
    """

    def __init__(
        self,
        data: Any,
        num_parts: int,
        recursive: bool = False,
        save_dir: str | None = None,
        filename: str | None = None,
        log: bool = False,
        keep_inter_cluster_edges: bool = False,
        sparse_format: Literal["csr", "csc"] = "csr",
        *,
        seed: int = 0,
    ) -> None:
        refuse_hypergraph("ClusterData", data)
        self.seed = seed
        options = recursive, save_dir, filename, log, keep_inter_cluster_edges, sparse_format
        # PyG would unpickle whatever the file holds after a warning; here the warning stops it.
        with torch.serialization.safe_globals([Partition]), warnings.catch_warnings():
            warnings.filterwarnings("error", message="Weights only load failed")
            try:
                super().__init__(data, num_parts, *options)
            except UserWarning as stop:
                raise ValueError(
                    f"ClusterData: the file under {save_dir} holds other objects than a partition; remove it"
                ) from stop

    def _metis(self, edge_index: Tensor, num_nodes: int) -> Tensor:
        part = metis(edge_index, num_nodes, self.num_parts, recursive=self.recursive, seed=self.seed)
        return part.to(edge_index.device)


class ClusterLoader(torch_geometric.loader.ClusterLoader, SeededLoader):  # type: ignore[misc]
    """Mini-batches of a few parts each and the edges between them, as in PyG.

    Args:
        cluster_data: a :class:`ClusterData`.
        seed: fixes the order of the parts in every epoch.
        kwargs: of torch's ``DataLoader``; ``batch_size`` is the number of parts.
    """

    def __init__(self, cluster_data: Any, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(cluster_data, seed=seed, **kwargs)

    def _collate(self, batch: SeededIndex) -> Any:
        return super()._collate(torch.tensor(batch))
