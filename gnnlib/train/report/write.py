"""The page: sections in order, one stylesheet, one optional script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from gnnlib.files import write_text
from gnnlib.train.report.curves import curves, strip
from gnnlib.train.report.outcome import outcome
from gnnlib.train.report.picture import Method, picture
from gnnlib.train.report.read import Run, RunDir, read_run_dir
from gnnlib.train.report.words import (
    NONE,
    duration,
    escape,
    fixed,
    memory,
    metric_title,
    model_title,
    moment,
    plain,
    score,
)
from gnnlib.train.result import summarise_details

__all__ = ["write_report"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'"


def write_report(run_dir: Path, *, method: Method = "tsne") -> Path:
    """Write ``report.html`` into a finished run directory and return its path.

    Args:
        run_dir: a directory written by ``gnnlib.train.run``.
        method: how the embeddings come into the plane, ``tsne`` or ``pca``.

    Shapes: none.
    Raises: FileNotFoundError where the directory holds no result; ValueError where it cannot be read;
        OSError with a plain sentence on a full or read-only disk.
    """
    found = read_run_dir(Path(run_dir))
    path = found.path / "report.html"
    write_text(path, _page(found, method))
    return path


def _page(found: RunDir, method: Method) -> str:
    figures, shown = curves(found)
    parts = files("gnnlib.train.report")
    css = parts.joinpath("page.css").read_text(encoding="utf-8")
    script = parts.joinpath("page.js").read_text(encoding="utf-8")
    title = f"{_model(found)} on {_dataset(found)}"
    main = [
        _section("curves", "Learning curves", f'<div class="pair">{figures}</div>' if figures else ""),
        _section("runs", "Runs", _runs(found)),
        _section("details", "Test, in detail", _details(found)),
        f'<div class="pair wide-left">{_card("Predictions", outcome(found))}'
        f"{_card('Embeddings', picture(found, method))}</div>",
        f'<div class="pair">{_card("Configuration", _configuration(found))}'
        f"{_card('Where it ran', _environment(found))}</div>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}: gnnlib report</title><style>{css}</style></head>"
        f"<body>{_header(found, title)}<main>{''.join(main)}</main>"
        f"<footer><p>Written by gnnlib {escape(found.result['versions'].get('gnnlib', ''))}. "
        "This page is one file and loads nothing.</p></footer>"
        f'<script type="application/json" id="curve-data">{shown}</script><script>{script}</script>'
        "</body></html>\n"
    )


def _header(found: RunDir, title: str) -> str:
    result, metric = found.result, str(found.result["metric"]["name"])
    summary = result["summary"].get("test") or result["summary"]["val"]
    part = "test" if result["summary"].get("test") else "validation"
    count = int(summary.get("n", len(found.runs)))
    value = score(summary["mean"], metric)
    spread = f'<span class="pm">±</span>{score(summary["std"], metric)}' if count > 1 else ""
    unit = '<span class="unit">%</span>' if score(summary["mean"], metric, unit=True).endswith("%") else ""
    over = f"mean and sample deviation over {count} runs" if count > 1 else "one run"
    dataset, model = result["dataset"], result["model"]
    counts = " / ".join(f"{int(n):,}" for n in (dataset.get("counts") or {}).values())
    facts = {
        "task": f"{dataset['task']}, {result['metric']['kind']}",
        "train / val / test": counts or NONE,
        "parameters": f"{int(model['parameters']):,}",
        "time": duration(result.get("seconds")),
        "peak memory": memory(result.get("peak_memory")),
    }
    return (
        f'<header><p class="brand">gnnlib report</p><h1>{escape(title)}</h1><div class="hero">'
        f'<div class="headline"><p class="value" id="headline">{value}{spread}{unit}</p>'
        f"<p>{escape(part)} {escape(metric_title(metric))}, {over}</p></div>{strip(found)}</div>"
        f'<dl class="facts">{_terms(facts)}</dl></header>'
    )


def _runs(found: RunDir) -> str:
    metric = str(found.result["metric"]["name"])
    name = metric_title(metric) + (" %" if score(0.5, metric, unit=True).endswith("%") else "")
    heads = [
        ("", "Run"),
        ("", f"Test {name}"),
        ("", f"Validation {name}"),
        ("minor", "Validation loss"),
        ("small-off", "Selected epoch"),
        ("minor", "Epochs"),
        ("minor", "Time"),
        ("minor", "Peak memory"),
    ]
    head = "".join(f'<th scope="col" class="{css}">{escape(text)}</th>' for css, text in heads)
    rows = "".join(_run_row(run, metric, run is found.best) for run in found.runs)
    early = any(run.record.get("stopped") == "patience" for run in found.runs)
    summary = found.result["summary"]
    foot = ""
    if len(found.runs) > 1:
        cells = "".join(f"<td>{_mean(summary.get(part), metric)}</td>" for part in ("test", "val"))
        rest = '<td colspan="5" class="rest"></td>'
        foot = f'<tfoot><tr><th scope="row">mean ± std</th>{cells}{rest}</tr></tfoot>'
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of runs"><table class="runs">'
        "<caption>Every run at its selected epoch; ★ has the best validation result"
        f"{'; † stopped early' if early else ''}.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>{foot}</table></div>"
    )


def _run_row(run: Run, metric: str, best: bool) -> str:
    record = run.record
    metrics, losses = record.get("metrics") or {}, record.get("losses") or {}
    star = ' <span class="star" title="best validation result">★</span>' if best else ""
    stopped = '<span title="stopped early">†</span>' if record.get("stopped") == "patience" else ""
    return (
        f'<tr><th scope="row">{escape(run.label)}{star}</th><td>{score(metrics.get("test"), metric)}</td>'
        f'<td>{score(metrics.get("val"), metric)}</td><td class="minor">{fixed(losses.get("val"))}</td>'
        f'<td class="small-off">{escape(record.get("best_epoch", NONE))}</td>'
        f'<td class="minor">{escape(record.get("epochs", NONE))}{stopped}</td>'
        f'<td class="minor">{duration(record.get("seconds"))}</td>'
        f'<td class="minor">{memory(record.get("peak_memory"))}</td></tr>'
    )


def _details(found: RunDir) -> str:
    rows = summarise_details([run.record for run in found.runs])
    if not rows:
        return ""
    several = len(found.runs) > 1
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{fixed(row["mean"], 4)}'
        f"{' ± ' + fixed(row['std'], 4) if several else ''}</td></tr>"
        for name, row in rows.items()
    )
    head = f'<tr><th scope="col">number</th><th scope="col">{"mean ± std" if several else "value"}</th></tr>'
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Further numbers"><table class="runs">'
        f"<caption>At the selected epoch.</caption><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _mean(summary: Mapping[str, Any] | None, metric: str) -> str:
    return f"{score(summary['mean'], metric)} ± {score(summary['std'], metric)}" if summary else NONE


def _configuration(found: RunDir) -> str:
    config = dict(found.result["config"])
    options = config.pop("model_options", None) or {}
    for field in ("dataset", "model", "out", "root"):
        config.pop(field, None)
    return (
        f'<h3>Training</h3><dl class="terms">{_terms({k: plain(v) for k, v in config.items()})}</dl>'
        f'<h3>Model</h3><dl class="terms">{_terms({k: plain(v) for k, v in options.items()})}</dl>'
        "<details><summary>The model as Python prints it</summary>"
        f"<pre>{escape(found.result['model']['text'])}</pre></details>"
    )


def _environment(found: RunDir) -> str:
    result = found.result
    dataset = result["dataset"]
    terms = {
        "device": result.get("device"),
        "precision": result.get("precision"),
        "threads": result.get("threads"),
        "platform": result.get("platform"),
        "commit": result.get("commit"),
        "started": moment(result.get("started")),
        "finished": moment(result.get("finished")),
        "time": duration(result.get("seconds")),
        "peak memory": memory(result.get("peak_memory")),
    }
    about = {
        "dataset": _dataset(found),
        "features": dataset.get("num_features"),
        "outputs": dataset.get("num_outputs"),
        "source": dataset.get("source"),
        "licence": dataset.get("licence"),
    }
    return "".join(
        f'<h3>{heading}</h3><dl class="terms">{_terms({k: plain(v) for k, v in group.items()})}</dl>'
        for heading, group in (("Machine", terms), ("Versions", result["versions"]), ("Data", about))
    )


def _terms(pairs: Mapping[str, object]) -> str:
    return "".join(
        f"<div><dt>{escape(str(name).replace('_', ' '))}</dt><dd>{escape(value)}</dd></div>"
        for name, value in pairs.items()
    )


def _section(name: str, heading: str, body: str | Iterable[str]) -> str:
    text = body if isinstance(body, str) else "".join(body)
    return f'<section class="card" id="section-{name}"><h2>{heading}</h2>{text}</section>' if text else ""


def _card(heading: str, body: str) -> str:
    return f'<section class="card"><h2>{heading}</h2>{body}</section>' if body else ""


def _dataset(found: RunDir) -> str:
    return str(found.result["dataset"].get("title") or found.result["dataset"]["name"])


def _model(found: RunDir) -> str:
    return model_title(str(found.result["model"]["name"]))
