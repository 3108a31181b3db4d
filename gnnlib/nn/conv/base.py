"""What message-passing layers share: PyG's common options, the door for the graph, and its checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.nn.aggr.base import is_aggregation, over_neighbours
from gnnlib.nn.aggr.resolver import aggregation_resolver, reduction_name
from gnnlib.nn.init import reset
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, as_csr, spmm
from gnnlib.sparse.convert import Adj, Size, default_rows
from gnnlib.sparse.ops.spmm import Reduce

Pair: TypeAlias = tuple[Tensor, Tensor | None]
Channels: TypeAlias = int | tuple[int, int]
Aggr: TypeAlias = "str | nn.Module | Sequence[str | nn.Module]"

__all__ = ["Adj", "Aggr", "Channels", "Conv", "ConvOptions", "FlowOptions", "Pair", "Reduce", "Size"]


class FlowOptions(TypedDict, total=False):
    """The options that PyG's layers hand to their base class, but for ``aggr``."""

    aggr_kwargs: dict[str, Any] | None
    flow: Literal["source_to_target", "target_to_source"]
    node_dim: int
    decomposed_layers: int


class ConvOptions(FlowOptions, total=False):
    """All options that PyG's layers hand to their base class."""

    aggr: Aggr


class Conv(nn.Module):
    """Base of the layers: keeps PyG's common options and turns every graph format into a CSR.

    Args:
        aggr: how messages are reduced: ``"sum"`` (or ``"add"``), ``"mean"``, ``"max"``, ``"min"``, whose
            messages are never formed. Layers that say so take any aggregation of :mod:`gnnlib.nn.aggr` or of
            PyG as well: its name, a module, or a list of them (:class:`MultiAggregation`). It sees a message
            on each edge, E x F numbers, unless it is made of plain reductions of unweighted neighbours.
        aggr_kwargs: arguments of an aggregation that is named, or of the list.
        flow: ``"target_to_source"`` sends messages against the edges.
        node_dim: the dimension of x that runs over nodes; the first of two.
        decomposed_layers: PyG's slicing of wide messages; no message is ever built here, so any
            number gives the same computation.
    """

    takes_edge_weight = False  # whether the third argument of forward is an edge weight
    takes_modules = False  # whether ``aggr`` may be any aggregation
    aggr: Reduce  # with ``aggr_module`` its description, as PyG has it
    aggr_module: nn.Module | None

    def __init__(
        self,
        aggr: Aggr = "sum",
        *,
        aggr_kwargs: dict[str, Any] | None = None,
        flow: Literal["source_to_target", "target_to_source"] = "source_to_target",
        node_dim: int = -2,
        decomposed_layers: int = 1,
    ) -> None:
        super().__init__()
        if flow not in ("source_to_target", "target_to_source"):
            raise ValueError(
                f"{self._who}: flow={flow!r} is unknown; choose 'source_to_target' or 'target_to_source'"
            )
        if node_dim not in (-2, 0):
            raise NotImplementedError(
                f"{self._who}: node_dim={node_dim} is not offered; pass x as [N, F] and leave node_dim=-2"
            )
        self._set_aggregation(aggr, aggr_kwargs)
        self.flow = flow
        self.node_dim = node_dim
        self.decomposed_layers = decomposed_layers

    @property
    def _who(self) -> str:
        return type(self).__name__

    @property
    def reduces(self) -> bool:
        """Whether ``aggr`` is a reduction of the core, which forms no messages."""
        return self.aggr in ("sum", "mean", "max", "min")

    def _set_aggregation(self, aggr: Any, kwargs: dict[str, Any] | None) -> None:
        """Keep a plain reduction as its name, any other aggregation as a module."""
        self.aggr_module = None
        if reduction_name(aggr) is not None or not self.takes_modules:
            if kwargs:
                raise NotImplementedError(
                    f"{self._who}: aggr_kwargs={kwargs} has no use here; sum, mean, max and min take none"
                )
            self.aggr = self._reduction(aggr)
            return
        try:
            module = aggregation_resolver(aggr, **(kwargs or {}))
        except ValueError as error:
            raise ValueError(f"{self._who}: {error}") from None
        if not is_aggregation(module):
            raise TypeError(
                f"{self._who}: aggr={aggr!r} is no aggregation; pass a name such as 'mean', a module of "
                "gnnlib.nn.aggr, or a list of them"
            )
        self.aggr_module = module
        described = [str(a) for a in aggr] if isinstance(aggr, (list, tuple)) else str(aggr)
        self.aggr = described  # type: ignore[assignment]  # no reduction of the core has such a name

    def _reduction(self, aggr: Any) -> Reduce:
        name: Any = reduction_name(aggr)
        if name is not None:
            return name  # type: ignore[no-any-return]  # one of the four
        raise NotImplementedError(
            f"{self._who}: aggr={aggr!r} is not offered; choose 'sum' (or 'add'), 'mean', 'max' or 'min'"
        )

    def reset_parameters(self) -> None:
        """Draw new parameters; a layer without any has nothing to do."""
        if self.aggr_module is not None:
            reset(self.aggr_module)

    # -- the door ---------------------------------------------------------------------------------

    def _pair(self, x: Tensor | Pair) -> Pair:
        """Features of sources and targets; one tensor serves as both."""
        if isinstance(x, Tensor):
            self._check_features(x)
            return x, x
        if not isinstance(x, (tuple, list)) or len(x) != 2 or not isinstance(x[0], Tensor):
            raise TypeError(f"{self._who}: x is {type(x).__name__}; pass a tensor or (x_src, x_dst)")
        if self.flow == "target_to_source":
            raise NotImplementedError(
                f"{self._who}: flow='target_to_source' takes one x for all nodes; for a bipartite graph swap "
                "the rows of edge_index and keep the default flow"
            )
        x_src, x_dst = x
        self._check_features(x_src)
        if x_dst is not None:
            self._check_features(x_dst)
        return x_src, x_dst

    def _one(self, x: Any) -> Tensor:
        """Features of the nodes of a layer that has one set of them."""
        if not isinstance(x, Tensor):
            raise ValueError(
                f"{self._who}: x is {type(x).__name__} but the layer knows one set of nodes only; pass one "
                "tensor, or take SAGEConv, GraphConv, GINConv or GATConv for a bipartite graph"
            )
        self._check_features(x)
        return x

    def _check_features(self, x: Tensor) -> None:
        if x.dim() != 2:
            raise ValueError(f"{self._who}: x has shape {list(x.shape)}; expected [N, F], one row a node")
        if not x.is_floating_point():
            raise TypeError(f"{self._who}: x is {x.dtype}; pass floating features, for example x.float()")

    def _graph(self, edge_index: Adj, x_src: Tensor, x_dst: Tensor | None, size: Size = None) -> CSR:
        """The one place where a graph becomes a CSR, rows the nodes that receive."""
        src: int | None = x_src.size(0)
        dst = None if x_dst is None else x_dst.size(0)
        if size is not None:
            named = (size, size) if isinstance(size, int) else tuple(size)
            dst = named[1] if dst is None else dst
            for given, has, name in ((named[0], src, "source"), (named[1], dst, "target")):
                if given is not None and given != has:
                    raise ValueError(
                        f"{self._who}: size={named} names {given} {name} nodes but x has {has} of them; "
                        "size is (sources, targets)"
                    )
        if dst is None:
            dst = default_rows(edge_index, x_src.size(0))
        adj = as_csr(edge_index, (src, dst))
        return adj if self.flow == "source_to_target" else adj.transposed

    def _edge_weight(self, adj: CSR, edge_weight: Tensor | None, x: Tensor) -> Tensor | None:
        """One weight an edge, from the argument or from the sparse matrix."""
        if edge_weight is None:
            edge_weight = adj.value
        elif adj.value is not None:
            raise ValueError(
                f"{self._who}: edge_weight came with a sparse matrix that has values of its own; pass one "
                "of them"
            )
        if edge_weight is None:
            return None
        if edge_weight.numel() != adj.num_values or edge_weight.size(0) != adj.num_values:
            raise ValueError(
                f"{self._who}: edge_weight has shape {list(edge_weight.shape)} but the graph has "
                f"{adj.num_values} edges; pass one weight an edge, [{adj.num_values}]"
            )
        weight = edge_weight.reshape(-1)
        return weight if weight.is_floating_point() else weight.to(x.dtype)

    def _weight_like(self, x: Tensor, adj: CSR, edge_weight: Tensor | None) -> Tensor | None:
        """:meth:`_edge_weight` in the dtype of x, for layers that map what they have propagated."""
        weight = self._edge_weight(adj, edge_weight, x)
        return None if weight is None else weight.to(x.dtype)

    def _aggregate(self, adj: CSR, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Reduce the messages w_ij x_j of each target by ``aggr``: ``[C, F]`` -> ``[R, F']``."""
        if self.aggr_module is None or self.reduces:
            return spmm(adj, x, weight, self.aggr)
        return over_neighbours(self.aggr_module, adj, x, weight)

    def _aggregate_then(
        self,
        lin: Linear,
        adj: CSR,
        x: Tensor,
        weight: Tensor | None,
        reduce: Reduce,
        root: Linear | None,
        x_root: Tensor | None,
    ) -> Tensor:
        """``lin`` of the reduced neighbours plus ``root`` of the nodes themselves, if both are given.

        A linear reduction runs on the narrower side of the map. One product serves both maps where they read
        the same x; elsewhere the second one adds to what the first has written.
        """
        if root is None or x_root is None:
            root = x_root = None
        if not self.reduces:
            mapped: Tensor = lin(self._aggregate(adj, x, weight))
            return _plus(mapped, root, x_root, seen=lin.hooked)
        lin.expect(x.size(-1))
        narrower = lin.out_channels < x.size(-1)
        if reduce in ("max", "min") or not narrower or lin.hooked:
            return _plus(lin(spmm(adj, x, weight, reduce)), root, x_root, seen=lin.hooked)
        if root is not None and x_root is x and not root.hooked:
            root.expect(x.size(-1))
            both = F.linear(x, torch.cat([lin.weight, root.weight]))
            neighbours, own = torch.split(both, [lin.out_channels, root.out_channels], dim=-1)
            out = spmm(adj, neighbours, weight, reduce) + own
            for bias in (lin.bias, root.bias):
                out = out if bias is None else out + bias.to(out.dtype)
            return out
        out = spmm(adj, F.linear(x, lin.weight), weight, reduce)
        out = out if lin.bias is None else out + lin.bias.to(out.dtype)
        return _plus(out, root, x_root)

    def __repr__(self) -> str:
        sizes = [str(getattr(self, n)) for n in ("in_channels", "out_channels") if hasattr(self, n)]
        return f"{self._who}({', '.join(sizes)})"


def _plus(out: Tensor, root: Linear | None, x: Tensor | None, *, seen: bool = False) -> Tensor:
    """``out + root(x)``, written over ``out`` unless someone has ``seen`` that."""
    if root is None or x is None:
        return out
    root.expect(x.size(-1))
    plain = x.dim() == 2 and root.bias is None and out.dtype == x.dtype == root.weight.dtype
    if seen or root.hooked or not plain or torch._C._are_functorch_transforms_active():
        own: Tensor = root(x)
        return out + own
    return out.addmm_(x, root.weight.t())
