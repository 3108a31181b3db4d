"""Hypergraphs: nodes, sets of them, and the two CSRs that every hypergraph layer reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from gnnlib.sparse.autograd import traced
from gnnlib.sparse.cache import structures
from gnnlib.sparse.convert import check_numbers
from gnnlib.sparse.csr import CSR
from gnnlib.sparse.ops.build import index_dtype
from gnnlib.sparse.ops.spmm import spmm

__all__ = ["as_hypergraph", "check_parts", "Hypergraph", "Incidences", "inverse"]

T = TypeVar("T")

#: What hypergraph layers take: incidences ``[2, nnz]`` (row 0 node, row 1 hyperedge), a :class:`Hypergraph`,
#: PyG's ``HyperGraphData``, or a CSR or torch sparse matrix with a row for each hyperedge.
Incidences: TypeAlias = Any


class Hypergraph:
    r"""Nodes, hyperedges and who belongs to which, sorted once in both directions.

    The incidence matrix H ``[N, M]`` is binary, or real where incidences have a value; a hyperedge is a set,
    so a repeated incidence counts once. Empty hyperedges, hyperedges of one node and nodes in no hyperedge
    are kept. What layers derive from the structure is computed once and kept, so a Hypergraph must not be
    changed in place.

    Args:
        hyperedge_index: incidences in any order, integers from 0; row 0 a node, row 1 a hyperedge.
        num_nodes: N. It is asked for, since a largest number plus one would drop the last isolated nodes.
        num_hyperedges: M; the largest hyperedge named plus one when omitted, so empty hyperedges at the
            end need it.
        incidence_value: :math:`H_{ve}`, a number for each incidence, in the caller's order.
        hyperedge_weight: w, a number for each hyperedge.
        hyperedge_attr: features of the hyperedges.
        multiset: a repeated incidence counts as often as it is named.

    Shapes: hyperedge_index ``[2, nnz]``, incidence_value ``[nnz]``, hyperedge_weight ``[M]``,
        hyperedge_attr ``[M, F]``.
    Cost: O(nnz log nnz) to sort the incidences and drop repeated ones.
    Raises: TypeError for numbers that are no integers; ValueError for a wrong shape, a node or hyperedge
        outside the hypergraph, or values for incidences that repeat.
    """

    def __init__(
        self,
        hyperedge_index: Tensor,
        num_nodes: int,
        num_hyperedges: int | None = None,
        *,
        incidence_value: Tensor | None = None,
        hyperedge_weight: Tensor | None = None,
        hyperedge_attr: Tensor | None = None,
        multiset: bool = False,
    ) -> None:
        _check_index(hyperedge_index)
        index = hyperedge_index.to(torch.int64)
        if num_hyperedges is None:
            num_hyperedges = int(index[1].max()) + 1 if index.shape[1] else 0
        _check_range(index, num_nodes, num_hyperedges)
        self.v2e = _sorted(index, num_nodes, num_hyperedges, multiset)
        self._shared: dict[Hashable, Any] = {}
        self._attach(incidence_value, hyperedge_weight, hyperedge_attr)

    def _attach(self, value: Tensor | None, weight: Tensor | None, attr: Tensor | None) -> None:
        if value is not None:
            if value.shape != (self.v2e.num_values,):
                raise ValueError(
                    f"Hypergraph: incidence_value has shape {list(value.shape)} but there are "
                    f"{self.v2e.num_values} incidences; pass [{self.v2e.num_values}]"
                )
            if self.v2e.num_values != self.num_incidences:
                raise ValueError(
                    "Hypergraph: incidence_value came with incidences that repeat, so which value counts is "
                    "open; pass each incidence once, or multiset=True, where they add up"
                )
        for name, given in (("hyperedge_weight", weight), ("hyperedge_attr", attr)):
            wanted = "[M]" if name == "hyperedge_weight" else "[M, F]"
            if given is not None and (
                given.dim() != wanted.count(",") + 1 or len(given) != self.num_hyperedges
            ):
                raise ValueError(
                    f"Hypergraph: {name} has shape {list(given.shape)} but there are {self.num_hyperedges} "
                    f"hyperedges; pass {wanted} with M = {self.num_hyperedges}"
                )
        self.incidence_value, self.hyperedge_weight, self.hyperedge_attr = value, weight, attr
        self._own: dict[Hashable, Any] = {}

    # -- sizes and structure ----------------------------------------------------------------------

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return self.v2e.num_cols

    @property
    def num_hyperedges(self) -> int:
        """Number of hyperedges M, empty ones too."""
        return self.v2e.num_rows

    @property
    def num_incidences(self) -> int:
        """Number of incidences nnz, repeated ones once."""
        return self.v2e.num_edges

    @property
    def device(self) -> torch.device:
        """The device that holds the arrays."""
        return self.v2e.device

    @property
    def e2v(self) -> CSR:
        """Rows are nodes, columns the hyperedges that hold them, ``[N, M]``; values in the same order."""
        return self.v2e.transposed

    @property
    def node_degree(self) -> Tensor:
        """Hyperedges of each node, without weights, int64 ``[N]``."""
        return self.v2e.col_degree

    @property
    def hyperedge_size(self) -> Tensor:
        """Members of each hyperedge, int64 ``[M]``."""
        return self.v2e.degree

    @property
    def hyperedge_index(self) -> Tensor:
        """The incidences sorted by hyperedge and node, each once, int64 ``[2, nnz]``."""
        return torch.stack([self.v2e.indices.long(), self.v2e.rows])

    @property
    def slot_value(self) -> Tensor | None:
        """The incidence values in the order of :attr:`hyperedge_index`, ``[nnz]``."""
        return None if self.incidence_value is None else self.v2e.to_slots(self.incidence_value)

    def __repr__(self) -> str:
        extra = [
            n
            for n in ("incidence_value", "hyperedge_weight", "hyperedge_attr")
            if getattr(self, n) is not None
        ]
        return (
            f"Hypergraph({self.num_nodes} nodes, {self.num_hyperedges} hyperedges, {self.num_incidences} "
            f"incidences{''.join(', ' + n for n in extra)}, {self.device})"
        )

    # -- numbers that layers need -----------------------------------------------------------------

    def degrees(self, dtype: torch.dtype = torch.float32) -> Tensor:
        r"""Weighted degree of each node, :math:`d_v = \sum_e w_e H_{ve}`, ``[N]``."""
        return self.derive(("degrees", dtype), lambda h: h._sums(h.e2v, h.hyperedge_weight, dtype))

    def sizes(self, dtype: torch.dtype = torch.float32) -> Tensor:
        r"""Size of each hyperedge, :math:`\delta_e = \sum_v H_{ve}`, ``[M]``."""
        return self.derive(("sizes", dtype), lambda h: h._sums(h.v2e, None, dtype))

    def _sums(self, adj: CSR, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
        if scale is None and self.incidence_value is None:
            return adj.degree.to(dtype)
        column = (
            torch.ones(adj.num_cols, dtype=dtype, device=self.device) if scale is None else scale.to(dtype)
        )
        value = None if self.incidence_value is None else self.incidence_value.to(dtype)
        return spmm(adj, column[:, None], value)[:, 0]

    def derive(self, key: Hashable, fn: Callable[[Hypergraph], T]) -> T:
        """Return ``fn(self)``, computed once for this hypergraph and ``key``.

        It is not kept while compiling, nor where weights or values need a gradient. Hypergraphs without
        either share what they derive with every other view of the same incidences.
        """
        tensors = [t for t in (self.incidence_value, self.hyperedge_weight) if t is not None]
        if traced(self.v2e.indptr, *tensors) or any(t.requires_grad for t in tensors):
            return fn(self)
        cache = self._own if tensors else self._shared
        if key not in cache:
            cache[key] = fn(self)
        found: T = cache[key]
        return found

    # -- other hypergraphs ------------------------------------------------------------------------

    def with_values(
        self,
        incidence_value: Tensor | None = None,
        hyperedge_weight: Tensor | None = None,
        hyperedge_attr: Tensor | None = None,
    ) -> Hypergraph:
        """The same structure with other values, weights and features; what is cached is shared."""
        return self._of(self.v2e, self._shared, incidence_value, hyperedge_weight, hyperedge_attr)

    @classmethod
    def _of(
        cls,
        v2e: CSR,
        shared: dict[Hashable, Any] | None = None,
        value: Tensor | None = None,
        weight: Tensor | None = None,
        attr: Tensor | None = None,
    ) -> Hypergraph:
        other = cls.__new__(cls)
        other.v2e, other._shared = v2e, {} if shared is None else shared
        other._attach(value, weight, attr)
        return other

    def add_self_loops(self) -> Hypergraph:
        """A hyperedge of its own for each node that has none, after the M others; cached.

        A node has one when it is the only member of some hyperedge. The new hyperedges weigh 1 and have
        value 1. Hyperedge features do not go over, since the new ones have none.
        """
        return self.derive("self loops", _with_self_loops)

    def dual(self) -> Hypergraph:
        """Nodes and hyperedges in each other's place; values stay, weights and features do not."""
        e2v = self.e2v
        plain = CSR.trusted(e2v.indptr, e2v.indices, e2v.num_cols, e2v.perm, None, e2v.num_values)
        return self._of(plain, value=self.incidence_value)

    def to(self, device: torch.device | str) -> Hypergraph:
        """This hypergraph on ``device``; itself when it is there already."""
        if torch.device(device) == self.device:
            return self
        tensors = (self.incidence_value, self.hyperedge_weight, self.hyperedge_attr)
        return self._of(self.v2e.to(device), None, *(t if t is None else t.to(device) for t in tensors))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shared": {}, "_own": {}}

    @staticmethod
    def batch(hypergraphs: Sequence[Hypergraph]) -> Hypergraph:
        """Hypergraphs side by side as one; nodes and hyperedges keep their order.

        Values, weights and features go over where every hypergraph has them.

        Raises: ValueError when some hypergraphs have values, weights or features and others do not.
        """
        if not hypergraphs:
            raise ValueError("Hypergraph: batch came without hypergraphs; pass at least one")
        nodes = hyperedges = 0
        index = []
        for h in hypergraphs:
            index.append(h.hyperedge_index + torch.tensor([[nodes], [hyperedges]], device=h.device))
            nodes, hyperedges = nodes + h.num_nodes, hyperedges + h.num_hyperedges
        given: dict[str, Tensor] = {}
        for name in ("slot_value", "hyperedge_weight", "hyperedge_attr"):
            found = [t for h in hypergraphs if (t := getattr(h, name)) is not None]
            if found and len(found) < len(hypergraphs):
                raise ValueError(
                    f"Hypergraph: {len(found)} of {len(hypergraphs)} hypergraphs of the batch have a "
                    f"{name.replace('slot', 'incidence')}; give it to all or to none"
                )
            if found:
                given[name.replace("slot", "incidence")] = torch.cat(found)
        return Hypergraph(torch.cat(index, dim=1), nodes, hyperedges, **given, multiset=True)


