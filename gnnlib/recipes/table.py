"""``RESULTS.md`` from the json files of a results folder, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gnnlib.files import write_text
from gnnlib.recipes.recipe import TRUST
from gnnlib.train.report.words import duration, memory, metric_title, score

__all__ = ["render_table"]

_HEAD = """# Results

Each row is a recipe (`gnnlib/recipes/<name>.toml`) that `gnnlib reproduce <name>` runs again. Which epoch is
tested was decided on the validation part alone. This page is written by `gnnlib reproduce --table` from
`results/*.json` and from nothing else.

| recipe | dataset, split | metric | ours | expected | paper | time | peak memory |
|---|---|---|---|---|---|---|---|
"""


def render_table(results: Path | str = "results", path: Path | str | None = None) -> Path:
    """Write the table of all results of a folder, and return its path.

    Args:
        results: folder of json files that :func:`reproduce` wrote.
        path: where the table goes; None: ``RESULTS.md`` beside the folder.

    Shapes: none.
    Raises: FileNotFoundError when there is no result; ValueError for a file that is none.
    """
    folder = Path(results)
    found = [_read(file) for file in sorted(folder.glob("*.json"))]
    if not found:
        raise FileNotFoundError(f"reproduce: {folder} holds no result; run gnnlib reproduce --all first")
    target = Path(path) if path is not None else folder.resolve().parent / "RESULTS.md"
    write_text(target, _HEAD + "".join(_row(r) for r in found) + _notes(found) + _legend(found))
    return target


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"reproduce: {file} is not valid json ({error}); delete it and run the recipe again"
        ) from error
    if not isinstance(content, dict) or "recipe" not in content or "mean" not in content:
        raise ValueError(f"reproduce: {file} is no result of a recipe; move it out of the folder")
    return content


def _row(result: Mapping[str, Any]) -> str:
    metric, paper = str(result["metric"]), result["paper"]
    ours = f"**{score(result['mean'], metric)} ± {score(result['std'], metric)}** ({_runs(result)})"
    expected = _bar(result, metric) + ("" if result["met"] else " (**not met**)")
    deviation = f" ± {score(paper['std'], metric)}" if paper.get("std") is not None else ""
    cells = (
        f"`{result['recipe']}`",
        f"{result['dataset']}, {result['split']}",
        metric_title(metric) + (" %" if score(1.0, metric, unit=True).endswith("%") else ""),
        ours,
        expected,
        f"{score(paper['value'], metric)}{deviation} [{paper['trust']}]",
        duration(result["seconds"]),
        memory(result.get("peak_memory")),
    )
    return "| " + " | ".join(_cell(text) for text in cells) + " |\n"


def _bar(result: Mapping[str, Any], metric: str) -> str:
    low, high = score(result["expected"]["low"], metric), score(result["expected"]["high"], metric)
    return f"{low} to {high}"


def _runs(result: Mapping[str, Any]) -> str:
    seeds = len(result["seeds"])
    folds = int(result["n"]) // max(seeds, 1)
    text = f"{seeds} seed{'s' if seeds != 1 else ''}"
    return f"{text} x {folds} folds" if folds > 1 else text


def _notes(found: Sequence[Mapping[str, Any]]) -> str:
    parts = ["\n## The rows\n"]
    for result in found:
        paper = result["paper"]
        parts.append(f"\n### {_cell(result['title'])} (`{result['recipe']}`)\n\n")
        parts.append(f"Paper: {_cell(paper['source'])}, <{paper['url']}>.\n")
        parts.append(
            f"Its number was {TRUST.get(paper['trust'], paper['trust'])}; "
            f"its settings were {TRUST.get(paper['settings'], paper['settings'])}.\n" + _distance(result)
        )
        if result["differences"]:
            parts.append("Different from the paper:\n\n")
            parts += [f"- {_cell(text)}\n" for text in result["differences"]]
        versions = result["versions"]
        where = ", ".join(
            str(part)
            for part in (
                f"gnnlib {versions.get('gnnlib')}",
                f"commit {result['commit']}" if result.get("commit") else None,
                f"torch {versions.get('torch')}",
                result.get("device"),
                f"{result['threads']} threads" if result.get("threads") else None,
                str(result.get("finished") or "")[:10],
            )
            if part
        )
        parts.append(f"\nRun with {_cell(where)}.\n")
    return "".join(parts)


def _distance(result: Mapping[str, Any]) -> str:
    """A sentence where ours is farther from the paper's number than its deviation."""
    paper, metric = result["paper"], str(result["metric"])
    gap, deviation = result["mean"] - paper["value"], paper.get("std")
    if not deviation or abs(gap) <= deviation:
        return ""
    side, many = "above" if gap > 0 else "below", abs(gap) / deviation
    return f"Ours is {score(abs(gap), metric)} {side} it, {many:.1f} of its deviations.\n"


def _legend(found: Sequence[Mapping[str, Any]]) -> str:
    used = {str(result["paper"]["trust"]) for result in found}
    lines = [f"- [{mark}]: {meaning}\n" for mark, meaning in TRUST.items() if mark in used]
    return "\n## How the papers' numbers were checked\n\n" + "".join(lines)


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
