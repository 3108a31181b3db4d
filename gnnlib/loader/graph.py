"""What a sampler reads of PyG's containers: edges, weights and times, ready for the core."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from gnnlib.sparse import as_csr
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.hypergraph import refuse_hypergraph
from gnnlib.sparse.ops.sample_neighbors.graph import Prepared, prepare

EdgeType = tuple[str, str, str]
#: The one node type and edge type of a graph without types.
PLAIN, PLAIN_EDGE = "", ("", "", "")


class SampledGraph:
    """The edges of a ``Data`` or ``HeteroData`` by target, on the CPU.

    Args:
        who: whom errors name.
        data: the graph.
        time_attr: name of the times of nodes or of edges.
        weight_attr: name of the weights of edges.
        share_memory: put the arrays into shared memory, for workers that are not forked.
    """

    def __init__(
        self,
        who: str,
        data: Any,
        *,
        time_attr: str | None = None,
        weight_attr: str | None = None,
        share_memory: bool = False,
    ) -> None:
        self.who = who
        refuse_hypergraph(who, data)
        if isinstance(data, HeteroData):
            self.is_hetero = True
            self.sizes = {str(t): self._size(data, t) for t in data.node_types}
            stores = {kind: data[kind] for kind in data.edge_types}
            if unknown := {t for kind in stores for t in (kind[0], kind[-1])} - set(self.sizes):
                raise ValueError(
                    f"{who}: edges name the node types {sorted(unknown)}, of which there are no nodes; set "
                    "their num_nodes"
                )
        elif isinstance(data, Data):
            self.is_hetero = False
            self.sizes, stores = {PLAIN: int(data.num_nodes or 0)}, {PLAIN_EDGE: data._store}
        elif isinstance(data, (tuple, list)) and len(data) == 2:
            raise NotImplementedError(
                f"{who}: takes Data or HeteroData, got a feature store and a graph store; a graph that fits "
                "in memory goes into a Data object"
            )
        else:
            raise TypeError(f"{who}: got {type(data).__name__}; pass a Data or HeteroData object")
        self.node_types, self.edge_types = list(self.sizes), list(stores)
        self.node_time: dict[str, Tensor] = {}
        edge_time: Mapping[EdgeType, Tensor] = {}
        if time_attr is not None:
            self.node_time, edge_time = self._times(data, time_attr)
        self.times_of_edges = bool(edge_time)
        number = {name: k for k, name in enumerate(self.node_types)}
        self.relations: dict[EdgeType, Prepared] = {}
        for kind, store in stores.items():
            adj = self._edges(kind, store)
            self.relations[kind] = prepare(
                adj,
                self._weight(kind, store, weight_attr),
                self.node_time.get(kind[0]),
                edge_time.get(kind),
                ends=(number[kind[0]], number[kind[-1]]),
                who=who,
            )
        if weight_attr is not None and all(r.relation.weight is None for r in self.relations.values()):
            raise ValueError(f"{who}: no edges have the weight_attr {weight_attr!r}")
        if share_memory:
            self._share()

    def _size(self, data: HeteroData, name: str) -> int:
        with warnings.catch_warnings():  # PyG's, beside the sentence
            warnings.simplefilter("ignore")
            size = data[name].num_nodes
        if size is None:
            raise ValueError(
                f"{self.who}: node type {name!r} has no features and no num_nodes; set "
                f"data[{name!r}].num_nodes, or remove it"
            )
        return int(size)

    def _edges(self, kind: EdgeType, store: Any) -> CSR:
        size = (self.sizes[kind[0]], self.sizes[kind[-1]])
        if store.get("edge_index") is not None:
            return as_csr(store["edge_index"].cpu(), size)
        if (adj_t := store.get("adj_t")) is not None:
            if isinstance(adj_t, Tensor):
                raise NotImplementedError(
                    f"{self.who}: the graph holds adj_t as a torch sparse tensor, of which PyG cuts no "
                    "subgraphs; give it an edge_index"
                )
            return as_csr(adj_t, size).to("cpu")
        return as_csr(torch.empty(2, 0, dtype=torch.int64), size)

    def _weight(self, kind: EdgeType, store: Any, name: str | None) -> Tensor | None:
        if name is None or name not in store:
            return None
        weight: Tensor = store[name].cpu()
        return weight.squeeze(-1) if weight.dim() == 2 and weight.shape[1] == 1 else weight

    def _times(self, data: Any, name: str) -> tuple[dict[str, Tensor], dict[EdgeType, Tensor]]:
        if not self.is_hetero:
            nodes = {PLAIN: data[name]} if name in data and data.is_node_attr(name) else {}
            edges = {PLAIN_EDGE: data[name]} if name in data and data.is_edge_attr(name) else {}
        else:
            nodes = {t: data[t][name] for t in self.node_types if name in data[t]}
            edges = {kind: data[kind][name] for kind in self.edge_types if name in data[kind]}
        if bool(nodes) == bool(edges):
            both = "both nodes and edges" if nodes else "neither nodes nor edges"
            raise ValueError(f"{self.who}: {both} have the time_attr {name!r}; exactly one of them must")
        return {t: v.cpu() for t, v in nodes.items()}, {t: v.cpu() for t, v in edges.items()}

    def _share(self) -> None:
        for ready in self.relations.values():
            r = ready.relation
            for t in (r.indptr, r.indices, r.weight, r.time, ready.edge):
                if t is not None:
                    t.share_memory_()  # type: ignore[no-untyped-call]
