"""Deep Sets."""

from __future__ import annotations

from torch import Tensor, nn

from gnnlib.nn.aggr.attentional import run, takes_batch
from gnnlib.nn.aggr.base import Aggregation
from gnnlib.nn.aggr.reduce import reduce_sets
from gnnlib.nn.init import reset
from gnnlib.sparse.sets import Sets


class DeepSetsAggregation(Aggregation):
    r"""A network of the sum of a network of the elements.

    .. math:: r = \rho\Big(\sum_i \varphi(x_i)\Big)

    Zaheer et al., Deep Sets, NeurIPS 2017. A normalisation in rho sees one row a set; PyG hands it
    the numbers of the elements there, which are not those of its rows.

    Args:
        local_nn: the network phi, ``[*, in] -> [*, hidden]``; the identity if None.
        global_nn: the network rho, ``[*, hidden] -> [*, out]``; the identity if None.

    Shapes: x ``[..., N, in]`` -> ``[..., R, out]``. An empty set gives rho(0).
    Cost: phi on N rows, rho on R rows.
    """

    local_nn: nn.Module | None
    local_mlp: nn.Module | None
    global_nn: nn.Module | None
    global_mlp: nn.Module | None

    def __init__(self, local_nn: nn.Module | None = None, global_nn: nn.Module | None = None) -> None:
        super().__init__()
        self.local_nn, self.local_mlp = (None, local_nn) if takes_batch(local_nn) else (local_nn, None)
        self.global_nn, self.global_mlp = (None, global_nn) if takes_batch(global_nn) else (global_nn, None)

    def reset_parameters(self) -> None:
        """Draw new parameters of the networks."""
        for network in (self.local_nn, self.local_mlp, self.global_nn, self.global_mlp):
            reset(network)

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Map, sum and map x ``[N, ..., in]`` -> ``[R, ..., out]``."""
        (out,) = reduce_sets(sets, run(self.local_mlp or self.local_nn, x, sets), ["sum"])
        network = self.global_mlp or self.global_nn
        if network is None:
            return out
        mapped: Tensor = network(out)
        return mapped

    def __repr__(self) -> str:
        local, overall = self.local_mlp or self.local_nn, self.global_mlp or self.global_nn
        return f"DeepSetsAggregation(local_nn={local}, global_nn={overall})"
