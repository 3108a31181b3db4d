"""What the loop asks of a task."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from gnnlib.data import Loaded
from gnnlib.models import ModelConfig, registry
from gnnlib.train.config import TrainConfig
from gnnlib.train.losses import check_loss, loss_of, scores_of
from gnnlib.train.selection import Evaluation

__all__ = [
    "Arrays",
    "embedding_arrays",
    "labels_of",
    "numpy_of",
    "part_names",
    "PARTS",
    "parts_of",
    "picture_sample",
    "row_normalised",
    "split_index",
    "Task",
]

Arrays = dict[str, np.ndarray[Any, Any]]
PARTS = ("train", "val", "test")
EMBEDDED = 5000  # items in the picture of the embedding, at most


class Task(ABC):
    """The data of one run on one device: batches, loss, evaluation and predictions.

    Args:
        loaded: the dataset with the split of this run.
        config: the options.
        device: where tensors go.

    Shapes: see each task.
    """

    name: ClassVar[str]
    precision: Any = None  # lightning-fabric's plugin, set with the model
    num_features: int
    num_outputs: int
    counts: Mapping[str, int]

    def __init__(self, loaded: Loaded, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.dataset = str(loaded.name)
        self.metric = loaded.metric
        self.kind = str(loaded.metric.kind)
        check_loss(config.loss, self.kind, self.dataset)
        self.num_features, self.num_outputs = loaded.num_features, loaded.num_outputs

    @property
    def higher_is_better(self) -> bool:
        """The direction of the metric."""
        return bool(self.metric.higher_is_better)

    def options(self) -> ModelConfig:
        """The options of the model."""
        return registry.config_class(self.config.model)(**self.config.model_options)

    def build(self) -> nn.Module:
        """A new model, initialised from torch's global generator."""
        model: nn.Module = registry.build(
            self.config.model, self.name, self.num_features, self.num_outputs, self.options(), **self.facts()
        )
        return model

    def call(self, model: nn.Module, method: str, *inputs: Any, full: bool = False) -> Tensor:
        """A method of the model beside forward, in the precision that fabric gives to forward.

        Args:
            full: leave mixed precision out; scores that are ranked would tie in the shorter type.
        """
        if self.precision is None or (full and self.config.precision.endswith("-mixed")):
            return cast(Tensor, getattr(model, method)(*inputs))
        with self.precision.forward_context():
            output = getattr(model, method)(*self.precision.convert_input(inputs))
        return cast(Tensor, self.precision.convert_output(output))

    def facts(self) -> dict[str, Any]:
        """What a model may need to know of the data beyond its widths."""
        return {}

    @abstractmethod
    def take(self, loaded: Loaded) -> None:
        """Go over to another split of the same dataset."""

    @abstractmethod
    def batches(self, generator: torch.Generator) -> Iterator[Any]:
        """The batches of one epoch; everything random in them comes from ``generator``."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, int]:
        """The mean loss of a batch, and over how many items."""

    @abstractmethod
    def evaluate(self, model: nn.Module, parts: Sequence[str]) -> dict[str, Evaluation]:
        """Metric and loss over parts of the split."""

    def details(self, model: nn.Module) -> Mapping[str, float]:
        """Further numbers of the test at the selected epoch, by name; most tasks have none."""
        return {}

    @abstractmethod
    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """Scores and labels of the parts, and the embedding, as ``predictions.npz`` holds them."""

    @abstractmethod
    def rows(self, model: nn.Module) -> Arrays:
        """The columns of a prediction file, one row for each item there is."""

    def criterion(self, logits: Tensor, target: Tensor) -> Tensor:
        """What is minimised, see :func:`loss_of`."""
        return loss_of(self.kind, logits, target, self.config.loss)

    def scored(self, logits: Tensor) -> Arrays:
        """The columns ``prediction`` (class or value) and ``score`` of these logits."""
        scores = scores_of(self.kind, logits)
        if self.kind == "multiclass":
            return {"prediction": numpy_of(scores.argmax(dim=1)), "score": numpy_of(scores)}
        if self.kind == "regression":
            return {
                "prediction": numpy_of(
                    scores.squeeze(-1) if scores.dim() > 1 and scores.size(1) == 1 else scores
                )
            }
        if self.kind == "ranking":
            return {"score": numpy_of(scores)}
        return {"prediction": numpy_of((scores > 0.5).long()), "score": numpy_of(scores)}

    def measured(self, logits: Tensor, target: Tensor) -> Evaluation:
        """Metric and loss of these logits; both NaN where a logit is not finite."""
        kind = "binary" if self.kind == "ranking" else self.kind
        loss = float(loss_of(kind, logits.float(), target, self.config.loss))
        if not math.isfinite(loss) or not bool(torch.isfinite(logits).all()):
            return Evaluation(math.nan, math.nan)
        return Evaluation(self.metric(target, scores_of(self.kind, logits)), loss)


def row_normalised(x: Tensor) -> Tensor:
    """Each row divided by its sum; rows that sum to 0 stay."""
    total = x.sum(dim=-1, keepdim=True)
    return x / torch.where(total == 0, torch.ones_like(total), total)


def part_names(parts: Tensor) -> np.ndarray[Any, Any]:
    """``train``, ``val``, ``test`` or nothing, for each number of :func:`parts_of`."""
    named: np.ndarray[Any, Any] = np.array([*PARTS, ""])[parts.numpy()]
    return named


def split_index(split: Any, device: torch.device) -> dict[str, Tensor]:
    """The item numbers of each part that has any."""
    index = {part: getattr(split, part).to(device) for part in PARTS}
    return {part: numbers for part, numbers in index.items() if numbers.numel() > 0}


def picture_sample(count: int) -> Tensor:
    """Which items the picture of the embedding shows: all, or the same random ones every time."""
    if count <= EMBEDDED:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:EMBEDDED].sort().values


def numpy_of(value: Tensor) -> np.ndarray[Any, Any]:
    """A CPU array; floats as float32, integers as int64."""
    value = value.detach().cpu()
    return value.float().numpy() if value.is_floating_point() else value.long().numpy()


def labels_of(kind: str, target: Tensor) -> np.ndarray[Any, Any]:
    """Labels as ``predictions.npz`` holds them: integers for classes and links, floats where NaN may be."""
    if kind in ("binary", "ranking") and target.dim() == 1 and not bool(target.isnan().any()):
        return numpy_of(target.long())
    return numpy_of(target)


def embedding_arrays(z: Tensor, shown: Tensor, labels: Tensor | None, parts: Tensor) -> Arrays:
    """The ``embedding`` arrays of ``predictions.npz``.

    Shapes: z ``[K, d]``, shown ``[K]``; labels and parts over all items.
    """
    label = torch.full((shown.numel(),), -1) if labels is None else labels.cpu()[shown]
    return {
        "embedding": numpy_of(z.float()),
        "embedding_index": numpy_of(shown),
        "embedding_label": numpy_of(label.long()),
        "embedding_part": parts[shown].to(torch.int8).numpy(),
    }


def parts_of(count: int, split: Mapping[str, Tensor]) -> Tensor:
    """For each item 0 train, 1 val, 2 test, or -1."""
    parts = torch.full((count,), -1, dtype=torch.int8)
    for number, part in enumerate(PARTS):
        if part in split:
            parts[split[part].cpu()] = number
    return parts
