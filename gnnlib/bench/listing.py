"""Tables about a run as a whole: what there is to measure, and what changed since the baseline."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from gnnlib.bench import baseline
from gnnlib.bench.gpu_cases import cases_on
from gnnlib.bench.peers import PEERS
from gnnlib.bench.results import Report
from gnnlib.bench.table import MISSING, size, times


def listing(device: str = "cpu") -> RenderableType:
    """Every case on a device, and every peer."""
    cases = Table(title="Cases", title_justify="left")
    for header in ("case", "group", "row", "graph", "what", "huge pages", "rounds"):
        cases.add_column(header, no_wrap=header == "case")
    for c in cases_on(device).values():
        pages = "yes" if c.huge_pages else "no"
        cases.add_row(c.name, c.group, str(c.row or MISSING), c.graph, escape(c.title), pages, str(c.rounds))
    peers = Table(title="Peers", title_justify="left")
    for header in ("peer", "what", "counts as"):
        peers.add_column(header)
    for p in PEERS.values():
        peers.add_row(p.name, escape(p.title), {"pyg": "a form of PyG"}.get(p.kind, p.kind))
    return Group(cases, peers)


def difference_table(report: Report) -> RenderableType:
    """How the ratios differ from the committed ones of this class of machine."""
    found = baseline.differences(report)
    if found is None:
        why = "a quick run has none" if report.setting.quick else "--save-baseline makes one"
        return f"no baseline for {report.setting.machine_class} to compare with; {why}"
    table = Table(title=f"Since the baseline of {report.setting.machine_class}", title_justify="left")
    for header in ("case", "figure", "baseline", "now", "change"):
        table.add_column(header, justify="left" if header in ("case", "figure") else "right")
    for d in found:
        show = size if d.figure == "peak_bytes" else times
        color = "red" if (d.change > 0.1 if d.figure == "peak_bytes" else d.change < -0.1) else "default"
        table.add_row(d.case, d.figure, show(d.before), show(d.now), f"[{color}]{d.change:+.0%}[/]")
    return table
