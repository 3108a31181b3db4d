"""``gnnlib bench``: measure against PyG and others on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gnnlib.bench.runner import Plan


def bench(
    cases: Annotated[
        list[str] | None,
        typer.Option(
            help="Cases or groups (spmm, step, pairs); repeat the option or use commas. All if absent."
        ),
    ] = None,
    peers: Annotated[
        list[str] | None, typer.Option(help="Peers to measure against, in the same way. All if absent.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for bench.json, bench.md, bench.png and bench.svg.")
    ] = Path("runs/bench"),
    rounds: Annotated[
        int | None, typer.Option(help="Samples of each contender; as each case says if absent.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads for every contender; torch's choice if absent.")
    ] = None,
    huge_pages: Annotated[
        bool | None,
        typer.Option("--huge-pages/--no-huge-pages", help="For every case; else as each case says."),
    ] = None,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too, in fresh processes.")] = True,
    device: Annotated[str, typer.Option(help="cpu or cuda; each has its own cases.")] = "cpu",
    quick: Annotated[
        bool, typer.Option(help="Tiny graphs: shows that all runs, the figures mean nothing.")
    ] = False,
    save_baseline: Annotated[
        bool, typer.Option("--save-baseline", help="Keep the ratios as this machine's baseline.")
    ] = False,
    growth: Annotated[
        bool,
        typer.Option("--growth", help="Measure instead how ours grows with edges and features."),
    ] = False,
    list_cases: Annotated[bool, typer.Option("--list", help="List cases and peers, and stop.")] = False,
) -> None:
    """Measure gnnlib against PyG on this machine: table, picture and json.

    Contenders take turns in one process, after a warm-up, on equal terms; a ratio is minimum over minimum,
    and is printed only where our result agrees with float64 on that input. With ``--growth`` ours runs alone
    on graphs from ten thousand to ten million edges, and growth.json, growth.md and a picture are written.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from gnnlib.bench import baseline, picture, table
    from gnnlib.bench.listing import difference_table, listing
    from gnnlib.bench.runner import Plan, run
    from gnnlib.files import make_dir, write_json, write_text

    console = Console()
    if list_cases:
        console.print(listing(device))
        return
    plan = Plan(
        cases=_split(cases),
        peers=_split(peers),
        rounds=rounds,
        threads=threads,
        huge_pages=huge_pages,
        memory=memory,
        quick=quick,
        device=device,
    )
    if growth:
        _growth(plan, out)
        return
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


def _growth(plan: Plan, out: Path) -> None:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from gnnlib.bench import curves, growth_report
    from gnnlib.files import make_dir, write_json, write_text

    if plan.cases or plan.peers:
        raise ValueError("bench: --growth has its own cases and no peers; leave --cases and --peers out")
    make_dir(out)
    console = Console()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=None)
        report = curves.run(plan, progress=lambda text: progress.update(task, description=text))
    console.print(growth_report.tables(report))
    write_json(out / "growth.json", report.to_json())
    write_text(out / "growth.md", growth_report.markdown(report))
    growth_report.draw(report, out / "growth")
    console.print(f"written: {out}/growth.json, growth.md, growth.png, growth.svg", highlight=False)
    if report.failures:
        raise typer.Exit(1)


def _split(values: list[str] | None) -> tuple[str, ...]:
    return tuple(name for value in values or () for name in value.replace(",", " ").split())
