"""One run: epochs, validation, early stopping, resume points. Knows nothing of tasks or tables."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from gnnlib.train import checkpoint, files, guards
from gnnlib.train.config import TrainConfig
from gnnlib.train.interrupt import Interrupted, Interrupts
from gnnlib.train.optim import freeze_encoder, make_optimizer, make_schedule
from gnnlib.train.progress import Progress
from gnnlib.train.seeding import random_state, restore, seed_all
from gnnlib.train.selection import Selection
from gnnlib.train.tasks.base import Task

__all__ = ["Run"]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Shapes: none.
    """

    model: nn.Module
    history: dict[str, list[Any]]
    best_epoch: int
    epochs: int
    stopped: str
    seconds: float


class Run:
    """Trains one model with one seed on one split, and can stop and go on at any epoch.

    Everything that decides what follows is in ``last.ckpt``: weights, optimiser, schedule, generators,
    history, the best weights so far and the patience left. A killed run therefore ends with the bits of
    an unbroken one.

    Args:
        task: what to minimise and how to evaluate.
        config: the options.
        fabric: device and precision.
        seed: fixes everything random.
        folder: where the checkpoints go.
        identity: what the checkpoints belong to.

    Shapes: none.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        fabric: Any,
        *,
        seed: int,
        folder: Path,
        identity: dict[str, Any],
    ) -> None:
        self.task, self.config, self.fabric = task, config, fabric
        self.folder, self.identity = folder, identity
        seed_all(seed)
        self.generator = torch.Generator().manual_seed(seed)  # batches and negatives
        self.raw = task.build()
        if config.freeze_encoder:
            freeze_encoder(self.raw, config.model)
        self.optimizer: Any = None
        self.schedule: Any = None
        if config.epochs:
            self.optimizer = make_optimizer(config, self.raw)
            self.schedule = make_schedule(config, self.optimizer)
            self.model, self.optimizer = fabric.setup(self.raw, self.optimizer)
        else:  # nothing is trained, and there may be no parameters
            self.model = fabric.setup_module(self.raw)
        task.precision = fabric.strategy.precision
        self.selection = Selection(config, task.higher_is_better)
        self.history: dict[str, list[Any]] = {name: [] for name in files.CURVES}
        self.best: dict[str, Any] | None = None
        self.epoch = 0
        self.seconds = 0.0
        self.saved_epoch: int | None = None

    def resume(self) -> int:
        """Go back to the resume point, if there is one; return the epoch it was taken after."""
        path = files.last_checkpoint(self.folder)
        if not path.exists():
            return 0
        state = checkpoint.load(path, self.identity)
        checkpoint.load_weights(path, self.raw, state["model"])
        for name in ("optimizer", "schedule"):
            if (part := getattr(self, name)) is not None:
                part.load_state_dict(state[name])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.selection.load(state["selection"])
        self.generator.set_state(state["generator"])
        self.history, self.best = state["history"], state["best"]
        self.epoch = self.saved_epoch = state["epoch"]
        self.seconds = state["seconds"]
        restore(state["random"], self.fabric.device)
        return self.epoch

    def fit(self, progress: Progress) -> Outcome:
        """Train to the last epoch or the end of patience, and load the selected weights.

        Raises:
            Interrupted: on Ctrl-C, after saving.
            FloatingPointError: when a loss or a parameter is no longer finite.
            OSError: when a checkpoint cannot be written.
        """
        config = self.config
        saved = time.monotonic()
        with Interrupts() as interrupts:
            while self.epoch < config.epochs and not self.selection.exhausted:
                started = time.perf_counter()
                loss = self._train_epoch()
                val = self._evaluate()
                self.seconds += time.perf_counter() - started
                self._record(loss, val)
                progress.epoch(self.epoch, loss, val[0], self._best_metric())
                if interrupts.signum is not None:
                    self._stop(interrupts.signum)
                if time.monotonic() - saved >= config.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()
            self.save()
        stopped = "patience" if self.epoch < config.epochs else "epochs"
        if config.select == "best" and self.best is not None:
            self.raw.load_state_dict(self.best["model"])
        return Outcome(self.model, self.history, self._selected_epoch(), self.epoch, stopped, self.seconds)

    def _train_epoch(self) -> float:
        """One pass over the training items; the mean loss."""
        self.model.train()
        on_cpu = self.fabric.device.type == "cpu"  # elsewhere reading each loss would wait for the device
        total: Any = 0.0
        count = 0
        for batch in self.task.batches(self.generator):
            self.optimizer.zero_grad()
            loss, size = self.task.loss(self.model, batch)
            if on_cpu and not math.isfinite(loss.item()):
                self._broken(f"the loss is {loss.item()}", partial(self.task.loss, self.model, batch))
            self.fabric.backward(loss)
            if self.config.grad_clip is not None:
                self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.grad_clip)
            self.optimizer.step()
            total = total + loss.detach() * size
            count += size
        mean = float(total) / max(count, 1)
        if not math.isfinite(mean) or not guards.finite_parameters(self.raw):
            what = "the loss is" if not math.isfinite(mean) else "the step broke the parameters; the loss was"
            self._broken(f"{what} {mean}", partial(self.task.loss, self.model, batch))
        return mean

    def _evaluate(self) -> tuple[float | None, float | None]:
        """Validation metric and loss, where this epoch is evaluated; keeps the weights when they are best."""
        epoch = self.epoch + 1
        last = epoch == self.config.epochs
        if "val" not in self.task.counts or (epoch % self.config.eval_every and not last):
            return None, None
        self.model.eval()
        with torch.no_grad():
            found = self.task.evaluate(self.model, ("val",))["val"]
        if not math.isfinite(found.loss):
            self._broken(
                "the validation scores are not finite", partial(self.task.evaluate, self.model, ("val",))
            )
        if self.selection.update(epoch, found):
            weights = {k: v.detach().clone() for k, v in self.raw.state_dict().items()}
            self.best = {"epoch": epoch, "metric": found.metric, "loss": found.loss, "model": weights}
        return found.metric, found.loss

    def _record(self, loss: float, val: tuple[float | None, float | None]) -> None:
        self.epoch += 1
        rate = self.optimizer.param_groups[0]["lr"]
        row = {"epoch": self.epoch, "loss": loss, "val": val[0], "val_loss": val[1], "lr": rate}
        for name, value in {**row, "seconds": self.seconds}.items():
            self.history[name].append(value)
        if self.schedule is not None:
            self.schedule.step()

    def save(self) -> None:
        """Write the resume point and the selected weights."""
        if self.saved_epoch == self.epoch:
            return
        state = {
            "epoch": self.epoch,
            "model": self.raw.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "selection": self.selection.state(),
            "generator": self.generator.get_state(),
            "random": random_state(self.fabric.device),
            "history": self.history,
            "best": self.best,
            "seconds": self.seconds,
        }
        checkpoint.save(files.last_checkpoint(self.folder), state, self.identity)
        self._save_best()
        self.saved_epoch = self.epoch

    def _save_best(self) -> None:
        best = self.best
        if self.config.select == "last" or best is None:
            best = {"epoch": self.epoch, "metric": None, "loss": None, "model": self.raw.state_dict()}
        checkpoint.save(files.best_checkpoint(self.folder), best, self.identity)

    def _selected_epoch(self) -> int:
        return self.best["epoch"] if self.config.select == "best" and self.best else self.epoch

    def _best_metric(self) -> float | None:
        return self.best["metric"] if self.best else None

    def _stop(self, signum: int) -> NoReturn:
        self.save()
        name = signal.Signals(signum).name
        raise Interrupted(f"{name}: stopped after epoch {self.epoch} of {self.config.epochs}, saved", signum)

    def _broken(self, what: str, again: Callable[[], Any]) -> NoReturn:
        """Stop over a number that is not finite; no checkpoint on disk is overwritten with it."""
        cause = guards.culprit(self.raw, again)
        if self.config.select == "best" and self.best is not None:
            self._save_best()
            path = files.best_checkpoint(self.folder)
            kept = f"{path} holds the best weights so far (epoch {self.best['epoch']})"
        elif self.saved_epoch:
            kept = f"{files.last_checkpoint(self.folder)} holds epoch {self.saved_epoch}"
        else:
            kept = "no checkpoint was written yet"
        raise FloatingPointError(
            f"training stopped in epoch {self.epoch + 1}: {what}; {cause}; {kept}; "
            "lower lr, or set grad_clip=1"
        )
