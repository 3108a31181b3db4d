"""Graph convolution of Cluster-GCN with diagonal enhancement."""

from __future__ import annotations

from typing import Unpack

import torch.nn.functional as F
from torch import Tensor

from gnnlib.nn.conv.base import Adj, Conv, ConvOptions
from gnnlib.nn.linear import Linear
from gnnlib.sparse import CSR, segment_reduce, spmm
from gnnlib.sparse.ops.spmm import inverse_degree


class ClusterGCNConv(Conv):
    r"""Mean of the neighbours with a stronger diagonal, and the node itself through its own map.

    .. math:: X' = \big(\hat A + \lambda \operatorname{diag}(\hat A)\big) X W_1 + X W_2 + b, \qquad
        \hat A = (D + I)^{-1} (A + I)

    Chiang et al., Cluster-GCN, KDD 2019, Eq. 10 and 11. D counts the messages that a node gets (in PyG the
    edges into ``edge_index[1]``, whatever the flow).

    Args:
        in_channels: width of x; -1 takes it from the first call.
        out_channels: width of the output.
        diag_lambda: lambda, how much more a loop counts.
        add_self_loops: give each node exactly one loop; otherwise the loops of the graph are the diagonal.
        bias: learn b.
        **kwargs: ``aggr`` (``"sum"``) and ``flow`` of PyG's base class.

    Shapes: x ``[N, in]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes -> ``[N, out]``. The
        values of a sparse matrix do not count.
    Cost: one SpMM on the narrower side of W1.
    Raises: ValueError when x and edge_index do not fit, or x is a pair.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        diag_lambda: float = 0.0,
        add_self_loops: bool = True,
        bias: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.diag_lambda = diag_lambda
        self.add_self_loops = add_self_loops
        self.lin_out = Linear(in_channels, out_channels, bias=bias, weight_initializer="glorot")
        self.lin_root = Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        self.lin_out.reset_parameters()
        self.lin_root.reset_parameters()

    def forward(self, x: Tensor, edge_index: Adj) -> Tensor:
        """Convolve x ``[N, in]`` over the graph -> ``[N, out]``."""
        x = self._one(x)
        self.lin_out.expect(x.size(1))
        adj = self._graph(edge_index, x, x)
        if self.add_self_loops:
            adj = adj.add_self_loops(remaining=False)
        if self.aggr == "sum" and self.out_channels < x.size(1) and not self.lin_out.hooked:
            out = self._mean(adj, F.linear(x, self.lin_out.weight))
            out = out if self.lin_out.bias is None else out + self.lin_out.bias.to(out.dtype)
        else:
            out = self.lin_out(self._mean(adj, x))
        root: Tensor = self.lin_root(x)
        return out + root

    def _mean(self, adj: CSR, x: Tensor) -> Tensor:
        inverse = inverse_degree(adj, x.dtype)
        if self.aggr != "sum":
            row = adj.rows
            loop = (row == adj.indices).to(inverse.dtype)
            weight = (1 + self.diag_lambda * loop) * inverse.index_select(0, row)
            return spmm(adj.slot_order, x, weight.to(x.dtype), self.aggr)
        out = spmm(adj, x, reduce="mean")
        if self.diag_lambda == 0:
            return out
        more = self.diag_lambda * inverse * self._loops(adj, inverse)
        return out + more.to(x.dtype)[:, None] * x

    def _loops(self, adj: CSR, like: Tensor) -> Tensor:
        """Loops of each node, ``[N]``."""
        if self.add_self_loops:
            return like.new_ones(adj.num_rows)
        return segment_reduce((adj.rows == adj.indices).to(like.dtype), adj.indptr)

    def __repr__(self) -> str:
        return f"ClusterGCNConv({self.in_channels}, {self.out_channels}, diag_lambda={self.diag_lambda})"