def as_hypergraph(
    incidences: Incidences,
    num_nodes: int,
    num_hyperedges: int | None = None,
    *,
    hyperedge_weight: Tensor | None = None,
    incidence_value: Tensor | None = None,
) -> Hypergraph:
    """The hypergraph of some incidences, sorted once and kept while their tensor lives unchanged.

    Args:
        incidences: ``hyperedge_index``, a :class:`Hypergraph`, PyG's ``HyperGraphData``, or a CSR or torch
            sparse matrix with a row for each hyperedge and a column for each node.
        num_nodes: N.
        num_hyperedges: M; that of the weights, else the largest hyperedge named plus one when omitted.
        hyperedge_weight: w, in place of what the hypergraph holds.
        incidence_value: H, in place of what the hypergraph holds.

    Shapes: ``[2, nnz]``, hyperedge_weight ``[M]``, incidence_value ``[nnz]``.
    Cost: O(nnz log nnz) the first time; a look-up afterwards.
    Raises: ValueError when sizes disagree; TypeError for an unknown form; NotImplementedError for a plain
        ``hyperedge_index`` in compiled code, where repeated incidences cannot be dropped.
    """
    if num_hyperedges is None and hyperedge_weight is not None:
        num_hyperedges = hyperedge_weight.shape[0]
    found = _view(incidences, num_nodes, num_hyperedges)
    if found.num_nodes != num_nodes or num_hyperedges not in (None, found.num_hyperedges):
        raise ValueError(
            f"as_hypergraph: the hypergraph has {found.num_nodes} nodes and {found.num_hyperedges} "
            f"hyperedges but {num_nodes} nodes and {num_hyperedges} hyperedges were expected; pass the "
            "features of its own nodes"
        )
    if hyperedge_weight is None and incidence_value is None:
        return found
    value = found.incidence_value if incidence_value is None else incidence_value
    weight = found.hyperedge_weight if hyperedge_weight is None else hyperedge_weight
    return found.with_values(value, weight, found.hyperedge_attr)


