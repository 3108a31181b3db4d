"""``gnnlib doctor``: what runs here, on which kernels, and what would make it faster."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    warm: Annotated[
        bool, typer.Option("--warm", help="Compile every CPU kernel into the disk cache first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as json.")] = False,
) -> None:
    """Show versions, devices, huge pages, and which backend serves each op here."""
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if warm:
        _warm()
    from gnnlib.diagnose import doctor as examine

    report = examine()
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
        return
    console = Console()
    for section in dict.fromkeys(row.section for row in report.rows):
        console.print(Text(section, style="bold"))
        table = Table.grid(padding=(0, 2))
        for row in (r for r in report.rows if r.section == section):
            table.add_row(Text(f"  {row.name}"), Text(row.value))
            if row.advice is not None:
                table.add_row("", Text(f"-> {row.advice}", style="yellow"))
        console.print(table, "")


def _warm() -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from gnnlib.sparse.warm import warm

    columns = (TextColumn("{task.description:<32}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading", total=None)
        done = warm(lambda what, at, total: bar.update(task, description=what, completed=at, total=total))
    console.print(
        f"{len(done.kernels)} CPU kernels are in the disk cache, {done.forms} compiled forms, "
        f"{done.seconds:.0f} s",
        highlight=False,
    )
