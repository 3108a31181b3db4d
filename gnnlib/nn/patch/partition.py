"""Which patches a graph has: cut anew in each training step, the same in evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnlib.nn.patch.structure import GraphPatches, graph_patches
from gnnlib.sparse.graphs import GraphCache, Graphs
from gnnlib.sparse.partition import partition_graphs


class GraphPartition:
    """Cuts graphs into p overlapping patches by METIS.

    In training each call cuts every graph anew, with a share of its edges hidden from METIS, so that a graph
    has other patches each time; patches themselves have all edges. In evaluation no edge is hidden, a graph
    has the same patches in every call and in every batch, and its cut is kept by its content. METIS goes by
    the numbers of the nodes, so renumbering them may change the patches.

    He et al., A Generalization of ViT/MLP-Mixer to Graphs, ICML 2023.

    Args:
        num_patches: number of slots p; those that a small graph does not fill stay empty.
        num_hops: hops by which parts are widened; from 1 on every edge lies in a patch.
        drop_rate: probability in [0, 1) of hiding an edge (each direction for itself) in training.
        online: cut anew in training; otherwise training has the patches of evaluation.
        seed: of the cuts in evaluation. Those in training are drawn from torch's global generator, as
            dropout is.

    Raises: ImportError without pymetis; ValueError for options out of range.
    """

    def __init__(
        self,
        num_patches: int = 32,
        *,
        num_hops: int = 1,
        drop_rate: float = 0.3,
        online: bool = True,
        seed: int = 0,
    ) -> None:
        if num_patches < 1 or num_hops < 0 or not 0 <= drop_rate < 1:
            raise ValueError(
                f"GraphPartition: num_patches={num_patches}, num_hops={num_hops}, drop_rate={drop_rate}; "
                "pass 1 or more, 0 or more, and a probability from 0 to below 1"
            )
        self.num_patches, self.num_hops = num_patches, num_hops
        self.drop_rate, self.online, self.seed = drop_rate, online, seed
        self._known: dict[int, GraphCache] = {}

    def patches(self, graphs: Graphs, *, training: bool = False, number: int = 0) -> GraphPatches:
        """The patches of graphs; in evaluation ``number`` asks for another cut than the first.

        Shapes: G graphs -> patches with p slots each, on the CPU.
        """
        if training and self.online:
            seeds = torch.randint(1 << 62, (graphs.num_graphs,))
            slots = partition_graphs(graphs, self.num_patches, seeds, drop=self.drop_rate)
        else:
            seed = self.seed + number
            known = self._known.setdefault(seed, GraphCache())
            slots = known.rows(graphs, lambda some: self._cut(some, seed)).long()
        return graph_patches(graphs, self.num_patches, slots, num_hops=self.num_hops)

    def _cut(self, graphs: Graphs, seed: int) -> Tensor:
        seeds = torch.full((graphs.num_graphs,), seed)
        return partition_graphs(graphs, self.num_patches, seeds).int()

    def __repr__(self) -> str:
        return (
            f"GraphPartition({self.num_patches}, num_hops={self.num_hops}, drop_rate={self.drop_rate}, "
            f"online={self.online})"
        )