def refuse_hypergraph(who: str, graph: Any) -> None:
    """Refuse a hypergraph where a graph is read: its incidences would pass for edges.

    Raises: TypeError for a :class:`Hypergraph`, PyG's ``HyperGraphData``, or data with ``num_hyperedges``.
    """
    pyg = sys.modules.get("torch_geometric.data.hypergraph_data")
    known = pyg is not None and isinstance(graph, pyg.HyperGraphData)
    if known or getattr(graph, "num_hyperedges", None) is not None:
        given = "h" if isinstance(graph, Hypergraph) else "as_hypergraph(data, data.num_nodes)"
        raise TypeError(
            f"{who}: got a hypergraph ({type(graph).__name__}), whose incidences are no edges; pass a graph "
            f"made of it, as clique_expansion({given}) or star_expansion({given}) of gnnlib.nn.hyper"
        )


def inverse(x: Tensor, power: float = 1.0) -> Tensor:
    """``x ** -power`` with 1/0 = 0, and a gradient of 0 there, for degrees that are never negative."""
    empty = x == 0
    filled = x.masked_fill(empty, 1)
    return torch.where(empty, 0, filled.reciprocal() if power == 1.0 else filled.pow(-power))


def _view(incidences: Incidences, num_nodes: int, num_hyperedges: int | None) -> Hypergraph:
    if isinstance(incidences, Hypergraph):
        return incidences
    if isinstance(incidences, Tensor) and incidences.layout is torch.strided:
        if traced(incidences):
            raise NotImplementedError(
                "as_hypergraph: compiled code cannot drop repeated incidences from a hyperedge_index, since "
                "it does not know how many remain; pass Hypergraph(hyperedge_index, num_nodes), made before"
            )
        _check_index(incidences)
        key = ("hypergraph", num_nodes, num_hyperedges)
        return structures.get(
            incidences, (incidences,), key, lambda: Hypergraph(incidences, num_nodes, num_hyperedges)
        )
    if isinstance(incidences, CSR):
        if incidences.value is not None:
            return _of_matrix(incidences)
        return incidences.derive("hypergraph", _of_matrix)
    if isinstance(incidences, Tensor):
        from gnnlib.sparse.convert import as_csr

        return _of_matrix(as_csr(incidences))
    if hasattr(incidences, "edge_index") and hasattr(incidences, "num_nodes"):
        return _of_data(incidences, num_nodes, num_hyperedges)
    raise TypeError(
        f"as_hypergraph: got {type(incidences).__name__}; pass a hyperedge_index [2, nnz], a Hypergraph, a "
        "HyperGraphData, or a sparse matrix with a row for each hyperedge"
    )


