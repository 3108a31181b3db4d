"""Labels of pairs of nodes of many graphs, such as contacts of atoms, in shuffled mini-batches of graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnnlib.train.losses import loss_of
from gnnlib.train.selection import Evaluation
from gnnlib.train.tasks.base import (
    Arrays,
    embedding_arrays,
    labels_of,
    numpy_of,
    part_names,
    parts_of,
    picture_sample,
)
from gnnlib.train.tasks.graph import EVAL_BATCH, GraphTask
from gnnlib.train.tasks.packing import GraphBatch, ranges

__all__ = ["PairsTask", "questions"]


class PairsTask(GraphTask):
    """True pairs against the false ones that each graph brings, by binary cross-entropy.

    It is judged by ranks: each true pair (u, v) asks for v among all nodes w of the graph, but those whose
    pair (u, w) is known to be true as well.

    Shapes: graphs with x ``[n, F]``, edge_index ``[2, e]``, edge_label_index ``[2, p]`` and edge_label
        ``[p]`` of 0 and 1; the split holds graph numbers.
    Raises: ValueError when a graph has no features or labels.
    """

    name = "link"
    labels = "pair"

    def loss(self, model: nn.Module, batch: GraphBatch) -> tuple[Tensor, int]:
        """Binary cross-entropy over the pairs of the batch."""
        return loss_of("binary", self._forward(model, batch), batch.y.float()), batch.y.numel()

    def evaluate(self, model: nn.Module, parts: Sequence[str]) -> dict[str, Evaluation]:
        """Ranks of the true pairs of each part, and the loss over all its pairs."""
        return {part: self._ranked(model, part) for part in parts if part in self.index}

    def _ranked(self, model: nn.Module, part: str) -> Evaluation:
        asked, scores, logits, first, graph = [], [], [], 0, 0
        for n, chunk in enumerate(torch.split(self.index[part], EVAL_BATCH)):
            batch = self._kept_batch(part, n, chunk)
            z = self._codes(model, batch)
            pairs, true = questions(batch)
            asked.append(true + torch.tensor([graph, first, 0], device=true.device))
            graph += batch.size
            first += int((batch.y == 1).sum())
            scores.append(self.call(model, "decode", z, pairs, batch.edge_index, full=True).float())
            logits.append(self.call(model, "decode", z, batch.pairs, batch.edge_index, full=True).float())
        loss = float(loss_of("binary", torch.cat(logits), self._target(part)))
        score = torch.cat(scores)
        if not math.isfinite(loss) or not bool(torch.isfinite(score).all()):
            return Evaluation(math.nan, math.nan)
        return Evaluation(self.metric(torch.cat(asked), score), loss)

    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """Scores of the labelled pairs of each part, by node numbers over all graphs, and some codes."""
        arrays: Arrays = {}
        for part in parts:
            if part in self.index:
                chosen = self._places(self.index[part])
                owner = torch.repeat_interleave(self.graphs.pair_count)[chosen]
                assert self.graphs.pairs is not None
                arrays[f"{part}_index"] = numpy_of(
                    self.graphs.pairs[:, chosen] + self.graphs.node_start[owner]
                )
                arrays[f"{part}_label"] = labels_of(self.kind, self.y[chosen])
                arrays[f"{part}_score"] = numpy_of(self._logits(model, part))
        shown = picture_sample(len(self.graphs))[:EVAL_BATCH]
        batch = self.graphs.batch(shown)
        keep = picture_sample(batch.x.size(0)).to(self.device)
        of_shown = shown.to(self.device)
        node, _ = ranges(self.graphs.node_start[of_shown], self.graphs.node_count[of_shown])
        of_graphs = parts_of(len(self.graphs), self.index)
        of_nodes = of_graphs[torch.repeat_interleave(self.graphs.node_count).cpu()]
        return arrays | embedding_arrays(self._codes(model, batch)[keep], node[keep].cpu(), None, of_nodes)

    def rows(self, model: nn.Module) -> Arrays:
        """A row for each labelled pair: its graph, and its nodes, counted in the graph."""
        chunks = torch.split(torch.arange(len(self.graphs)), EVAL_BATCH)
        owner = torch.repeat_interleave(self.graphs.pair_count)
        assert self.graphs.pairs is not None
        return {
            "graph": numpy_of(owner),
            "source": numpy_of(self.graphs.pairs[0]),
            "target": numpy_of(self.graphs.pairs[1]),
            "part": part_names(parts_of(len(self.graphs), self.index)[owner.cpu()]),
            "label": labels_of(self.kind, self.y),
            **self.scored(torch.cat([self._forward(model, self.graphs.batch(chunk)) for chunk in chunks])),
        }

    def _places(self, graphs: Tensor) -> Tensor:
        """The places of all pairs of these graphs."""
        graphs = graphs.to(self.device)
        return ranges(self.graphs.pair_start[graphs], self.graphs.pair_count[graphs])[0]

    def _target(self, part: str) -> Tensor:
        return self.y[self._places(self.index[part])]

    def _codes(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        return self.call(model, "encode", batch.x, batch.edge_index, *self._edges(batch), full=True)

    def _forward(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        logits: Tensor = model(batch.x, batch.edge_index, batch.pairs, *self._edges(batch))
        return logits


def questions(batch: GraphBatch) -> tuple[Tensor, Tensor]:
    """For each true pair (u, v) of a batch the pairs (u, w) with all nodes w of its graph, known others out.

    Shapes: -> pairs ``[2, n]``, and ``[n, 3]`` of the graph, the number of the true pair, and 1 where w is v.
    """
    assert batch.pairs is not None
    assert batch.batch is not None
    true = batch.pairs[:, batch.y == 1]
    count = torch.bincount(batch.batch, minlength=batch.size)
    start = count.cumsum(0) - count
    graph = batch.batch[true[0]]
    question = torch.repeat_interleave(count[graph])
    first = count[graph].cumsum(0) - count[graph]
    w = torch.arange(question.numel(), device=true.device) + (start[graph] - first)[question]
    u, v = true[0][question], true[1][question]
    size = batch.x.size(0)
    known = torch.unique(torch.cat([true[0] * size + true[1], true[1] * size + true[0]]))
    keep = ~torch.isin(u * size + w, known) | (w == v)
    answers = torch.stack([graph[question], question, (w == v).long()], dim=1)
    return torch.stack([u, w])[:, keep], answers[keep]
