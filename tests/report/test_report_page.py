"""The page as text: what it says, that it is escaped, and that it asks nothing of a network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import write_run_dir

from gnnlib.train.report import write_report

VOID = {"meta", "br", "path", "polyline", "polygon"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that the elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open_tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.open_tags and self.open_tags[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for found, attrs in self.tags if found == tag]


def page_of(run_dir: Path) -> Page:
    page = Page(write_report(run_dir, method="pca").read_text(encoding="utf-8"))
    assert page.open_tags == []
    return page


@pytest.mark.parametrize(
    ("kind", "task", "figures"),
    [
        ("multiclass", "node", {"curve-loss", "curve-metric", "strip", "outcome", "embedding"}),
        ("binary", "graph", {"curve-loss", "curve-metric", "strip", "outcome", "embedding"}),
        ("multilabel", "graph", {"curve-loss", "curve-metric", "strip", "outcome", "embedding"}),
        ("regression", "graph", {"curve-loss", "curve-metric", "strip", "outcome", "embedding"}),
        ("ranking", "link", {"curve-loss", "curve-metric", "strip", "outcome", "embedding"}),
    ],
)
def test_every_kind_of_task_has_its_figures(tmp_path: Path, kind: str, task: str, figures: set[str]) -> None:
    page = page_of(write_run_dir(tmp_path / "run", kind, runs=3, task=task))
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert figures <= set(ids)
    for svg in page.named("svg"):
        if svg.get("role") == "img":
            assert set((svg["aria-labelledby"] or "").split()) <= set(ids)
        else:
            assert svg["aria-hidden"] == "true"


def test_headline_and_table_say_the_result(tmp_path: Path) -> None:
    run_dir = write_run_dir(tmp_path / "run", runs=4)
    summary = json.loads((run_dir / "result.json").read_text())["summary"]["test"]
    page = page_of(run_dir)
    mean, std = f"{100 * summary['mean']:.1f}", f"{100 * summary['std']:.1f}"
    assert f"{mean} ± {std} %" in page.text
    assert f"{mean} ± {std}" in page.text.split("mean ± std")[1]
    for fact in ("GCN on Cora", "accuracy", "over 4 runs", "23,063", "488 MiB", "2.13.0", "0123abc", "21 s"):
        assert fact in page.text
    scopes = [attrs.get("scope") for attrs in page.named("th")]
    assert set(scopes) == {"col", "row"}


def test_one_run_has_no_deviation(tmp_path: Path) -> None:
    page = page_of(write_run_dir(tmp_path / "run", runs=1))
    assert "one run" in page.text
    assert "mean ± std" not in page.text


def test_nothing_is_loaded(tmp_path: Path) -> None:
    run_dir = write_run_dir(tmp_path / "run")
    text = write_report(run_dir, method="pca").read_text(encoding="utf-8")
    page = Page(text)
    policy = next(m["content"] or "" for m in page.named("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert not {"link", "img", "iframe", "object", "embed", "base", "a", "use", "image"} & {
        t for t, _ in page.tags
    }
    assert not {"src", "href", "xlink:href", "srcset", "action"} & {name for _, a in page.tags for name in a}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|\bimport\(", text)


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    evil = "</title></script><script>alert('x')</script>\"&"
    run_dir = write_run_dir(tmp_path / "run", classes=3, names=[evil, "b", "c"], title=evil)
    result = json.loads((run_dir / "result.json").read_text())
    result["config"]["model_options"] = {evil: evil}
    result["model"]["text"] = result["platform"] = result["versions"][evil] = evil
    (run_dir / "result.json").write_text(json.dumps(result))
    page = page_of(run_dir)
    assert len(page.named("script")) == 2
    assert evil in page.text


def test_gaps_are_left_out_not_invented(tmp_path: Path) -> None:
    run_dir = write_run_dir(tmp_path / "run", runs=2)
    (run_dir / "seed-1" / "history.json").unlink()
    for seed in (0, 1):
        (run_dir / f"seed-{seed}" / "predictions.npz").unlink()
    page = page_of(run_dir)
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert "curve-loss" in ids
    assert "outcome" not in ids
    assert "embedding" not in ids


def test_missing_labels_and_measurements_are_understood(tmp_path: Path) -> None:
    run_dir = write_run_dir(tmp_path / "run", "multilabel", runs=2)
    path = run_dir / "seed-0" / "predictions.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["test_label"][::2, 1] = np.nan
    arrays["embedding"][3] = np.nan
    np.savez(path, **arrays)
    result = json.loads((run_dir / "result.json").read_text())
    result["runs"][1]["metrics"]["test"] = None
    result["peak_memory"] = result["commit"] = None
    (run_dir / "result.json").write_text(json.dumps(result))
    assert "Scores by label" in page_of(run_dir).text


def test_many_classes_fall_back_to_a_dense_matrix_and_a_grey_rest(tmp_path: Path) -> None:
    page = page_of(write_run_dir(tmp_path / "run", classes=34, runs=1))
    assert any("dense" in (attrs.get("class") or "") for attrs in page.named("figure"))
    assert "14 more classes" in page.text


def test_the_report_replaces_an_older_one_and_repeats_itself(tmp_path: Path) -> None:
    run_dir = write_run_dir(tmp_path / "run", runs=2)
    (run_dir / "report.html").write_text("old")
    first = write_report(run_dir, method="pca").read_bytes()
    assert write_report(run_dir, method="pca").read_bytes() == first
    assert not list(run_dir.glob("*.tmp*"))


def test_tsne_serves_small_and_larger_embeddings(tmp_path: Path) -> None:
    run_dir = write_run_dir(tmp_path / "run", runs=1)
    path = run_dir / "seed-0" / "predictions.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    for points, word in ((100, "t-SNE"), (5, "principal")):
        for name in ("embedding", "embedding_label", "embedding_index", "embedding_part"):
            arrays[name] = arrays[name][:points]
        np.savez(path, **arrays)
        assert word in write_report(run_dir).read_text(encoding="utf-8")


def test_an_unfinished_run_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"report: .*run has no result.json; .*--resume"):
        write_report(tmp_path / "run")


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"runs": [')
    with pytest.raises(ValueError, match=r"report: .*result.json is not valid json"):
        write_report(tmp_path)
    (tmp_path / "result.json").write_text('{"runs": []}')
    with pytest.raises(ValueError, match=r"lists no run; expected at least one"):
        write_report(tmp_path)