def _of_matrix(members: CSR) -> Hypergraph:
    return Hypergraph(members.edge_index, members.num_cols, members.num_rows, incidence_value=members.value)


def _of_data(data: Any, num_nodes: int, num_hyperedges: int | None) -> Hypergraph:
    num_hyperedges = _hyperedges_of(data) if num_hyperedges is None else num_hyperedges
    found = _view(data.edge_index, num_nodes, num_hyperedges)
    value, weight = (getattr(data, name, None) for name in ("incidence_value", "hyperedge_weight"))
    return found if value is None and weight is None else found.with_values(value, weight)


def _hyperedges_of(data: Any) -> int | None:
    """The number of hyperedges that data say, or those of a batch together."""
    named = getattr(data, "num_hyperedges", None)
    if named is None:
        return None
    count = torch.as_tensor(named).reshape(-1)
    shift = getattr(data, "_inc_dict", None)  # of a batch: what was added to the numbers of each part
    if shift is not None and count.numel() > 1:
        shift = torch.as_tensor(shift["edge_index"])[:, 1].reshape(-1)
        if not torch.equal(shift, (count.cumsum(0) - count).to(shift)):
            raise ValueError(
                f"Hypergraph: the parts of the batch have {count.tolist()} hyperedges but were joined as if "
                f"they began at {shift.tolist()}, since PyG's HyperGraphData leaves out empty ones at the "
                "end; make the parts with hypergraph_to_data, or join them with Hypergraph.batch"
            )
    return int(count.sum())


