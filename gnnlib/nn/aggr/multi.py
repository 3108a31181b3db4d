"""Several aggregations of the same sets, combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from gnnlib.nn.aggr.base import Aggregation, in_place, over
from gnnlib.nn.aggr.basic import Reduction
from gnnlib.nn.aggr.reduce import reduce_sets
from gnnlib.nn.aggr.resolver import aggregation_resolver
from gnnlib.nn.init import reset
from gnnlib.sparse.sets import Sets

_DENSE = ("sum", "mean", "max", "min", "logsumexp", "std", "var")
_MODES = ("cat", "proj", "attn", *_DENSE)


class MultiAggregation(Aggregation):
    r"""Several aggregations of the same sets, concatenated or combined otherwise.

    .. math:: r = \big\Vert_k \operatorname{aggr}_k \{ x_i \}

    Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020; the other modes, Tailor et
    al., Adaptive Filters and Aggregator Fusion for Efficient Graph Convolutions, 2021.

    Args:
        aggrs: names or modules.
        aggrs_kwargs: arguments of each, for those that are named.
        mode: ``"cat"``; ``"proj"``, a linear map of the concatenation; ``"attn"``, attention among the
            results, averaged; or ``"sum"``, ``"mean"``, ``"max"``, ``"min"``, ``"logsumexp"``, ``"std"``,
            ``"var"`` over them (the last two divided by their number less one).
        mode_kwargs: for proj and attn ``in_channels`` (one width, or one for each) and ``out_channels``; for
            attn also ``num_heads``; others go to the linear map or to :class:`torch.nn.MultiheadAttention`.

    Shapes: x ``[..., N, F]`` -> ``[..., R, K F]`` for cat of K, ``[..., R, out]`` for proj, ``[R, out]`` for
        attn, else ``[..., R, F]``.
    Cost: that of the aggregations; sum, mean, max, min, var and std read the elements in place.
    Raises: ValueError when the aggregations, their arguments and the mode do not fit.
    """

    reads_in_place = True

    def __init__(
        self,
        aggrs: Sequence[nn.Module | str],
        aggrs_kwargs: Sequence[dict[str, Any]] | None = None,
        mode: str | None = "cat",
        mode_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(aggrs, str) or not isinstance(aggrs, Sequence) or not aggrs:
            raise ValueError(f"MultiAggregation: aggrs={aggrs!r}; pass a list of names or modules")
        each = [{}] * len(aggrs) if aggrs_kwargs is None else list(aggrs_kwargs)
        if len(each) != len(aggrs):
            raise ValueError(
                f"MultiAggregation: aggrs_kwargs has {len(each)} entries but there are {len(aggrs)} "
                "aggregations; pass one dict for each, {} for none"
            )
        if mode not in _MODES and len(aggrs) > 1:
            raise ValueError(f"MultiAggregation: mode={mode!r} is unknown; choose one of {', '.join(_MODES)}")
        self.aggrs = nn.ModuleList(aggregation_resolver(a, **k) for a, k in zip(aggrs, each, strict=True))
        self.mode = mode
        options = dict(mode_kwargs or {})
        width = options.pop("in_channels", None)
        self.out_channels: int | None = options.pop("out_channels", None)
        self.in_channels = [width] * len(aggrs) if isinstance(width, int) else width
        if mode not in ("proj", "attn"):
            return
        if len(aggrs) == 1 or self.in_channels is None or self.out_channels is None:
            raise ValueError(
                f"MultiAggregation: mode={mode!r} came with {len(aggrs)} aggregations and "
                f"mode_kwargs={mode_kwargs}; it needs two at least, in_channels and out_channels"
            )
        if mode == "proj":
            self.lin = nn.Linear(sum(self.in_channels), self.out_channels, **options)
        else:
            self.lin_heads = _Heads(self.in_channels, self.out_channels)
            self.multihead_attn = nn.MultiheadAttention(
                self.out_channels, options.pop("num_heads", 1), **options
            )

    def reset_parameters(self) -> None:
        """Draw new parameters of the aggregations and of the combination."""
        for aggr in self.aggrs:
            reset(aggr)
        if self.mode == "proj":
            self.lin.reset_parameters()
        if self.mode == "attn":
            self.lin_heads.reset_parameters()
            reset(self.multihead_attn)

    def get_out_channels(self, in_channels: int) -> int:
        """Width of the result for elements of width ``in_channels``, if no aggregation changes it."""
        if self.out_channels is not None:
            return self.out_channels
        return in_channels * len(self.aggrs) if self.mode == "cat" and in_channels > 0 else in_channels

    def aggregate(self, x: Tensor, sets: Sets) -> Tensor:
        """Aggregate x ``[N, ..., F]`` in each way and combine -> ``[R, ..., out]``."""
        return self._combine(self._results(x, sets))

    def _results(self, x: Tensor, sets: Sets) -> list[Tensor]:
        """What each aggregation gives; the plain reductions come from one call of the core."""
        plain = [a for a in self.aggrs if _is_plain(a)]
        wanted = list(dict.fromkeys(a.reduction for a in plain))
        reduced = dict(zip(wanted, reduce_sets(sets, x, wanted), strict=True))
        copied = any(not in_place(a) for a in self.aggrs)  # one copy for all that need one
        others = (sets.take(x), sets.of_slots()) if copied else (x, sets)
        return [
            a.finish(x, sets, reduced[a.reduction]) if _is_plain(a) else over(a, *others) for a in self.aggrs
        ]

    def _combine(self, results: list[Tensor]) -> Tensor:
        if len(results) == 1:
            return results[0]
        if self.mode == "cat":
            return torch.cat(results, dim=-1)
        if self.mode == "proj":
            out: Tensor = self.lin(torch.cat(results, dim=-1))
            return out
        if self.mode == "attn":
            if results[0].dim() != 2:
                raise ValueError(
                    f"MultiAggregation: mode='attn' takes vectors; x has {results[0].dim()} dimensions, pass "
                    "[N, F]"
                )
            heads = self.lin_heads(results)  # [K, R, out]
            return torch.mean(self.multihead_attn(heads, heads, heads)[0], dim=0)
        combined: Any = getattr(torch, str(self.mode))(torch.stack(results), dim=0)
        return combined if isinstance(combined, Tensor) else combined[0]

    def __repr__(self) -> str:
        lines = ",\n".join(f"  {aggr}" for aggr in self.aggrs)
        return f"MultiAggregation([\n{lines},\n], mode={self.mode})"


def _is_plain(aggr: nn.Module) -> TypeGuard[Reduction]:
    """Whether an aggregation is a reduction of the core and what follows it, not a changed one."""
    return isinstance(aggr, Reduction) and type(aggr).aggregate is Reduction.aggregate and in_place(aggr)


class _Heads(nn.Module):
    """A linear map of its own for each result, stacked: K of ``[R, in_k]`` -> ``[K, R, out]``."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.lins = nn.ModuleDict({str(k): nn.Linear(c, out_channels) for k, c in enumerate(in_channels)})
        self.reset_parameters()  # a second draw, as in PyG

    def reset_parameters(self) -> None:
        for lin in self.lins.values():
            lin.reset_parameters()  # type: ignore[operator]  # a Linear

    def forward(self, results: list[Tensor]) -> Tensor:
        return torch.stack([lin(v) for lin, v in zip(self.lins.values(), results, strict=True)])
