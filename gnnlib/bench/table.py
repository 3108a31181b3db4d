"""A report as tables: for a terminal, and in Markdown for a README."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gnnlib.bench.peers import DEFAULT, PEERS
from gnnlib.bench.results import Outcome, Ratio, Report

_RATIOS = ("PyG (aim)", "best PyG (aim)", "AVX2 (aim)", "others (aim)", "memory (aim)")
HEADERS = ("row", "case", "graph", "ours", *_RATIOS, "peak", "PyG's")
MISSING = "-"


def seconds(value: float | None) -> str:
    """A time in the unit that suits it."""
    if value is None:
        return MISSING
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def size(value: float | None) -> str:
    """Bytes in kB, MB or GB."""
    if value is None:
        return MISSING
    if value < 1e6:
        return f"{value / 1e3:.0f} kB"
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def times(value: float) -> str:
    """A ratio, as in ``6.5x``."""
    return f"{value:.2g}x" if value < 99.5 else f"{value:.0f}x"


def _cell(ratio: Ratio | None) -> str:
    if ratio is None:
        return MISSING
    return times(ratio.value) + ("" if ratio.target is None else f" ({times(ratio.target)})")


def _ratios(outcome: Outcome) -> tuple[Ratio | None, ...]:
    return (
        outcome.against_default,
        outcome.against_best,
        outcome.against_yardstick,
        outcome.against_others,
        outcome.memory_ratio,
    )


def summary_row(outcome: Outcome) -> list[str]:
    """The cells of one case, in the order of :data:`HEADERS`."""
    peaks = [e.peak if (e := outcome.entries.get(p)) else None for p in ("ours", DEFAULT)]
    return [
        str(outcome.row or MISSING),
        outcome.case,
        outcome.graph,
        seconds(outcome.min_time("ours")),
        *map(_cell, _ratios(outcome)),
        *map(size, peaks),
    ]


def _conditions(outcome: Outcome) -> str:
    copy = "" if outcome.copy_bandwidth is None else f", copies at {outcome.copy_bandwidth / 1e9:.1f} GB/s"
    pages = "huge pages" if outcome.huge_pages else "ordinary pages"
    return (
        f"{outcome.graph}: {outcome.num_nodes:,} nodes, {outcome.num_edges:,} edges; "
        f"{outcome.dtype}, {outcome.threads} threads, {pages}{copy}"
    )


def _speed(outcome: Outcome) -> str:
    per_edge, once = outcome.bandwidth, outcome.compulsory_bandwidth
    if per_edge is None or once is None or outcome.traffic is None:
        return ""
    return (
        f"\nneighbour passes: {size(outcome.traffic.once)}, each row read once, at {once / 1e9:.1f} GB/s; "
        f"{size(outcome.traffic.per_edge)} read edge by edge, at {per_edge / 1e9:.1f} GB/s"
    )


def case_table(outcome: Outcome) -> RenderableType:
    """Every contender of one case."""
    title = Text(f"{outcome.title} [{outcome.case}]", style="bold")
    if outcome.skipped is not None:
        return Text.assemble(title, (" not run: ", "yellow"), outcome.skipped)
    table = Table()
    table.add_column("contender", no_wrap=True)
    for header in ("min", "median", "spread", "/ ours", "peak"):
        table.add_column(header, justify="right", no_wrap=True)
    ours = outcome.min_time("ours") if outcome.refused is None else None
    for name, entry in outcome.entries.items():
        t = entry.times
        if t is not None:
            ratio = times(t.min / ours) if ours else MISSING
            clock = (seconds(t.min), seconds(t.median), f"{t.spread:.0%}")
            table.add_row(PEERS[name].title, *clock, ratio, size(entry.peak))
    lines = [Text(_conditions(outcome) + _speed(outcome), style="dim")]
    lines += [Text(f"{PEERS[n].title}: {e.note}", style="dim") for n, e in outcome.entries.items() if e.note]
    if outcome.refused is not None:
        lines.append(Text(f"no ratio: {outcome.refused}", style="bold red"))
    return Group(title, *([table] if table.row_count else []), *lines)


def summary_table(report: Report) -> Table:
    """One line a case; a ratio is green where its aim is reached and red where it is not."""
    table = Table(
        title="How many times faster, and leaner in memory, ours is", title_justify="left", pad_edge=False
    )
    shown = [HEADERS.index(h) for h in ("row", "case", "ours", *_RATIOS)]
    for k in shown:
        whole = HEADERS[k] in ("row", "case", "ours")  # an aim may go below its ratio
        table.add_column(HEADERS[k], justify="left" if HEADERS[k] == "case" else "right", no_wrap=whole)
    for outcome in report.outcomes:
        cells = [escape(c) for c in summary_row(outcome)]
        for k, ratio in enumerate(_ratios(outcome), start=HEADERS.index(_RATIOS[0])):
            if ratio is not None and ratio.reached is not None:
                cells[k] = f"[{'green' if ratio.reached else 'red'}]{cells[k]}[/]"
        table.add_row(*(cells[k] for k in shown))
    return table


def heading(report: Report) -> str:
    """One line about the machine and the installation."""
    s = report.setting
    versions = ", ".join(f"{name} {v}" for name, v in s.versions.items() if v is not None)
    rounds = "" if s.rounds is None else f"; {s.rounds} rounds"
    quick = "; QUICK RUN: tiny graphs, the figures mean nothing" if s.quick else ""
    return f"{s.cpu}, {s.cores} cores; {versions}; commit {s.commit or 'none'}{rounds}{quick}"


def markdown(report: Report) -> str:
    """The summary as a Markdown table, with the line about the machine below it."""
    lines = ["| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS)]
    for outcome in report.outcomes:
        cells = summary_row(outcome)
        cells[HEADERS.index("case")] = outcome.title
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", heading(report), ""])
