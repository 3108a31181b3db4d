"""Nodes that are sets of categories: their interactions, globally and pair by pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnlib.nn.init import glorot, reset
from gnnlib.nn.mlp import MLP
from gnnlib.sparse import CSR, segment_reduce, spmm
from gnnlib.sparse.cache import structures
from gnnlib.sparse.dropout import dropout
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.ops.sddmm import sddmm_slots


class CatEncoder(nn.Module):
    r"""Codes of nodes that are sets of ids, from a complete graph of the ids and from their products.

    .. math:: x_v = \beta\, \mathrm{MLP}_g\Big(\frac{1}{n} \sum_{k} \mathrm{ReLU}(P E_v W)_k\Big)
        + (1 - \beta)\, \mathrm{MLP}_l\Big(\sum_{i < j} e_i \odot e_j\Big), \qquad
        P = \frac{1 1^\top + \rho I}{n + \rho}

    Chen et al., CatGCN: Graph Convolutional Networks with Categorical Node Features, TKDE 2021. :math:`E_v`
    holds the embeddings of the node's n ids. Neither P nor a pair is ever formed: :math:`P E = (1 s^\top +
    \rho E) / (n + \rho)` with s the sum of the embeddings, and the products are :math:`\frac12 (s^2 - \sum_i
    e_i^2)`. With a large :math:`\rho` the global part is a linear map of each id by itself. A set without ids
    is the MLPs' bias; an id that comes twice counts twice.

    Args:
        num_categories: number of ids, at least 1.
        dim: width of an embedding, at least 1.
        out_channels: width of the codes.
        probe: :math:`\rho`, at least 0.
        beta: share of the global part, in [0, 1].
        hidden_channels: width of the hidden layers of both MLPs; ``dim`` when omitted.
        num_layers: linear maps of each MLP, at least 1.
        dropout: probability in [0, 1) of dropping a number after the ReLU of the global part and between the
            maps of the MLPs.

    Shapes: ids ``[T]`` integers, ptr ``[N + 1]``, the offsets of the nodes' lists -> ``[N, out]``.
    Cost: O(T dim) and an array of T x dim for the global part; O(C dim^2) for the map of all C categories.
    Raises: ValueError for numbers out of range, or ids and offsets that do not fit; TypeError for ids that
        are no integers.
    """

    def __init__(
        self,
        num_categories: int,
        dim: int,
        out_channels: int,
        probe: float = 1.0,
        beta: float = 0.5,
        *,
        hidden_channels: int | None = None,
        num_layers: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_categories < 1 or dim < 1 or probe < 0 or not 0 <= beta <= 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"CatEncoder: num_categories={num_categories}, dim={dim}, probe={probe}, beta={beta}, "
                f"dropout={dropout}; pass 1 or more, 1 or more, 0 or more, 0 to 1, and 0 to below 1"
            )
        self.num_categories = num_categories
        self.dim = dim
        self.out_channels = out_channels
        self.probe = probe
        self.beta = beta
        self.dropout = dropout
        self.embedding = nn.Parameter(torch.empty(num_categories, dim))
        self.weight = nn.Parameter(torch.empty(dim, dim))
        hidden = dim if hidden_channels is None else hidden_channels
        widths = [dim] + [hidden] * (num_layers - 1) + [out_channels]
        self.global_mlp = MLP(widths, dropout=dropout, norm=None)
        self.local_mlp = MLP(widths, dropout=dropout, norm=None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        glorot(self.embedding)
        glorot(self.weight)
        reset(self.global_mlp)
        reset(self.local_mlp)

    def forward(self, ids: Tensor, ptr: Tensor) -> Tensor:
        """Codes of the sets ``ids[ptr[v]:ptr[v + 1]]``, ``[N, out]``."""
        whole, pairs = self.interactions(ids, ptr)
        out: Tensor = self.beta * self.global_mlp(whole) + (1 - self.beta) * self.local_mlp(pairs)
        return out

    def interactions(self, ids: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
        """What the two MLPs see: a mean row of the convolution and a sum of products, ``[N, dim]`` both."""
        sets = self._sets(ids, ptr)
        total = spmm(sets, self.embedding)
        squares = spmm(sets, self.embedding.square())
        rows = sddmm_slots(
            sets,
            (total @ self.weight).unsqueeze(1),
            self.probe * (self.embedding @ self.weight).unsqueeze(1),
            "add",
        ).squeeze(1)  # [T, dim], n + rho times too large, which commutes with the ReLU
        rows = dropout(rows.relu(), self.dropout, self.training)
        size = (sets.degree.clamp(min=1) + self.probe).to(rows.dtype)
        whole = segment_reduce(rows, sets.indptr, "mean") / size[:, None]
        return whole, (total.square() - squares) / 2

    def _sets(self, ids: Tensor, ptr: Tensor) -> CSR:
        """The sets as a CSR, row = node, column = id; checked and made once while ids live."""
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise TypeError(f"CatEncoder: ids is {ids.dtype}; pass integers, for example ids.long()")
        if ids.dim() != 1 or ptr.dim() != 1 or ptr.dtype != torch.int64 or not ptr.numel():
            raise ValueError(
                f"CatEncoder: ids has shape {list(ids.shape)} and ptr is {ptr.dtype} of {list(ptr.shape)}; "
                "expected [T], and int64 offsets [N + 1]"
            )
        version = 0 if ptr.is_inference() else ptr._version
        key = ("id sets", self.num_categories, version)
        return structures.get(ids, (ids, ptr), key, lambda: self._checked(ids, ptr))

    def _checked(self, ids: Tensor, ptr: Tensor) -> CSR:
        if int(ptr[0]) or int(ptr[-1]) != ids.numel() or bool((ptr.diff() < 0).any()):
            raise ValueError(
                f"CatEncoder: ptr runs from {int(ptr[0])} to {int(ptr[-1])} over {ids.numel()} ids; it must "
                "start at 0, never decrease and end at the number of ids"
            )
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= self.num_categories):
            raise ValueError(
                f"CatEncoder: ids holds {int(ids.min())} to {int(ids.max())} but num_categories="
                f"{self.num_categories}; pass 0 to {self.num_categories - 1}"
            )
        return CSR.trusted(ptr, ids.to(index_dtype(self.num_categories)), self.num_categories)

    def __repr__(self) -> str:
        return f"CatEncoder({self.num_categories}, {self.out_channels}, dim={self.dim}, probe={self.probe:g})"


def id_lists(x: Tensor) -> tuple[Tensor, Tensor]:
    """The columns of each row's nonzero entries as lists of ids, kept while x lives and does not change.

    Args:
        x: rows of marks, such as bags of words; what a mark is worth does not count.

    Shapes: x ``[N, C]`` -> ids ``[T]`` and ptr ``[N + 1]``.
    Raises: ValueError for another shape.
    """
    if x.dim() != 2:
        raise ValueError(f"id_lists: x has shape {list(x.shape)}; expected [N, C], one row a node")
    return structures.get(x, (x,), "id lists", lambda: _id_lists(x))


def _id_lists(x: Tensor) -> tuple[Tensor, Tensor]:
    rows, ids = x.detach().nonzero(as_tuple=True)
    ptr = torch.zeros(x.size(0) + 1, dtype=torch.int64, device=x.device)
    torch.cumsum(rows.bincount(minlength=x.size(0)), 0, out=ptr[1:])
    return ids, ptr
