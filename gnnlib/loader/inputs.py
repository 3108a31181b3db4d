"""What a loader is asked to start from, checked against the graph before PyG reads it.

PyG makes a node or edge type that it does not know, in the caller's data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from gnnlib.sparse.convert import check_numbers

__all__: list[str] = []


def check_input_nodes(who: str, data: Any, input_nodes: Any, input_time: Tensor | None = None) -> None:
    """Refuse seeds that are none of the graph's.

    Raises: ValueError for an unknown node type, none where there are types, numbers or a mask that do not fit
        the graph, or times of another number; TypeError for another kind of seeds.
    """
    nodes = input_nodes
    named = isinstance(nodes, str) or (
        isinstance(nodes, (list, tuple)) and bool(nodes) and _is_name(nodes[0])
    )
    if isinstance(data, HeteroData):
        if nodes is None:
            raise ValueError(f"{who}: input_nodes is None; name a node type: {_listing(data.node_types)}")
        if not named or not (isinstance(nodes, str) or len(nodes) == 2):
            raise TypeError(
                f"{who}: input_nodes is no node type and no (type, numbers); node types: "
                f"{_listing(data.node_types)}"
            )
        kind, nodes = (nodes, None) if isinstance(nodes, str) else nodes
        if kind not in data.node_types:
            raise ValueError(
                f"{who}: node type {kind!r} is unknown; choose one of {_listing(data.node_types)}"
            )
        size = data[kind].num_nodes
    elif isinstance(data, Data):
        if named:
            raise ValueError(
                f"{who}: input_nodes names a type but the graph has none; pass numbers or a mask"
            )
        size = data.num_nodes
    else:
        return
    count = _count(who, "input_nodes", nodes, int(size or 0))
    if input_time is not None and len(input_time) != count:
        raise ValueError(
            f"{who}: input_time has {len(input_time)} entries but there are {count} seeds; pass one a seed"
        )


def check_links(
    who: str,
    data: Any,
    edge_label_index: Any,
    edge_label: Tensor | None = None,
    edge_label_time: Tensor | None = None,
) -> None:
    """Refuse links that are none of the graph's.

    Raises: ValueError for an unknown edge type, none where there are types, a wrong shape, nodes outside the
        graph, or labels or times of another number; TypeError for another kind of links.
    """
    links = edge_label_index
    if isinstance(data, HeteroData):
        kinds = data.edge_types
        if links is None:
            raise ValueError(f"{who}: edge_label_index is None; name an edge type: {_listing(kinds)}")
        if not isinstance(links, (list, tuple)) or not links:
            raise TypeError(
                f"{who}: edge_label_index is no edge type and no (type, links); {_listing(kinds)}"
            )
        kind, links = (links, None) if _is_name(links[0]) else (links[0], links[-1])
        if not isinstance(kind, (list, tuple)) or not all(map(_is_name, kind)) or not 2 <= len(kind) <= 3:
            raise TypeError(
                f"{who}: edge_label_index begins with no edge type; pass (type, links) of {_listing(kinds)}"
            )
        kind = data._to_canonical(*kind)
        if kind not in kinds:
            raise ValueError(f"{who}: edge type {kind} is unknown; choose one of {_listing(kinds)}")
        sizes = tuple(int(data[end].num_nodes or 0) for end in (kind[0], kind[-1]))
        whole = data[kind]
    elif isinstance(data, Data):
        sizes, whole = (int(data.num_nodes or 0),) * 2, data
    else:
        return
    own = links is None  # whose ends the sampler checks
    links = whole.get("edge_index") if own else links
    if links is None:
        raise ValueError(f"{who}: the graph has no edge_index to take links from; pass edge_label_index")
    if not isinstance(links, Tensor):
        raise TypeError(f"{who}: edge_label_index is a {type(links).__name__}; pass a tensor [2, L]")
    if links.dim() != 2 or links.shape[0] != 2:
        raise ValueError(f"{who}: edge_label_index has shape {list(links.shape)}; expected [2, L]")
    for end, size in zip(links, sizes, strict=True) if not own else ():
        _count(who, "edge_label_index", end, size)
    for name, given in (("edge_label", edge_label), ("edge_label_time", edge_label_time)):
        if given is not None and len(given) != links.shape[1]:
            raise ValueError(
                f"{who}: {name} has {len(given)} entries but there are {links.shape[1]} links; pass as many"
            )


def _count(who: str, what: str, nodes: Any, size: int) -> int:
    """How many nodes are named, all when None."""
    if nodes is None:
        return size
    index = nodes if isinstance(nodes, Tensor) else torch.as_tensor(nodes)
    if index.dtype == torch.bool:
        if not isinstance(nodes, Tensor):  # PyG would take it for nodes 0 and 1
            raise TypeError(f"{who}: {what} is a mask in a {type(nodes).__name__}; pass it as a tensor")
        if index.numel() != size:
            raise ValueError(f"{who}: {what}, a mask, has {index.numel()} entries but there are {size} nodes")
        return int(index.sum())
    if index.numel() and (index.is_floating_point() or index.is_complex()):
        raise TypeError(f"{who}: {what} is {index.dtype}; pass node numbers as integers")
    check_numbers(f"{who}: {what}", index, size, "node", advice="pass nodes of the graph")
    return index.numel()


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _listing(kinds: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(kinds))) or "none"
