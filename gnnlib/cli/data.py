"""``gnnlib data``: which datasets there are, where they lie, and how to fetch one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gnnlib.data import Card

__all__ = ["data"]

_COLUMNS = ("edges", "features", "classes")
# readers whose sets are measured whenever one is shown and is at hand
_MEASURED = ("city", "citynetwork", "longrange", "lrgb")
_WIDE = 110  # terminal columns from which the table also counts edges, features and classes


def data(
    name: Annotated[str | None, typer.Argument(help="A dataset to show in full.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="One task: node, graph, link, hypergraph, incidence, embedding, forecast, recommendation."
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Look here before $GNNLIB_DATA and the cache.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download the dataset to the cache.")] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="With --fetch: also files whose checksum is not known.")
    ] = False,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Load it, and print sizes, diameters and the entropy of its labels."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print json.")] = False,
) -> None:
    """List the datasets with what is on disk, or show one."""
    if name is None:
        if fetch:
            raise ValueError(
                "gnnlib data --fetch: name the dataset to fetch, as in: gnnlib data cora --fetch"
            )
        _show_all(task, root, as_json)
        return
    from gnnlib.data import find_card

    card = find_card(name)
    if fetch:
        _fetch(card, unverified, as_json)
    _show_one(card, root, as_json, measure or _measured_when_shown(card, root))


def _record(card: Card, root: Path | None) -> dict[str, Any]:
    from gnnlib.data.places import whereabouts

    return {
        "name": card.name,
        "title": card.title,
        "task": card.task,
        "metric": _metric(card),
        "counts": dict(card.counts),
        "split": card.split,
        "where": whereabouts(card, root),
        "source": card.source,
        "licence": card.licence,
    }


def _size(counts: dict[str, int], task: str) -> str:
    unit = "graphs" if task == "graph" else "nodes"
    return f"{counts[unit]:,} {unit}" if unit in counts else ""


def _metric(card: Card) -> str:
    return "OGB's" if card.metric == "ogb" else card.metric


def _show_all(task: str | None, root: Path | None, as_json: bool) -> None:
    from gnnlib.data import find_card, names

    records = [_record(find_card(name), root) for name in names(task)]
    if as_json:
        _print_json(records)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    columns = _COLUMNS if console.width >= _WIDE else ()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    table.add_column("name", style="bold", overflow="fold")  # the longest take two lines where it is narrow
    table.add_column("task", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    table.add_column("where", no_wrap=True)
    for record in records:
        on_disk = Path(record["where"]).is_absolute()
        table.add_row(
            record["name"],
            record["task"],
            _size(record["counts"], record["task"]),
            *(f"{record['counts'][c]:,}" if c in record["counts"] else "" for c in columns),
            record["metric"],
            "on disk" if on_disk else record["where"],
            style=None if on_disk or record["where"] == "bundled" else "dim",
        )
    console.print(table)
    console.print(
        "Any set of the TU collection: TU:NAME. Details and place: gnnlib data NAME.\n"
        "Fetch: gnnlib data NAME --fetch (with --unverified where no checksum is known).",
        style="dim",
    )


def _measured_when_shown(card: Card, root: Path | None) -> bool:
    from gnnlib.data.places import locate

    return card.reader in _MEASURED and (card.bundled or locate(card, root) is not None)


def _measured(card: Card, root: Path | None) -> dict[str, Any]:
    from gnnlib.data import load
    from gnnlib.data.statistics import statistics

    return statistics(load(card, root))


def _told(found: dict[str, Any]) -> str:
    """The measurements in a sentence."""
    text = f"{found['graphs']:,} graph{'s' * (found['graphs'] > 1)} of {found['nodes']:,} nodes and "
    text += f"{found['edges']:,} edges, degree {found['degree']}; hop diameter "
    text += f"{'' if found['diameter_is'] == 'exact' else 'at least '}{found['largest_diameter']:,}"
    if found["graphs"] > 1:
        text += f", {found['diameter']:,} on average"
    if "label_entropy" in found:
        text += f"; label entropy {found['label_entropy']} bit over {found['label_classes']} classes"
    return text


def _show_one(card: Card, root: Path | None, as_json: bool, measure: bool) -> None:
    record = _record(card, root) | {
        "about": card.about.strip(),
        "files": [
            {
                "path": f"{card.folder}/{file.path}",
                "sha256": file.sha256,
                "url": file.url,
                "optional": file.optional,
            }
            for file in card.files
        ],
        "archive": card.archive.url if card.archive else None,
    }
    if measure:
        record["measured"] = _measured(card, root)
    if as_json:
        _print_json(record)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(card.name, style="bold", end=": ", highlight=False)
    console.print(card.title, highlight=False)
    if record["about"]:
        console.print(record["about"].replace("\n", " "), highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key in ("task", "metric", "split"):
        table.add_row(key, record[key])
    table.add_row(
        "counts", ", ".join(f"{key} {value:,}" for key, value in record["counts"].items()) or "not on file"
    )
    if measure:
        table.add_row("measured", _told(record["measured"]))
    for key in ("where", "source", "licence"):
        table.add_row(key, record[key])
    if record["files"]:
        optional = sum(file["optional"] for file in record["files"])
        table.add_row(
            "files", f"{len(record['files'])} in {card.folder}" + (f", {optional} optional" * bool(optional))
        )
    table.add_row("load", f'dataset, split, metric = gnnlib.data.load("{card.name}")')
    console.print(table, highlight=False)


def _fetch(card: Card, unverified: bool, as_json: bool) -> None:
    from gnnlib.data import fetch

    folder = fetch(card, unverified=unverified, progress=not as_json)
    if not as_json:
        typer.echo(f"{card.name} is complete in {folder}")


def _print_json(content: Any) -> None:
    import json

    typer.echo(json.dumps(content, indent=2))
