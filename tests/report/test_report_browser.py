"""The page in a real browser: no complaint, no request, nothing wider than the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from synthetic_run import write_run_dir

from gnnlib.train.report import write_report

NAMES = ["Probabilistic methods", "Theory", "Reinforcement learning", "Rules", "Cases", "Genes", "Networks"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium is installed: the page is checked as text only")
    with browser.Browser(program) as page:
        yield page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("reports")
    shapes = {
        "node": ("multiclass", {"names": NAMES, "runs": 10}),
        "many": ("multiclass", {"classes": 40, "runs": 1}),
        "link": ("ranking", {"task": "link"}),
        "regression": ("regression", {"task": "graph", "runs": 2}),
    }
    return {
        name: write_report(write_run_dir(root / name, kind, **options), method="pca")  # type: ignore[arg-type]
        for name, (kind, options) in shapes.items()
    }


@pytest.mark.parametrize("name", ["node", "many", "link", "regression"])
@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)])
def test_the_page_opens_without_complaint(
    chromium: browser.Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    chromium.open(pages[name], width, dark=dark)
    assert chromium.complaints() == []
    assert chromium.requests() == [pages[name].as_uri()]
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate("document.querySelectorAll('svg[role=img]').length") >= 3
    sizes = "[...document.querySelectorAll('svg[role=img]')].map((s) => s.getBoundingClientRect())"
    assert chromium.evaluate(f"{sizes}.every((r) => r.width > 100 && r.height > 20)")
    background = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(v) for v in background[4:-1].split(",")) < 200) is dark


def test_the_essentials_need_no_script(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["node"], 1000, scripts=False)
    assert chromium.complaints() == []
    chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "±" in chromium.evaluate("document.getElementById('headline').innerText")
    assert chromium.evaluate("document.querySelectorAll('.curve polyline').length") >= 20


def test_the_crosshair_reads_the_curves(chromium: browser.Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["node"], 1000)
    box = chromium.evaluate(
        "(() => { const r = document.querySelector('#curve-metric .canvas').getBoundingClientRect();"
        " return [r.left + r.width / 2, r.top + r.height / 2]; })()"
    )
    chromium.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    text = chromium.evaluate("document.querySelector('#curve-metric .readout')?.textContent")
    assert text.startswith("epoch ")
    assert "validation" in text
