"""Our layer's forward with a PyG layer in the place of ``self``: its parameters, options and children."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from gnnlib.accel.aggregations import counterpart, reduction
from gnnlib.accel.gate import StockError, check_tensor, not_plain, why_stock
from gnnlib.nn.conv.base import Adj, Conv, Size
from gnnlib.sparse import CSR

#: The maps whose weights may be read instead of calling them; any other child may compute something else.
PLAIN = (pyg.Linear, nn.Linear)


class Map:
    """A PyG linear map with the questions that our layers ask of theirs."""

    hooked = uninitialized = False  # such a map has sent its layer to PyG's path before

    def __init__(self, linear: Any) -> None:
        self.linear = linear
        self.weight: Tensor = linear.weight
        self.bias: Tensor | None = linear.bias
        self.out_channels, self.in_channels = self.weight.shape

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out

    def expect(self, in_channels: int) -> None:
        """Check the input width."""
        if in_channels != self.in_channels:
            raise ValueError(f"the input has {in_channels} features but the map takes {self.in_channels}")


class View:
    """A PyG layer seen as ours.

    A subclass names PyG's class (``theirs``) and ours, whose methods it gets; the rest of what our forward
    asks of ``self`` is read from the PyG layer. Nothing is copied, so parameters and options may change at
    any time. ``run`` is the fast path. Where PyG's own code has to run instead, it raises
    :class:`StockError`, or one of the errors with which our layers turn their inputs down.

    Args:
        layer: the PyG layer.
    """

    theirs: ClassVar[type]
    ours: ClassVar[Any]
    maps: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()  # what PyG's layer may lack, where ours has None
    writes: ClassVar[tuple[str, ...]] = ()  # what our forward may set on the layer

    def __init__(self, layer: Any) -> None:
        object.__setattr__(self, "_layer", layer)
        object.__setattr__(self, "_aggr", reduction(getattr(layer, "aggr_module", None)))

    def __init_subclass__(cls, theirs: type, ours: type) -> None:
        cls.theirs, cls.ours = theirs, ours
        for base in ours.__mro__[: ours.__mro__.index(nn.Module)]:
            for name, member in vars(base).items():
                taken = name.startswith("__") or name in ("forward", "reset_parameters")
                if not taken and not any(name in vars(c) for c in cls.__mro__[:-1]):
                    setattr(cls, name, member)

    def __getattr__(self, name: str) -> Any:
        layer = self._layer
        value = getattr(layer, name, None) if name in self.optional else getattr(layer, name)
        if name in self.maps and value is not None:
            value = [Map(m) for m in value] if isinstance(value, nn.ModuleList) else self._map_once(value)
            object.__setattr__(self, name, value)
        return value

    def _map_once(self, linear: Any) -> Map:
        """One map for a linear layer that has two names."""
        for other in self.__dict__.values():
            if isinstance(other, Map) and other.linear is linear:
                return other
        return Map(linear)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.writes:
            raise AttributeError(f"{name} is not to be set by the fast path")
        setattr(self._layer, name, value)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The fast path, with the arguments of PyG's forward."""
        return self.ours.forward(self, *args, **kwargs)

    def why_stock(self) -> str | None:
        """What about the layer, or around its call, keeps it on PyG's path, or None."""
        layer = self._layer
        if (why := why_stock(layer)) is not None:
            return why
        if layer.node_dim not in (-2, 0):
            return f"node_dim={layer.node_dim}"
        for name in self.maps:
            child = getattr(layer, name, None)
            for part in child if isinstance(child, nn.ModuleList) else (child,):
                if part is not None and (why := not_plain(name, part, PLAIN)) is not None:
                    return why
        return self.why_not_reduced()

    def why_not_reduced(self) -> str | None:
        """Why the core does not offer the layer's aggregation, or None."""
        if self.aggr is None and (not self.ours.takes_modules or self.aggr_module is None):
            return f"aggr={self._layer.aggr!r} is no reduction of the core"
        return None

    # -- what our layers ask of themselves ------------------------------------------------------------

    @property
    def _who(self) -> str:
        return type(self._layer).__name__

    @property
    def aggr(self) -> str | None:
        """The reduction under the core's name, None where there is another aggregation."""
        found: str | None = self._aggr
        return found

    @property
    def aggr_module(self) -> nn.Module | None:
        """Ours for the layer's aggregation, None where that is a plain reduction."""
        return None if self.aggr is not None else counterpart(self._layer.aggr_module)

    def _check_features(self, x: Tensor) -> None:
        check_tensor("x", x)
        Conv._check_features(self, x)  # type: ignore[arg-type]

    def _graph(self, edge_index: Adj, x_src: Tensor, x_dst: Tensor | None, size: Size = None) -> CSR:
        self._check_graph(edge_index)
        return Conv._graph(self, edge_index, x_src, x_dst, size)  # type: ignore[arg-type]

    def _edge_weight(self, adj: CSR, edge_weight: Tensor | None, x: Tensor) -> Tensor | None:
        weight = Conv._edge_weight(self, adj, edge_weight, x)  # type: ignore[arg-type]
        if weight is not None:
            # Where precisions mix, that of the result hangs on the order of the products.
            if weight.dtype != x.dtype:
                raise StockError(f"the edge weights are {weight.dtype}, x is {x.dtype}")
            if torch.is_autocast_enabled(x.device.type):
                raise StockError("edge weights under autocast")
        return weight

    def takes_csc(self) -> bool:
        """Whether PyG's layer takes matrices in compressed columns: its fused path does."""
        return bool(self._layer.fuse)

    def _check_graph(self, edge_index: Any) -> None:
        """Refuse the graphs on which PyG's layer does something else than ours."""
        if not isinstance(edge_index, Tensor):
            raise StockError(f"the graph is a {type(edge_index).__name__}")
        if edge_index.device.type == "meta":
            raise StockError("the graph has no data (meta device)")
        if edge_index.layout is torch.strided:
            return
        if edge_index.layout is torch.sparse_csc and not self.takes_csc():
            raise StockError("PyG's layer does not take CSC matrices")
        if self._layer.flow != "source_to_target":
            raise StockError("PyG takes sparse matrices with flow='source_to_target' only")
