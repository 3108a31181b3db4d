"""Forecasts of the series on the nodes of one graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gnnlib.data import Loaded, get_metric
from gnnlib.train.config import TrainConfig
from gnnlib.train.guards import check_input
from gnnlib.train.selection import Evaluation
from gnnlib.train.tasks.base import Arrays, Task, numpy_of, part_names, parts_of, split_index

__all__ = ["ForecastTask", "masked_error"]

EVAL_WINDOWS = 64  # windows forecast at once in evaluation; only memory depends on it
HORIZONS = (3, 6, 12)  # steps ahead that the field reports
ERRORS = ("mae", "rmse", "mape")


class ForecastTask(Task):
    """The next values of each node from its last ones and those of the others, by mean absolute error.

    Values are scaled to mean 0 and deviation 1 over the known values of the training windows; errors are in
    the units of the data, over known values only. A missing value is read as the mean.

    Shapes: x ``[N, T, F]`` with the value first, known ``[N, T]``, edge_index ``[2, E]``, edge_weight
        ``[E]``; the split holds windows by their first step.
    Raises: ValueError when the series holds NaN, or for ``normalize_features``.
    """

    name = "forecast"

    def __init__(self, loaded: Loaded, config: TrainConfig, device: torch.device) -> None:
        super().__init__(loaded, config, device)
        if config.normalize_features:
            raise ValueError(
                f"{self.dataset}: normalize_features is for rows of features; series are scaled by the "
                "training windows already, so drop it"
            )
        options, data = loaded.card.options, loaded.dataset[0]
        self.history, self.horizon = int(options["history"]), int(options["horizon"])
        self.day = int(options["steps_per_day"])
        check_input("x", data.x, self.dataset)
        check_input("edge_weight", data.edge_weight, self.dataset)
        series = data.x.float().transpose(0, 1)  # [T, N, F]
        self.known = data.known.t()
        self.value, self.rest = series[..., 0], series[..., 1:]
        self.label: Tensor = self.value.masked_fill(~self.known, math.nan).to(device)  # [T, N]
        self.edge_index = data.edge_index.to(device)
        self.edge_weight = None if data.edge_weight is None else data.edge_weight.float().to(device)
        self.take(loaded)

    def take(self, loaded: Loaded) -> None:
        """Go over to another split of the same series, and to the scale of its training windows."""
        self.index = split_index(loaded.split, torch.device("cpu"))
        self.counts = {part: index.numel() for part, index in self.index.items()}
        self.seen = torch.zeros(self.value.size(0), dtype=torch.bool)
        for k in range(self.history + self.horizon):
            self.seen[self.index["train"] + k] = True
        values = self.value[self.seen][self.known[self.seen]]
        self.mean, self.std = float(values.mean()), float(values.std(correction=0))
        if not self.std > 0:
            raise ValueError(f"{self.dataset}: the training values do not vary; there is nothing to forecast")
        scaled = ((self.value - self.mean) / self.std).masked_fill(~self.known, 0.0)
        self.x = torch.cat([scaled[..., None], self.rest], dim=-1).to(self.device)

    def facts(self) -> dict[str, Any]:
        """Models may have embeddings of the nodes."""
        return {"sizes": (self.value.size(1),)}

    def batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        """The training windows in a new random order, ``[B]`` first steps."""
        order = self.index["train"][torch.randperm(self.counts["train"], generator=generator)]
        yield from torch.split(order, self.config.batch_size or order.numel())

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        """Mean absolute error over the known values, in the units of the data."""
        label = self._labels(batch)
        inputs: tuple[Any, ...] = (self._inputs(batch), self.edge_index, self.edge_weight)
        if getattr(model, "reads_target", False):  # scheduled sampling
            inputs = (*inputs, ((label - self.mean) / self.std).nan_to_num(0.0))
        forecast = model(*inputs) * self.std + self.mean
        return masked_error(forecast, label), batch.numel()

    def evaluate(self, model: nn.Module, parts: Sequence[str]) -> dict[str, Evaluation]:
        """Every window of each part once."""
        found = {}
        for part in parts:
            if part in self.index:
                forecast, label = self._both(model, part)
                loss = float(masked_error(forecast, label))
                good = math.isfinite(loss) and bool(torch.isfinite(forecast).all())
                metric = self.metric(label.flatten(1), forecast.flatten(1)) if good else math.nan
                found[part] = Evaluation(metric, loss if good else math.nan)
        return found

    def details(self, model: nn.Module) -> dict[str, float]:
        """Errors of the test at some horizons; those of the last value and of the time of day beside them."""
        if "test" not in self.index:
            return {}
        forecast, label = self._both(model, "test")
        last, usual = self.baselines(self.index["test"])
        found = at_horizons(forecast, label)
        for name, other in (("last value", last), ("time of day", usual)):
            found |= {f"{name}: {key}": value for key, value in at_horizons(other, label).items()}
        return found

    def baselines(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Forecasts without a model: the last known value of the input, and the training mean of the time of
        day.

        Shapes: windows ``[W]`` -> ``[W, horizon, N]`` twice.
        """
        label = self.label.cpu()
        steps = torch.arange(label.size(0)) % self.day
        usual = torch.full((self.day, label.size(1)), self.mean)
        for moment in range(self.day):
            rows = label[self.seen & (steps == moment)]
            if rows.numel():
                usual[moment] = rows.nanmean(dim=0).nan_to_num(self.mean)
        last = torch.full((windows.numel(), label.size(1)), self.mean)
        for k in range(self.history):
            now = label[windows + k]
            last = torch.where(now.isnan(), last, now)
        ahead = windows[:, None] + self.history + torch.arange(self.horizon)
        return last[:, None].expand(-1, self.horizon, -1), usual[steps[ahead]]

    def predictions(self, model: nn.Module, parts: Sequence[str]) -> Arrays:
        """Forecasts and labels; an item is a window and a node."""
        arrays: Arrays = {}
        for part in parts:
            if part in self.index:
                forecast, label = self._both(model, part)
                arrays[f"{part}_index"] = numpy_of(self._items(self.index[part]))
                arrays[f"{part}_label"] = numpy_of(label.transpose(1, 2).flatten(0, 1))
                arrays[f"{part}_score"] = numpy_of(forecast.transpose(1, 2).flatten(0, 1))
        return arrays

    def rows(self, model: nn.Module) -> Arrays:
        """A row for each window and node; ``step`` is the first step that is forecast."""
        windows = torch.cat([self.index[part] for part in self.index]).sort().values
        forecast, label = self._forecasts(model, windows), self._labels(windows).cpu()
        window, node = self._items(windows)
        part = parts_of(int(windows.max()) + 1, self.index)[window]
        return {
            "step": numpy_of(window + self.history),
            "node": numpy_of(node),
            "part": part_names(part),
            "label": numpy_of(label.transpose(1, 2).flatten(0, 1)),
            "prediction": numpy_of(forecast.transpose(1, 2).flatten(0, 1)),
        }

    def _items(self, windows: Tensor) -> Tensor:
        nodes = self.label.size(1)
        return torch.stack([windows.repeat_interleave(nodes), torch.arange(nodes).repeat(windows.numel())])

    def _inputs(self, windows: Tensor) -> Tensor:
        steps = windows[:, None] + torch.arange(self.history)
        return self.x[steps.to(self.device)]  # [B, history, N, F]

    def _labels(self, windows: Tensor) -> Tensor:
        steps = windows[:, None] + self.history + torch.arange(self.horizon)
        label: Tensor = self.label[steps.to(self.device)]  # [B, horizon, N]
        return label

    def _forecasts(self, model: nn.Module, windows: Tensor) -> Tensor:
        made = [
            model(self._inputs(chunk), self.edge_index, self.edge_weight).float().cpu()
            for chunk in torch.split(windows, EVAL_WINDOWS)
        ]
        return torch.cat(made) * self.std + self.mean

    def _both(self, model: nn.Module, part: str) -> tuple[Tensor, Tensor]:
        return self._forecasts(model, self.index[part]), self._labels(self.index[part]).cpu()


