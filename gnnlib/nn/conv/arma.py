"""Graph convolution of auto-regressive moving average filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.conv.gcn_norm import gcn_norm
from gnnlib.nn.init import glorot, zeros
from gnnlib.sparse.dropout import dropout


class ARMAConv(Conv):
    r"""Mean of K stacks of recursive graph filters.

    .. math:: X' = \frac{1}{K} \sum_{k=1}^{K} X_k^{(T)}, \qquad
        X_k^{(t+1)} = \sigma\big(D^{-1/2} A D^{-1/2} X_k^{(t)} W + X^{(0)} V + b\big)

    Bianchi et al., Graph Neural Networks with Convolutional ARMA Filters, TPAMI 2021.

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        num_stacks: K, number of parallel stacks.
        num_layers: T, number of layers of each stack.
        shared_weights: use the same V, b and, from the second layer on, W in all layers of a stack.
        act: sigma, or None.
        dropout: probability in [0, 1] of dropping a number of X in the skip connection, in training.
        bias: learn b.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, out]``. The values of a sparse matrix are its edge weights.
    Cost: T SpMMs of all stacks side by side, ``[N, K * out]``.
    Raises: ValueError when x, edge_index and edge_weight do not fit, or x is a pair.
    """

    takes_edge_weight = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_stacks: int = 1,
        num_layers: int = 1,
        shared_weights: bool = False,
        act: Callable[[Tensor], Tensor] | None = nn.ReLU(),  # noqa: B008 - it has no state; PyG's default
        dropout: float = 0.0,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_stacks = num_stacks
        self.num_layers = num_layers
        self.act = act
        self.shared_weights = shared_weights
        self.dropout = dropout
        layers = 1 if shared_weights else num_layers
        self.weight = nn.Parameter(torch.empty(max(1, layers - 1), num_stacks, out_channels, out_channels))
        self.init_weight: nn.Parameter | UninitializedParameter = UninitializedParameter()
        self.root_weight: nn.Parameter | UninitializedParameter = UninitializedParameter()
        if in_channels > 0:
            self.init_weight = nn.Parameter(torch.empty(self._shapes(in_channels)[0]))
            self.root_weight = nn.Parameter(torch.empty(self._shapes(in_channels)[1]))
        self.bias = nn.Parameter(torch.empty(layers, num_stacks, 1, out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters; those of x wait until its width is known."""
        glorot(self.weight)
        glorot(self.init_weight)
        glorot(self.root_weight)
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj, edge_weight: Tensor | None = None) -> Tensor:
        """Filter x ``[N, in]`` over the graph -> ``[N, out]``."""
        x = self._one(x)
        self._expect(x.size(1))
        adj = self._graph(edge_index, x, x)
        step = gcn_norm(adj, self._edge_weight(adj, edge_weight, x), x, add_self_loops=False)
        out = x @ _side_by_side(self.init_weight)
        for t in range(self.num_layers):
            at = 0 if self.shared_weights else t
            if t > 0:
                stacks = out.view(-1, self.num_stacks, self.out_channels)
                weight = self.weight[0 if self.shared_weights else t - 1]
                out = torch.einsum("nkf,kfg->nkg", stacks, weight).flatten(1)
            root = dropout(x, self.dropout, self.training) @ _side_by_side(self.root_weight[at])
            out = step(out, self.aggr) + root
            if self.bias is not None:
                out = out + self.bias[at].view(-1)
            if self.act is not None:
                out = self.act(out)
        return out.view(-1, self.num_stacks, self.out_channels).mean(1)

    def _shapes(self, in_channels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        layers = 1 if self.shared_weights else self.num_layers
        one = (self.num_stacks, in_channels, self.out_channels)
        return one, (layers, *one)

    def _expect(self, in_channels: int) -> None:
        """Take ``in_channels`` as the width of x if none is known, else check it."""
        if isinstance(self.init_weight, UninitializedParameter):
            self._materialize(in_channels)
            glorot(self.init_weight)
            glorot(self.root_weight)
        elif in_channels != self.in_channels:
            raise ValueError(
                f"ARMAConv: x has {in_channels} features but in_channels={self.in_channels}; pass "
                f"{self.in_channels} features or build the layer with in_channels={in_channels}"
            )

    @torch.no_grad()
    def _materialize(self, in_channels: int) -> None:
        self.in_channels = in_channels
        for weight, shape in zip(
            (self.init_weight, self.root_weight), self._shapes(in_channels), strict=True
        ):
            assert isinstance(weight, UninitializedParameter)
            weight.materialize(shape)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        # A parameter without a shape cannot be detached: it is saved as it is.
        for name, value in self._parameters.items():
            if value is not None:
                as_is = keep_vars or isinstance(value, UninitializedParameter)
                destination[prefix + name] = value if as_is else value.detach()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        found = state_dict.get(prefix + "init_weight")
        if isinstance(found, UninitializedParameter):
            self.in_channels = -1
            self.init_weight, self.root_weight = UninitializedParameter(), UninitializedParameter()
        elif found is not None and isinstance(self.init_weight, UninitializedParameter):
            self._materialize(found.size(-2))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __repr__(self) -> str:
        return (
            f"ARMAConv({self.in_channels}, {self.out_channels}, num_stacks={self.num_stacks}, "
            f"num_layers={self.num_layers})"
        )


def _side_by_side(weight: Tensor) -> Tensor:
    """``[K, in, out]`` -> ``[in, K * out]``."""
    return weight.transpose(0, 1).flatten(1)
