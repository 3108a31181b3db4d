"""Soft attention over the elements of a set."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import Module

from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.init import reset
from gnnlib.sparse import segment_reduce, segment_softmax, spmm
from gnnlib.sparse.sets import Sets


class AttentionalAggregation(Aggregation):
    r"""Sum of the elements weighted by a softmax of learned scores.

    .. math:: r = \sum_i \operatorname{softmax}_i\big(h_{\mathrm{gate}}(x_i)\big) \, h(x_i)

    Li et al., Graph Matching Networks, ICML 2019, with a softmax in place of the sigmoid of their gate; with
    a score for each feature and no h, the AttSets of Yang et al., IJCV 2020.

    Args:
        gate_nn: the network of the scores, ``[*, in] -> [*, 1]``, or ``[*, out]`` for one of each feature.
        nn: the network h, ``[*, in] -> [*, out]``; the identity if None.

    Shapes: x ``[..., N, in]`` -> ``[..., R, out]``. An empty set gives 0, as does one whose scores are all
        -inf.
    Cost: the networks on N rows, then O(N out); with one score an element no array of N x out but h(x).
    """

    gate_nn: Module | None
    gate_mlp: Module | None
    nn: Module | None
    mlp: Module | None

    def __init__(self, gate_nn: Module, nn: Module | None = None) -> None:
        super().__init__()
        # The names under which PyG keeps a network that takes batch numbers, and any other one.
        self.gate_nn, self.gate_mlp = (None, gate_nn) if takes_batch(gate_nn) else (gate_nn, None)
        self.nn, self.mlp = (None, nn) if takes_batch(nn) else (nn, None)

    def reset_parameters(self) -> None:
        """Draw new parameters of the networks."""
        for network in (self.gate_nn, self.gate_mlp, self.nn, self.mlp):
            reset(network)

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Score, map, weigh and sum x ``[N, ..., in]`` -> ``[R, ..., out]``."""
        score = run(self.gate_mlp or self.gate_nn, x, sets)
        value = run(self.mlp or self.nn, x, sets)
        alpha = segment_softmax(sets.take(score), sets.indptr)  # [E, ..., 1 or out]
        if score.shape[-1] == 1 and value.dim() in (2, 3) and value.shape[:-1] == score.shape[:-1]:
            return spmm(sets.adj.slot_order, value, alpha.squeeze(-1))
        return segment_reduce(alpha * sets.take(value), sets.indptr)

    def __repr__(self) -> str:
        return f"AttentionalAggregation(gate_nn={self.gate_mlp or self.gate_nn}, nn={self.mlp or self.nn})"


def takes_batch(network: Any) -> bool:
    """Whether a network is an MLP, ours or PyG's, whose normalisation can work within a set."""
    return hasattr(network, "supports_norm_batch")


def run(network: Any, x: Tensor, sets: Sets) -> Tensor:
    """A network of the elements; one that normalises within a set is told the sets."""
    if network is None:
        return x
    if getattr(network, "supports_norm_batch", False):
        out: Tensor = network(x, batch=sets.of_elements(), batch_size=sets.num_sets)
        return out
    plain: Tensor = network(x)
    return plain
