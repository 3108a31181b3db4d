"""What a person sees while a model trains: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LiveProgress", "PlainProgress", "Progress", "progress_on"]


class Progress:
    """Hears of every epoch; this one stays silent, the others show it.

    Shapes: none.
    """

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, title: str, runs: int, epochs: int, metric: Any) -> None:
        """Training starts: so many runs of at most so many epochs."""

    def run_begin(self, name: str, index: int, epoch: int) -> None:
        """Run number ``index`` starts, or goes on after ``epoch``."""

    def epoch(self, epoch: int, loss: float, val: float | None, best: float | None) -> None:
        """An epoch is over."""

    def run_end(self, name: str, epochs: int, metrics: dict[str, Any], seconds: float) -> None:
        """A run is over."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""


class _Shown(Progress):
    every = 0.1  # seconds between two updates

    def __init__(self, console: Console) -> None:
        self.console = console
        self.title = self.name = ""
        self.runs = self.epochs = self.index = self.first = 0
        self.metric = self.kind = ""
        self._shown = 0.0
        self._done_before = 0
        self._spent = 0.0  # seconds in epochs of this process, over all its runs
        self._run_started = 0.0

    def begin(self, title: str, runs: int, epochs: int, metric: Any) -> None:
        self.title, self.runs, self.epochs = title, runs, epochs
        self.metric, self.kind = str(metric.name), str(metric.kind)

    def run_begin(self, name: str, index: int, epoch: int) -> None:
        self.name, self.index, self.first = name, index, epoch
        self._run_started = time.monotonic()

    def epoch(self, epoch: int, loss: float, val: float | None, best: float | None) -> None:
        now = time.monotonic()
        if now - self._shown < self.every:
            return
        self._shown = now
        here = epoch - self.first
        rate = (self._spent + now - self._run_started) / max(self._done_before + here, 1)
        left = rate * (self.epochs - epoch + self.epochs * (self.runs - self.index - 1))
        self.show(epoch, loss, val, best, left)

    def run_end(self, name: str, epochs: int, metrics: dict[str, Any], seconds: float) -> None:
        self._spent += time.monotonic() - self._run_started
        self._done_before += max(self.epochs - self.first, 1)  # an early stop makes the later runs look short
        told = "  ".join(f"{part} {shown(value, self.kind)}" for part, value in metrics.items())
        self.console.print(
            f"{self._run(name)}  {epochs} epochs  {self.metric}: {told}  {span(seconds)}",
            highlight=False,
            soft_wrap=True,
        )

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def show(self, epoch: int, loss: float, val: float | None, best: float | None, left: float) -> None:
        raise NotImplementedError

    def _run(self, name: str) -> str:
        return f"{name} ({self.index + 1}/{self.runs})" if self.runs > 1 else name

    def _text(self, loss: float, val: float | None, best: float | None, left: float) -> str:
        text = f"loss {loss:.4f}"
        if val is not None:
            text += f"  val {self.metric} {shown(val, self.kind)}"
        if best is not None:
            text += f" (best {shown(best, self.kind)})"
        return f"{text}  {span(left)} left"


class PlainProgress(_Shown):
    """A line every few seconds, for logs and pipes.

    Shapes: none.
    """

    every = 5.0

    def begin(self, title: str, runs: int, epochs: int, metric: Any) -> None:
        super().begin(title, runs, epochs, metric)
        self._shown = time.monotonic()
        self.console.print(title, highlight=False, soft_wrap=True)

    def show(self, epoch: int, loss: float, val: float | None, best: float | None, left: float) -> None:
        if self._shown - self._run_started < self.every:
            return  # a short run has its closing line
        self.console.print(
            f"{self._run(self.name)}  epoch {epoch}/{self.epochs}  {self._text(loss, val, best, left)}",
            highlight=False,
            soft_wrap=True,
        )


class LiveProgress(_Shown):
    """A bar that moves, with loss, validation metric and time left.

    Shapes: none.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        super().__init__(console)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[text]}"),
            console=console,
            refresh_per_second=8,
            transient=True,
        )
        self._task = self._bars.add_task("starting", total=1, text="")

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, title: str, runs: int, epochs: int, metric: Any) -> None:
        super().begin(title, runs, epochs, metric)
        self.console.print(f"[bold]{title}[/bold]", highlight=False, soft_wrap=True)

    def run_begin(self, name: str, index: int, epoch: int) -> None:
        super().run_begin(name, index, epoch)
        self._bars.update(
            self._task, description=self._run(name), total=self.epochs, completed=epoch, text=""
        )

    def show(self, epoch: int, loss: float, val: float | None, best: float | None, left: float) -> None:
        self._bars.update(self._task, completed=epoch, text=self._text(loss, val, best, left))


def progress_on(console: Console) -> Progress:
    """The live display on a terminal, plain lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


def span(seconds: float) -> str:
    """A duration in two units at most."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def shown(value: float | None, kind: str) -> str:
    """A metric as people read it: shares in percent, errors of a regression in their own unit."""
    if value is None:
        return "-"
    return f"{value:.4g}" if kind == "regression" else f"{100 * value:.2f}"
