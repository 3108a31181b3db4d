"""Lazy propagation: a few steps an iteration, from where the last iteration ended."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gnnlib.nn.conv.base import Adj, ConvOptions
from gnnlib.nn.conv.gcn_norm import Propagation, gcn_norm
from gnnlib.nn.conv.hops import repeat
from gnnlib.nn.conv.sums import SumConv


class LazyPropagation(SumConv):
    r"""Personalised PageRank propagation that remembers outputs and gradients between training steps.

    .. math:: Z_0 = (1 - \beta) M_z + \beta X, \quad Z_{l+1} = (1 - \alpha) S Z_l + \alpha X, \quad
        M_z \gets Z_L

    .. math:: V_0 = (1 - \gamma) M_g + \gamma G, \quad V_{l+1} = (1 - \alpha) S^\top V_l + \alpha G, \quad
        M_g \gets V_L

    Xue et al., LazyGNN: Large-Scale Graph Neural Networks via Lazy Propagation, ICML 2023, Eqs. 7 to 10. The
    output is :math:`Z_L`; G is the gradient that arrives there and :math:`V_L` the one that X gets. This is
    not the derivative of the forward pass but converges, as it does, to that of its fixed point: after k
    iterations both have looked k L hops far. The transpose is taken exactly, so directed graphs and sampled
    blocks are right, where the authors' code multiplies by S again. A row that was never seen starts at X
    and at G. While evaluating, K plain steps run and the memories rest.

    Memories follow the module to its device and dtype, are cleared by :meth:`reset_memory` and
    :meth:`reset_parameters`, and belong to one graph with one numbering: clear them when another one comes.

    Args:
        L: steps of an iteration, at least 1.
        alpha: teleport probability in [0, 1].
        beta: share of X in the first state, in [0, 1].
        gamma: share of G in the first gradient, in [0, 1].
        K: steps while evaluating, at least 0.
        num_nodes: nodes of the whole graph; None takes them from the first call that sees it whole.
        persistent: save the memories in the ``state_dict``, so that a resumed training goes on as it would.
        add_self_loops: give each node that has none a loop.
        normalize: apply the normalisation, loops included; otherwise the edges count as they are. Parts of a
            graph need that: pass edges and weights of the whole graph's S, which PyG's ``gcn_norm`` lists.
        **kwargs: ``flow`` of PyG's base class.

    Shapes: x ``[N, C]``, edge_index ``[2, E]`` or any form that :func:`as_csr` takes, edge_weight ``[E]``
        -> ``[N, C]``. For a part of the graph: n_id ``[N]``, the whole graph's number of each row, and
        num_targets T: the first T rows are those whose results count, the rest lie within L hops of them.
        Memories are ``[num_nodes, C]``.
    Cost: L SpMMs forward and L backward, nothing kept for the backward pass; two arrays of memory.
    Raises: ValueError for options out of range, n_id without num_nodes, memories of another size than x, or
        when x, edge_index and edge_weight do not fit.
    """

    takes_edge_weight = True
    z_mem: Tensor
    g_mem: Tensor
    seen: Tensor

    def __init__(
        self,
        L: int = 2,
        alpha: float = 0.1,
        beta: float = 0.5,
        gamma: float = 0.5,
        *,
        K: int = 7,
        num_nodes: int | None = None,
        persistent: bool = False,
        add_self_loops: bool = True,
        normalize: bool = True,
        **kwargs: Unpack[ConvOptions],
    ) -> None:
        super().__init__(**kwargs)
        if L < 1 or K < 0:
            raise ValueError(f"LazyPropagation: L={L}, K={K}; pass L of 1 or more and K of 0 or more")
        for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
            if not 0 <= value <= 1:
                raise ValueError(f"LazyPropagation: {name}={value}; pass a number from 0 to 1")
        self.L = L
        self.K = K
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.num_nodes = num_nodes
        self.add_self_loops = add_self_loops
        self.normalize = normalize
        for name in ("z_mem", "g_mem", "seen"):
            self.register_buffer(name, None, persistent=persistent)
        self.reset_memory()

    def reset_parameters(self) -> None:
        """Clear the memories; there are no parameters."""
        self.reset_memory()

    def reset_memory(self) -> None:
        """Forget all outputs and gradients of former steps."""
        like = self.z_mem if self.z_mem is not None else torch.empty(0)
        self.z_mem = like.new_zeros(0, 0)
        self.g_mem = like.new_zeros(0, 0)
        self.seen = torch.zeros(2, 0, dtype=torch.bool, device=like.device)

    def forward(
        self,
        x: Tensor,
        edge_index: Adj,
        edge_weight: Tensor | None = None,
        *,
        n_id: Tensor | None = None,
        num_targets: int | None = None,
        normalize: bool | None = None,
    ) -> Tensor:
        """Propagate x ``[N, C]`` over the graph, or over the part of it that n_id names -> ``[N, C]``.

        ``normalize`` stands in for the layer's own in this call, for parts whose edges are those of S.
        """
        x = self._one(x)
        adj = self._graph(edge_index, x, x)
        weight = self._edge_weight(adj, edge_weight, x)
        step = Propagation(adj, weight)
        if self.normalize if normalize is None else normalize:
            step = gcn_norm(adj, weight, x, add_self_loops=self.add_self_loops)
        if not self.training:
            return repeat(step, x, self.K, restart=self.alpha)
        if weight is not None and weight.requires_grad:
            raise NotImplementedError(
                "LazyPropagation: edge_weight asks for a gradient, which lazy propagation does not define; "
                "pass edge_weight.detach()"
            )
        targets = x.size(0) if num_targets is None else num_targets
        self._make_room(x, n_id, targets)
        out: Tensor = _Lazy.apply(x, self, step, n_id, targets)  # type: ignore[no-untyped-call]
        return out

    def _make_room(self, x: Tensor, n_id: Tensor | None, targets: int) -> None:
        """Check the part against the memories, and make those at the first step."""
        n = x.size(0)
        if not 0 <= targets <= n:
            raise ValueError(f"LazyPropagation: num_targets={targets} but x has {n} rows; pass 0 to {n}")
        if n_id is None:
            total = n if self.num_nodes is None else self.num_nodes
            if total != n:
                raise ValueError(
                    f"LazyPropagation: x has {n} rows but num_nodes={total}; pass n_id for a part"
                )
        elif self.num_nodes is None and self.z_mem.numel() == 0:
            raise ValueError(
                "LazyPropagation: n_id came before the size is known; pass num_nodes to the layer"
            )
        else:
            total = self.z_mem.size(0) if self.num_nodes is None else self.num_nodes
            if n_id.shape != (n,):
                raise ValueError(
                    f"LazyPropagation: n_id has shape {list(n_id.shape)} but x has {n} rows; pass one a row"
                )
        if self.seen.size(1) == 0:
            self.z_mem, self.g_mem = (x.detach().new_zeros(total, x.size(1)) for _ in range(2))
            self.seen = torch.zeros(2, total, dtype=torch.bool, device=x.device)
        if self.z_mem.shape != (total, x.size(1)):
            raise ValueError(
                f"LazyPropagation: the memories are {list(self.z_mem.shape)} but x needs "
                f"{[total, x.size(1)]}; call reset_memory() before another graph or width"
            )

    def _start(self, which: int, memory: Tensor, now: Tensor, share: float, n_id: Tensor | None) -> Tensor:
        """The mix of remembered and present rows; the present ones alone where nothing is remembered."""
        seen = self.seen[which]
        if n_id is not None:
            memory, seen = memory.index_select(0, n_id), seen.index_select(0, n_id)
        return torch.where(seen[:, None], torch.lerp(memory.to(now.dtype), now, share), now)

    def _keep(self, which: int, memory: Tensor, rows: Tensor, n_id: Tensor | None, targets: int) -> None:
        if n_id is None and targets == rows.size(0):
            memory.copy_(rows)
            self.seen[which] = True
            return
        place = torch.arange(targets, device=rows.device) if n_id is None else n_id[:targets]
        memory.index_copy_(0, place, rows[:targets].to(memory.dtype))
        self.seen[which].index_fill_(0, place, True)

    def _steps(self, step: Propagation, start: Tensor, inject: Tensor) -> Tensor:
        for _ in range(self.L):
            start = step(start).mul_(1 - self.alpha).add_(inject, alpha=self.alpha)
        return start

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in ("z_mem", "g_mem", "seen"):  # memories have the size of the graph they come from
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(self, name, torch.empty_like(saved, device=self.seen.device))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __repr__(self) -> str:
        shares = f"alpha={self.alpha}, beta={self.beta}, gamma={self.gamma}"
        return f"LazyPropagation(L={self.L}, {shares}, K={self.K})"


class _Lazy(torch.autograd.Function):
    """Both lazy passes; what the layer remembers changes with each of them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layer: LazyPropagation, step: Propagation, n_id: Tensor | None, targets: int
    ) -> Tensor:
        ctx.layer, ctx.step, ctx.n_id, ctx.targets = layer, step, n_id, targets
        out = layer._steps(step, layer._start(0, layer.z_mem, x, layer.beta, n_id), x)
        layer._keep(0, layer.z_mem, out, n_id, targets)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layer, n_id, targets = ctx.layer, ctx.n_id, ctx.targets
        start = layer._start(1, layer.g_mem, grad, layer.gamma, n_id)
        out = layer._steps(_transposed(ctx.step), start, grad)
        layer._keep(1, layer.g_mem, out, n_id, targets)
        if targets < out.size(0):
            out[targets:] = 0
        return out, None, None, None, None


def _transposed(step: Propagation) -> Propagation:
    """The transpose of a step, whose scales are the same on both sides."""
    return Propagation(step.adj.transposed, step.weight, step.scale)
