"""Recommendation: rank the items that a user has not taken yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnlib.data import Loaded
from gnnlib.data.ranking import MEASURES, at_k
from gnnlib.loader import structured_negatives
from gnnlib.sparse import CSR, as_csr
from gnnlib.train.config import TrainConfig
from gnnlib.train.selection import Evaluation
from gnnlib.train.tasks.base import Arrays, Task, embedding_arrays, numpy_of, picture_sample

__all__ = ["RecommendationTask"]

USERS = 1024  # users ranked at once; only memory depends on it
PLACES = (5, 10, 20)  # what the details tell
LISTED = 20  # items in the list of a user in predictions


@dataclass(frozen=True)
class _Ranked:
    """The first places of some users: items and whether they are hits ``[n, K]``; relevant ones ``[n]``."""

    users: Tensor
    items: Tensor
    scores: Tensor
    hits: Tensor
    relevant: Tensor


class RecommendationTask(Task):
    r"""Items for users, by the pairwise loss :math:`-\log \sigma(s_{ui} - s_{uj})` and full rankings.

    Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009. i is a training item
    of u, j one drawn uniformly from those that are not. A ranking leaves out what is known before: training
    items for validation, those and the validation items for the test. Users without held-out items are not
    counted.

    Shapes: pairs ``[2, P]`` of users and items, each numbered from 0.
    Raises: ValueError for a metric that is no ranking of items, or for ``normalize_features``.
    """

    name = "recommendation"

    def __init__(self, loaded: Loaded, config: TrainConfig, device: torch.device) -> None:
        super().__init__(loaded, config, device)
        measure, _, place = str(loaded.metric.name).partition("@")
        if measure not in MEASURES:
            raise ValueError(
                f"{self.dataset}: metric {loaded.metric.name!r} ranks no items; choose one of "
                f"{', '.join(f'{m}@K' for m in MEASURES)}"
            )
        if config.normalize_features:
            raise ValueError(f"{self.dataset}: interactions have no features; drop normalize_features")
        self.measure, self.place = measure, int(place)
        data = loaded.dataset[0]
        self.size = int(data.num_users), int(data.num_items)
        self.take(loaded)

    def take(self, loaded: Loaded) -> None:
        """Go over to another split, and so to the graph of its training pairs."""
        split, device = loaded.split, self.device
        self.positives = split.train_edges.to(device)
        self.interactions = self._rows(self.positives)
        held = {"train": split.train_edges, "val": split.val_pos, "test": split.test_pos}
        self.held = {part: self._rows(pairs.to(device)) for part, pairs in held.items() if pairs.numel()}
        self.known = {"val": [self.interactions], "test": [self.interactions, *self._val()]}
        self.counts = {part: adj.num_edges for part, adj in self.held.items()}
        self.fixed = {
            part: self._triples(adj, torch.Generator().manual_seed(0)) for part, adj in self.held.items()
        }

    def _val(self) -> list[CSR]:
        return [self.held["val"]] if "val" in self.held else []

    def _rows(self, pairs: Tensor) -> CSR:
        """A row a user and a column an item."""
        return as_csr(pairs.flip(0), (self.size[1], self.size[0]))

    def _triples(self, adj: CSR, generator: torch.Generator) -> Tensor:
        pairs = torch.stack([adj.rows, adj.indices.long()])
        return torch.cat([pairs, self._negatives(pairs, generator)])

    def _negatives(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        taken = self.interactions.transposed  # a source, here a user, is a column
        return structured_negatives(taken, pairs, generator, bipartite=True).t()

    def facts(self) -> dict[str, Any]:
        """Users and items have embeddings."""
        return {"sizes": self.size}

    def batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        """The training pairs in a new random order, each with an item the user has not taken, ``[3, B]``."""
        count = self.positives.size(1)
        order = torch.randperm(count, generator=generator).to(self.device)
        for chunk in torch.split(order, self.config.batch_size or count):
            pairs = self.positives[:, chunk]
            yield torch.cat([pairs, self._negatives(pairs, generator)])

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        """The mean pairwise loss, and the model's penalty."""
        wanted, other, penalty = model(self.interactions, *batch)
        return F.softplus(other - wanted).mean() + penalty, batch.size(1)

    def evaluate(self, model: nn.Module, parts: Sequence[str]) -> dict[str, Evaluation]:
        """The metric of full rankings; the loss against fixed negatives."""
        users, items = self._codes(model)
        found = {}
        for part in parts:
            if part not in self.held:
                continue
            u, i, j = self.fixed[part]
            gap = (users[u] * (items[j] - items[i])).sum(1)
            loss = float(F.softplus(gap).mean())
            good = math.isfinite(loss) and bool(users.isfinite().all()) and bool(items.isfinite().all())
            metric = self._at(self._rank(users, items, part, self.place), self.measure, self.place)
            found[part] = Evaluation(metric, loss) if good else Evaluation(math.nan, math.nan)
        return found

    def details(self, model: nn.Module) -> dict[str, float]:
        """Recall, precision and NDCG of the test; those of the most taken items beside them."""
        if "test" not in self.held:
            return {}
        taken = self.interactions.col_degree.float()[:, None]
        one = torch.ones(self.size[0], 1, device=self.device)
        found: dict[str, float] = {}
        for name, codes in (("", self._codes(model)), ("most taken: ", (one, taken))):
            ranked = self._rank(*codes, "test", max(PLACES))
            found |= {f"{name}{m}@{k}": self._at(ranked, m, k) for m in MEASURES for k in PLACES}
        return found

    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """The first items of each user with held-out ones, and codes for the picture, items after users."""
        users, items = self._codes(model)
        arrays: Arrays = {}
        for part in parts:
            if part in self.held:
                ranked = self._rank(users, items, part, LISTED)
                listed = ranked.items.size(1)
                index = torch.stack([ranked.users.repeat_interleave(listed), ranked.items.flatten()])
                arrays[f"{part}_index"] = numpy_of(index)
                arrays[f"{part}_label"] = numpy_of(ranked.hits.flatten().long())
                arrays[f"{part}_score"] = numpy_of(ranked.scores.flatten())
        z = torch.cat([users, items])
        shown = picture_sample(z.size(0))
        nowhere = torch.full((z.size(0),), -1, dtype=torch.int8)
        return arrays | embedding_arrays(z[shown.to(z.device)], shown, None, nowhere)

    def rows(self, model: nn.Module) -> Arrays:
        """The list of every user, with nothing in it that is known from training or validation."""
        users, items = self._codes(model)
        everyone = torch.arange(self.size[0], device=self.device)
        ranked = self._rank(users, items, "test", LISTED, everyone)
        listed = ranked.items.size(1)
        return {
            "user": numpy_of(ranked.users.repeat_interleave(listed)),
            "place": np.tile(np.arange(1, listed + 1), ranked.users.numel()),
            "item": numpy_of(ranked.items.flatten()),
            "label": numpy_of(ranked.hits.flatten().long()),
            "score": numpy_of(ranked.scores.flatten()),
        }

    def _codes(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        users, items = self.call(model, "codes", self.interactions, full=True)
        return users.float(), items.float()

    def _at(self, ranked: _Ranked, measure: str, place: int) -> float:
        return at_k(measure, ranked.hits.cpu().numpy(), ranked.relevant.cpu().numpy(), place)

    def _rank(
        self, users: Tensor, items: Tensor, part: str, places: int, chosen: Tensor | None = None
    ) -> _Ranked:
        """The first places of the chosen users; of those with held-out items of the part when omitted."""
        held = self.held.get(part)
        if chosen is None:
            assert held is not None, "a part without pairs is not ranked"
            chosen = held.degree.nonzero().view(-1)
        places = min(places, self.size[1])
        found = []
        for chunk in torch.split(chosen, USERS):
            scores = users[chunk] @ items.t()  # [b, M]
            for known in self.known.get(part, ()):
                scores.masked_fill_(_members(known, chunk), -math.inf)
            top = scores.topk(places, dim=1)
            relevant = torch.zeros_like(scores, dtype=torch.bool) if held is None else _members(held, chunk)
            hits = relevant.gather(1, top.indices)
            found.append((chunk, top.indices, top.values, hits, relevant.sum(1)))
        return _Ranked(*(torch.cat(column) for column in zip(*found, strict=True)))


def _members(adj: CSR, users: Tensor) -> Tensor:
    """Which items each of the users has, ``[b, M]``."""
    out = torch.zeros(users.numel(), adj.num_cols, dtype=torch.bool, device=users.device)
    count = adj.degree[users]
    row = torch.arange(users.numel(), device=users.device).repeat_interleave(count)
    place = torch.arange(row.numel(), device=users.device) - (count.cumsum(0) - count).repeat_interleave(
        count
    )
    out[row, adj.indices[adj.indptr[users].repeat_interleave(count) + place].long()] = True
    return out