def _check_index(index: Tensor) -> None:
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise TypeError(f"Hypergraph: hyperedge_index is {index.dtype}; pass integers (torch.int64)")
    if index.dim() != 2 or index.shape[0] != 2:
        turn = "; transpose it" if index.dim() == 2 and index.shape[1] == 2 else ""
        raise ValueError(
            f"Hypergraph: hyperedge_index has shape {list(index.shape)}; expected [2, nnz] with nodes in row "
            f"0 and hyperedges in row 1{turn}"
        )


def _check_range(index: Tensor, num_nodes: int, num_hyperedges: int) -> None:
    if num_nodes < 0 or num_hyperedges < 0:
        raise ValueError(
            f"Hypergraph: num_nodes={num_nodes}, num_hyperedges={num_hyperedges}; pass numbers from 0"
        )
    check_parts("hyperedge_index", index[0], num_nodes, "node")
    check_parts("hyperedge_index", index[1], num_hyperedges, "hyperedge")


def check_parts(given: str, numbers: Tensor, bound: int, name: str) -> None:
    """Refuse numbers of nodes, hyperedges or groups that are none, on a CPU."""
    advice = "check the incidences or the sizes"
    check_numbers(f"Hypergraph: {given}", numbers, bound, name, "hypergraph", advice)


def _sorted(index: Tensor, num_nodes: int, num_hyperedges: int, multiset: bool) -> CSR:
    """Rows of hyperedges with their members in ascending order, each once unless a multiset."""
    node, hyperedge = index
    key, perm = torch.sort(hyperedge * max(num_nodes, 1) + node, stable=True)
    if not multiset and key.numel():
        fresh = torch.ones_like(key, dtype=torch.bool)
        fresh[1:] = key[1:] != key[:-1]
        perm = perm[fresh]
    sizes = torch.bincount(hyperedge[perm], minlength=num_hyperedges)
    indptr = torch.zeros(num_hyperedges + 1, dtype=torch.int64, device=index.device)
    torch.cumsum(sizes, 0, out=indptr[1:])
    indices = node[perm].to(index_dtype(num_nodes))
    return CSR.trusted(indptr, indices, num_nodes, perm, None, index.shape[1])


def _with_self_loops(h: Hypergraph) -> Hypergraph:
    index = h.hyperedge_index
    alone = index[0, h.hyperedge_size[index[1]] == 1]
    lonely = torch.ones(h.num_nodes, dtype=torch.bool, device=h.device)
    lonely[alone] = False
    node = lonely.nonzero().view(-1)
    own = torch.stack([node, h.num_hyperedges + torch.arange(node.numel(), device=h.device)])
    value, weight = h.slot_value, h.hyperedge_weight
    return Hypergraph(
        torch.cat([index, own], dim=1),
        h.num_nodes,
        h.num_hyperedges + node.numel(),
        incidence_value=None if value is None else torch.cat([value, value.new_ones(node.numel())]),
        hyperedge_weight=None if weight is None else torch.cat([weight, weight.new_ones(node.numel())]),
        multiset=True,  # what repeats was dropped already, or is meant
    )
