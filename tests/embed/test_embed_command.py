"""``gnnlib embed`` as it is typed, its files, and the datasets of the literature."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gnnlib import data
from gnnlib.cli import main
from gnnlib.embed import FastRP

QUICK = ("--set", "dim=16", "--set", "num_walks=2", "--set", "walk_length=10", "--set", "window=2")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in ("embed", *arguments)])
    return int(ended.value.code or 0)


def test_files_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npy, csv, txt, png = (tmp_path / f"z.{form}" for form in ("npy", "csv", "txt", "png"))
    assert run("node2vec", "karate", "--out", npy, "--picture", png, *QUICK) == 0
    assert run("node2vec", "karate", "--out", csv, *QUICK) == 0
    assert run("node2vec", "karate", "--out", txt, *QUICK) == 0
    z = np.load(npy)
    assert z.shape == (34, 16)
    assert np.array_equal(np.loadtxt(csv, delimiter=",", dtype=np.float32), z)
    lines = txt.read_text().splitlines()
    assert lines[0] == "34 16"
    assert lines[4].split()[0] == "3"
    assert np.allclose([float(v) for v in lines[4].split()[1:]], z[3])
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert "34 nodes, 16 columns" in capsys.readouterr().out


def test_evaluation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")  # a narrow terminal cuts nothing
    assert run("netmf", "karate", "--evaluate", "--links", "--shuffles", 2, "--set", "dim=8") == 0
    shown = capsys.readouterr().out
    assert "micro" in shown
    assert all(f"{percent} %" in shown for percent in range(10, 100, 10))
    assert "…" not in shown
    assert "hadamard" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("node2vek", "karate", "--evaluate"), "did you mean 'node2vec'"),
        (("node2vec", "karate"), "nothing would be kept"),
        (("node2vec", "karate", "--evaluate", "--set", "dimm=3"), "did you mean 'dim'"),
        (("node2vec", "karate", "--out", "z.np"), "did you mean '.npy'"),
        (("node2vec", "karate", "--picture", "z.pnh"), "did you mean '.png'"),
        (("node2vec", "karate", "--evaluate", "--device", "tpu"), "device='tpu' is none; choose cpu or cuda"),
        (("node2vec", "karate", "--evaluate", "--device", "cuda:9"), "device='cuda:9' is not here"),
        (("node2vec", "karate", "--evaluate", "--set", "dim=abc"), "dim='abc' is a str; expected a number"),
        (("node2vec", "karate", "--evaluate", "--set", "lr=nan"), "lr='nan' is a str; expected a number"),
        (("fastrp", "karate", "--evaluate", "--C", "nan"), "C=nan; expected a finite number above 0"),
        (("fastrp", "davis", "--evaluate"), "got a hypergraph (HyperGraphData)"),
    ],
)
def test_bad_calls_end_with_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_where_nothing_can_be_written_nothing_is_fitted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(FastRP, "_embed", lambda self, graph: pytest.fail("fitted"))
    (tmp_path / "z.npy").mkdir()
    (tmp_path / "file").touch()
    for option, path in (("--out", "z.npy"), ("--out", "file/z.csv"), ("--picture", "file/z.png")):
        assert run("fastrp", "karate", option, tmp_path / path) == 2
        assert "in the way" in (told := capsys.readouterr().err) or "is a file" in told
    assert run("fastrp", "karate", "--picture", tmp_path / "z.gif") == 2
    assert "ending of the picture '.gif' is unknown" in capsys.readouterr().err
    assert run("fastrp", "karate", "--evaluate", "--C", "0") == 2
    assert "C=0.0" in capsys.readouterr().err


def test_of_many_graphs_none_is_embedded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    graph = data.load("karate").dataset[0]
    monkeypatch.setattr(data, "load", lambda name, root: SimpleNamespace(dataset=[graph] * 3))
    assert run("fastrp", "trio", "--out", tmp_path / "z.npy") == 2
    assert "trio has 3 graphs; embed takes one" in capsys.readouterr().err
    assert not (tmp_path / "z.npy").exists()


@pytest.mark.parametrize("name", data.names("embedding"))
def test_datasets_of_the_literature(name: str, data_root: Path) -> None:
    loaded = data.load(name, data_root)  # held against the counts of its card
    assert loaded.task == "embedding"
    graph = loaded.dataset[0]
    if name == "blogcatalog":
        assert graph.y.shape == (10312, 39)
        assert int(graph.y.sum(1).min()) == 1
    assert (loaded.num_outputs > 0) == ("y" in graph)
