"""``gnnlib doctor``: what it reports and what it advises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

import gnnlib
from gnnlib import diagnose, machine
from gnnlib.cli.doctor import doctor as command
from gnnlib.diagnose import Report, Row, doctor
from gnnlib.sparse import registry

app = typer.Typer()
app.command()(command)


@pytest.fixture(scope="module")
def report() -> Report:
    return doctor()


def _named(rows: Any, name: str) -> Row:
    (row,) = [r for r in rows if r.name == name]
    return row


def test_it_names_versions_machine_and_every_op(report: Report) -> None:
    assert _named(report.rows, "torch").value == torch.__version__
    assert _named(report.rows, "CPU").value == machine.cpu_name()
    text = str(report)
    for op in registry.ops():
        assert f"  {op}" in text
    for section in ("Versions", "Machine", "Huge pages", "CPU kernels (numba)", "Optional packages"):
        assert section in report.lines


def test_an_op_shows_who_serves_it_and_why_a_faster_one_stands_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spmm(indptr: torch.Tensor, x: torch.Tensor, reduce: str) -> None: ...

    kernels = [
        registry.Kernel("spmm", "cpu", spmm, lambda *a: "does not take torch.float16"),
        registry.Kernel("spmm", "reference", spmm, lambda *a: None),
    ]
    monkeypatch.setattr(registry, "load", lambda op: kernels)
    monkeypatch.setattr(
        registry, "unavailable", lambda op: [("gpu", "the package 'triton' is not installed")]
    )
    served = diagnose._served("spmm", "cpu", torch.float16)
    assert served.startswith("reference; ")
    assert "gpu: the package 'triton' is not installed" in served
    assert "cpu: does not take torch.float16" in served


def test_a_missing_package_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rows = list(diagnose._packages())
    assert _named(rows, "ogb").value.startswith("missing")
    assert _named(rows, "ogb").advice == "pip install 'gnnlib[eval]'"
    assert _named(rows, "torch-scatter").advice == "pip install 'gnnlib[scatter]'"


@pytest.mark.parametrize(
    ("kernel", "asked", "on", "advice"),
    [
        ("always madvise [never]", "1", False, "as root: echo madvise"),
        ("always [madvise] never", None, False, "set THP_MEM_ALLOC_ENABLE=1 before Python starts"),
        ("always [madvise] never", "1", True, None),
        ("[always] madvise never", None, True, None),
    ],
)
def test_huge_page_advice(
    kernel: str,
    asked: str | None,
    on: bool,
    advice: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = tmp_path / "enabled"
    setting.write_text(kernel + "\n")
    monkeypatch.setattr(machine, "_HUGE_PAGES_FILE", setting)
    monkeypatch.delenv(machine.HUGE_PAGES_VARIABLE, raising=False)
    if asked is not None:
        monkeypatch.setenv(machine.HUGE_PAGES_VARIABLE, asked)
    assert machine.huge_pages().on is on
    given = [row.advice for row in diagnose._huge_pages() if row.advice is not None]
    assert [a.startswith(advice) for a in given] == ([True] if advice else [])


def test_a_machine_without_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_HUGE_PAGES_FILE", tmp_path / "absent")
    assert not machine.huge_pages().on
    assert [row.value for row in diagnose._huge_pages()] == ["no such setting"]


def test_a_model_lists_its_graph_layers_and_what_runs_them() -> None:
    import torch_geometric.nn as pyg

    import gnnlib.nn as ours

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = ours.GCNConv(4, 4)
            self.second = pyg.GATConv(4, 2)
            self.head = nn.Linear(2, 2)

    model = Model()
    rows = doctor(model).rows
    assert [row.name for row in rows[:2]] == ["first", "second"]
    assert rows[0].value == "GCNConv: sparse core, a layer of gnnlib"
    assert rows[1].value == "GATConv: PyG's code, not accelerated"
    assert rows[1].advice == "call gnnlib.accelerate(model)"
    assert rows[0].section == "Layers of Model"
    assert doctor(gnnlib.accelerate(model)).rows[1].value == "GATConv: sparse core, no call yet"
    assert "holds no layer" in doctor(nn.Linear(2, 2)).rows[0].value


def test_the_command_prints_text_and_json() -> None:
    shown = CliRunner().invoke(app, [], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert "Optional packages" in shown.output
    found = CliRunner().invoke(app, ["--json"])
    assert {"section", "name", "value", "advice"} == json.loads(found.output)[0].keys()
