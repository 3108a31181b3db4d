"""``gnnlib measure``: how far a trained run looks, how it smooths and squashes, and how it generalises."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def measure(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories of `gnnlib train`.", show_default=False),
    ],
    samples: Annotated[int, typer.Option(min=0, help="Nodes to measure, 2 or more; 0: all of them.")] = 500,
    max_hops: Annotated[int | None, typer.Option(min=0, help="Last hop. [as far as the model looks]")] = None,
    out: Annotated[Path, typer.Option(help="With several runs: folder of the table and the picture.")] = Path(
        "runs/measure"
    ),
    root: Annotated[Path | None, typer.Option(help="Data root. [the one used in training]")] = None,
) -> None:
    """Measure the run with the best validation result: a table, RUN/measure.json and RUN/measure.png.

    Several runs on one graph are compared: influence by distance and range of each, on the same nodes, in
    OUT/DATASET.json, .csv and .png.
    """
    from rich.console import Console

    console, where = Console(), None if root is None else str(root)
    if len(runs) > 1:
        from gnnlib.train.compare import compare

        found = compare(runs, out=out, num_samples=samples or None, max_hops=max_hops, root=where)
        console.print(_comparison(found))
        place = out / found["dataset"]
        console.print(f"written: {place}.json, {place}.csv, {place}.png", highlight=False)
        return
    from gnnlib.train.measure import measure as measured

    (run,) = runs
    found = measured(run, num_samples=samples or None, max_hops=max_hops, root=where)
    console.print(_table(found))
    console.print(f"written: {run / 'measure.json'}, {run / 'measure.png'}", highlight=False)


def _comparison(found: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    from gnnlib.train.report.words import metric_title, score

    models = sorted(found["models"].items(), key=lambda item: -item[1]["R"])
    hops = [h for h in (1, 2, 4, 8, 16) if h < max(len(m["curve"]) for _, m in models)]
    table = Table(title=f"influence on {found['dataset']}", box=box.SIMPLE_HEAD)
    table.add_column("run")
    for head in (metric_title(found["metric"]), "range R, hops", "reach", *(f"hop {h}" for h in hops)):
        table.add_column(head, justify="right")
    for name, m in models:
        low, high = m["R_interval"]
        told = [f"{m['curve'][h]:.2g}" if h < len(m["curve"]) else "0" for h in hops]
        table.add_row(
            name, score(m["test"], found["metric"], unit=True), f"{m['R']:.2f} ({low:.2f} to {high:.2f})",
            f"{m['reach']}{' either way' if m['hops'] == 'undirected' else ''}", *told,
        )  # fmt: skip
    return table


def _table(found: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=f"{found['model']} on {found['dataset']}, {found['run']}", box=box.SIMPLE_HEAD)
    table.add_column("measure")
    table.add_column("value", justify="right")
    if far := found.get("influence"):
        low, high = far["R_interval"]
        table.add_row("range R, hops", f"{far['R']:.3f} ({low:.3f} to {high:.3f}, 95 %)")
        way = ", in either direction" if far["hops"] == "undirected" else ""
        table.add_row(f"reach, hops{way}", str(far["reach"]))
        if far["apart"]:
            table.add_row("influence that no path brings", f"{far['apart']:.2%}")
        table.add_row("nodes measured", f"{far['nodes']:,}")
        base = f", relative to hop {far['relative_to']}" if far["relative_to"] else ""
        for hop, (value, error) in enumerate(zip(far["curve"], far["curve_error"], strict=True)):
            table.add_row(f"influence at hop {hop}{base}", f"{value:.4g} ± {error:.2g}")
    for row in found.get("smoothing") or ():
        table.add_row(f"energy share, {row['layer']}", f"{row['share']:.4g}")
    if (gap := found.get("gap")) and gap["at_best"] is not None:
        table.add_row("generalisation gap, selected epoch", f"{gap['at_best']:.4g}")
        table.add_row("generalisation gap, last epoch", f"{gap['last']:.4g}")
    return table