def masked_error(forecast: Tensor, label: Tensor) -> Tensor:
    """The mean absolute error over the labels that are not NaN; 0, with zero gradients, where none is.

    Shapes: both the same -> a scalar.
    """
    known = ~label.isnan()
    error = torch.where(known, forecast.float() - label.nan_to_num(0.0), 0.0).abs()
    mean: Tensor = error.sum() / known.sum().clamp(min=1)
    return mean


def at_horizons(forecast: Tensor, label: Tensor) -> dict[str, float]:
    """Masked MAE, RMSE and MAPE (a share) of each horizon that is reported and of all together.

    Shapes: ``[W, horizon, N]``.
    """
    found: dict[str, float] = {}
    for ahead in [h for h in HORIZONS if h <= label.size(1)]:
        pair = numpy_of(label[:, ahead - 1]), numpy_of(forecast[:, ahead - 1])
        found |= {f"{error}@{ahead}": _error(error, *pair) for error in ERRORS}
    both = numpy_of(label.flatten(1)), numpy_of(forecast.flatten(1))
    return found | {error: _error(error, *both) for error in ERRORS}


def _error(name: str, label: np.ndarray[Any, Any], forecast: np.ndarray[Any, Any]) -> float:
    return float(get_metric(name)(label, forecast)) if np.isfinite(forecast).all() else math.nan
