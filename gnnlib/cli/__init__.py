"""The command line: one file a subcommand, loaded here; errors become one clear line."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

__all__ = ["main"]

COMMANDS = ("train", "predict", "measure", "reproduce", "data", "embed", "bench", "doctor")
# What our own sentences come as. A bug of another kind keeps its traceback.
TOLD = (ValueError, TypeError, OSError, ImportError, NotImplementedError, FloatingPointError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the ``gnnlib`` command with these arguments, or those of the process.

    Exit codes: 0 done, 1 a check failed, 2 a wrong input or a refused disk, 130 after Ctrl-C, 143 after
    SIGTERM. ``GNNLIB_DEBUG=1`` shows the traceback of an error.
    """
    # torch reads this once, at import: with huge pages a memory-bound step takes about half the time
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] != ["bench"]:  # bench measures what a user's own script meets
        # threads that wait shall sleep: on a busy machine those that spin slow a small step down tenfold
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _app()(args=given, prog_name="gnnlib")


def _app() -> typer.Typer:
    app = typer.Typer(
        name="gnnlib",
        help="Graph neural networks on one fused sparse core: train, predict, reproduce, measure.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for name in COMMANDS:
        app.command(name)(_told(getattr(importlib.import_module(f"gnnlib.cli.{name}"), name)))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from gnnlib import __version__

        typer.echo(f"gnnlib {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
) -> None: ...


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with errors of ours as one line on stderr and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt as stop:
            _say(str(stop) or "interrupted", colour="33")
            raise SystemExit(128 + int(getattr(stop, "signum", signal.SIGINT))) from None
        except BrokenPipeError:  # the reader of our output has gone, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except TOLD as error:
            if os.environ.get("GNNLIB_DEBUG", "0") not in ("", "0"):
                raise
            _say(f"error: {error}", colour="31")
            raise SystemExit(2) from None

    return wrapped


def _say(text: str, *, colour: str) -> None:
    """One line on stderr, coloured on a terminal."""
    line = " ".join(text.split())
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\x1b[{colour}m{line}\x1b[0m" if coloured else line, file=sys.stderr)
