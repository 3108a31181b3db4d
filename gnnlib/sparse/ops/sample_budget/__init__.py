"""Samples of a graph with several kinds of nodes that keep as many of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from gnnlib.sparse.convert import Adj, as_csr
from gnnlib.sparse.ops.sample_budget.request import BudgetRequest
from gnnlib.sparse.ops.sample_neighbors import HeteroSample, hetero_sample
from gnnlib.sparse.ops.sample_neighbors.graph import Prepared, check_nodes, prepare
from gnnlib.sparse.ops.sample_neighbors.request import Answer
from gnnlib.sparse.registry import dispatch

__all__ = ["sample_budget"]

EdgeType: TypeAlias = tuple[str, str, str]


def sample_budget(
    adjs: Mapping[EdgeType, Adj],
    seeds: Mapping[str, Tensor],
    num_samples: Sequence[int] | Mapping[str, Sequence[int]],
    *,
    num_nodes: Mapping[str, int],
    seed: int = 0,
) -> HeteroSample:
    r"""Grow a set of nodes by as many of each type a step, in proportion to the squares of their budgets.

    A node u that is not in the set S is owed, by every sampled node that it has an edge to,

    .. math:: B_u = \sum_{\phi} \sum_{v \in S :\, u \to v} \frac{1}{d_\phi(v)}, \qquad
        p_u = B_u^2 \Big/ \sum_{u'} B_{u'}^2

    where :math:`d_\phi(v)` counts the edges of kind :math:`\phi` into v and the sum of p runs over the
    nodes of one type. In a step, nodes of each type are drawn without replacement, one after another in
    proportion to the p that are left, all with the budgets at the step's beginning. The sample has every
    edge among its nodes.

    Hu et al., Heterogeneous Graph Transformer, WWW 2020, Algorithms 1 and 2. There the types of a step are
    taken in turn and a later one sees what an earlier one added, so that the result depends on their order;
    here it does not.

    Args:
        adjs: by edge type ``(source type, relation, target type)``, the edges, in any form that
            :func:`as_csr` takes.
        seeds: by node type, the nodes to begin with.
        num_samples: nodes to draw of each type in each step: one list for all types, or one for each.
        num_nodes: by node type, the number of nodes.
        seed: of the random stream.

    Shapes: -> :class:`HeteroSample`, whose ``num_sampled_edges`` is None. No gradient.
    Cost: the in-degrees of the sampled nodes, and a sort of those that are owed something in each step. No
        row is cut short, however long.
    Raises: TypeError for seeds that are no integers; ValueError for a node or a type that does not exist,
        or a negative number.
    """
    who = "sample_budget"
    types = {name: k for k, name in enumerate(num_nodes)}
    for kind in adjs:
        if kind[0] not in types or kind[-1] not in types:
            raise ValueError(f"{who}: num_nodes lacks an end of {kind}; it has {', '.join(types)}")
    if unknown := set(seeds) - set(types):
        raise ValueError(
            f"{who}: seeds of the unknown node types {sorted(unknown)}; known: {', '.join(types)}"
        )
    ready = {
        kind: prepare(
            as_csr(adj, (num_nodes[kind[0]], num_nodes[kind[-1]])),
            ends=(types[kind[0]], types[kind[-1]]),
            who=who,
        )
        for kind, adj in adjs.items()
    }
    none = torch.empty(0, dtype=torch.int64)
    given = [check_nodes(who, f"seeds[{t!r}]", seeds.get(t, none), n) for t, n in num_nodes.items()]
    steps = check_num_samples(who, num_samples, list(num_nodes))
    answer = draw_budget(tuple(ready.values()), tuple(num_nodes.values()), given, steps, seed)
    return hetero_sample(answer, ready, list(num_nodes), directional=False)


def check_num_samples(
    who: str, num_samples: Sequence[int] | Mapping[str, Sequence[int]], node_types: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """Nodes of each type and step, shorter lists filled up with zeros; or a complaint."""
    by_type = num_samples if isinstance(num_samples, Mapping) else dict.fromkeys(node_types, num_samples)
    if unknown := set(by_type) - set(node_types):
        raise ValueError(
            f"{who}: num_samples of the unknown node types {sorted(unknown)}; known: {', '.join(node_types)}"
        )
    found = [[int(n) for n in by_type.get(t, ())] for t in node_types]
    if any(n < 0 for numbers in found for n in numbers):
        raise ValueError(f"{who}: num_samples={dict(by_type)}; each is a number of nodes, 0 or more")
    steps = max(map(len, found), default=0)
    return tuple(tuple(numbers + [0] * (steps - len(numbers))) for numbers in found)


def draw_budget(
    relations: Sequence[Prepared],
    sizes: Sequence[int],
    seeds: Sequence[Tensor],
    num_samples: tuple[tuple[int, ...], ...],
    seed: int,
) -> Answer:
    """Run the fastest kernel on what was checked before."""
    request = BudgetRequest(
        tuple(r.relation for r in relations), tuple(sizes), tuple(seeds), num_samples, seed
    )
    answer: Answer = dispatch("sample_budget", request)
    return answer
