"""``gnnlib bench``: measure against PyG and others on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    cases: Annotated[
        list[str] | None,
        typer.Option(
            help="Cases or groups (spmm, step); repeat the option or separate by commas. All if absent."
        ),
    ] = None,
    peers: Annotated[
        list[str] | None, typer.Option(help="Peers to measure against, in the same way. All if absent.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for bench.json, bench.md, bench.png and bench.svg.")
    ] = Path("runs/bench"),
    rounds: Annotated[
        int, typer.Option(help="Samples of each contender; at least 5 for a figure to quote.")
    ] = 7,
    threads: Annotated[
        int | None, typer.Option(help="Threads for every contender; torch's choice if absent.")
    ] = None,
    huge_pages: Annotated[
        bool | None,
        typer.Option("--huge-pages/--no-huge-pages", help="For every case; else as each case says."),
    ] = None,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too, in fresh processes.")] = True,
    quick: Annotated[
        bool, typer.Option(help="Tiny graphs: shows that all runs, the figures mean nothing.")
    ] = False,
    save_baseline: Annotated[
        bool, typer.Option("--save-baseline", help="Keep the ratios as this machine's baseline.")
    ] = False,
    list_cases: Annotated[bool, typer.Option("--list", help="List cases and peers, and stop.")] = False,
) -> None:
    """Measure gnnlib against PyG on this machine: table, picture and json.

    Contenders take turns in one process, after a warm-up, on equal terms; a ratio is minimum over minimum,
    and is printed only where our result agrees with float64 on that input.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from gnnlib.bench import baseline, picture, table
    from gnnlib.bench.listing import difference_table, listing
    from gnnlib.bench.runner import Plan, run
    from gnnlib.files import make_dir, write_json, write_text

    console = Console()
    if list_cases:
        console.print(listing())
        return
    plan = Plan(
        cases=_split(cases),
        peers=_split(peers),
        rounds=rounds,
        threads=threads,
        huge_pages=huge_pages,
        memory=memory,
        quick=quick,
    )
    total = len(plan.chosen())
    plan.chosen_peers()
    make_dir(out)  # a folder that cannot be written is told before the work, not after it
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=None)
        finished = 0

        def done(outcome: object) -> None:
            nonlocal finished
            finished += 1

        report = run(
            plan,
            progress=lambda case, text: progress.update(
                task, description=f"{finished + 1}/{total} {case.name}: {text}"
            ),
            done=done,
        )
    for outcome in report.outcomes:
        console.print(table.case_table(outcome), "")
    console.print(table.summary_table(report))
    console.print(table.heading(report), highlight=False)
    write_json(out / "bench.json", report.to_json())
    write_text(out / "bench.md", table.markdown(report))
    picture.draw(report, out / "bench")
    console.print(difference_table(report))
    if save_baseline:
        console.print(f"baseline: {baseline.save(report)}", highlight=False)
    console.print(f"written: {out}/bench.json, bench.md, bench.png, bench.svg", highlight=False)
    if any(outcome.refused for outcome in report.outcomes):
        raise typer.Exit(1)


def _split(values: list[str] | None) -> tuple[str, ...]:
    return tuple(name for value in values or () for name in value.replace(",", " ").split())
