"""The command line as a person meets it: one clear line for each mistake, exit codes, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gnnlib import __version__, cli
from gnnlib.train import experiment

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run ``gnnlib`` with arguments, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GNNLIB_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def plain_report(folder: Path) -> Path:
        (folder / "report.html").write_text("<html></html>")
        return folder / "report.html"

    monkeypatch.setattr(experiment, "write_report", plain_report)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return call


def test_version_and_help(command: Command) -> None:
    assert command("--version") == (0, f"gnnlib {__version__}\n", "")
    code, text, _ = command("--help")
    assert code == 0
    for name in cli.COMMANDS:
        assert name in text
    code, text, _ = command("train", "--help")
    assert code == 0
    assert "--resume" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "karat"), "error: dataset 'karat' is unknown; did you mean 'karate'?"),
        (("train", "karate", "sagee"), "error: model 'sagee' is unknown; did you mean 'sage'?"),
        (("train", "karate", "gcn", "--set", "drpout=1"), "'drpout' is unknown; did you mean 'dropout'?"),
        (("train", "karate", "gcn", "--set", "lr=fast"), "option lr='fast' is not understood; it takes"),
        (("train", "karate", "gcn", "--set", "lr"), "error: --set lr: KEY=VALUE is expected, as in --set"),
        (("train", "karate", "gcn", "--epochs", "-1"), "error: option epochs is -1; it takes 0 or more"),
        (("train", "karate", "gae"), "error: model 'gae' does not serve node tasks"),
        (("train", "karate", "gcn", "--split", "77"), "split 77"),
        (("train", "--resume", "--out", "nowhere"), "error: nowhere/config.json does not exist"),
        (("predict", "nowhere", "--out", "p.csv"), "error: nowhere/config.json does not exist"),
        (("predict", "nowhere", "--out", "p.xls"), "error: predict: p.xls ends in '.xls'; choose one of"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_line(arguments: tuple[str, ...], message: str, command: Command) -> None:
    code, output, errors = command(*arguments)
    assert code == 2
    assert not output
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not list(Path.cwd().iterdir())


def test_the_traceback_is_there_for_those_who_ask(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNLIB_DEBUG", "1")
    with pytest.raises(ValueError, match="did you mean 'karate'"):
        cli.main(["train", "karat"])


def test_train_resume_and_predict(command: Command) -> None:
    arguments = (
        "train",
        "karate",
        "gcn",
        "--epochs",
        "4",
        "--seeds",
        "2",
        "--set",
        "hidden_channels=8",
        "--out",
        "r",
    )
    code, output, errors = command(*arguments)
    assert code == 0
    assert "mean ± std" in output
    assert "result: r/result.json" in output
    assert "report: r/report.html" in output
    assert "karate (node task) with gcn: 2 runs of 4 epochs on cpu" in errors
    assert "seed-1 (2/2)  4 epochs  accuracy: train " in errors
    assert json.loads(Path("r/config.json").read_text())["model_options"]["hidden_channels"] == 8
    code, _, errors = command(*arguments)
    assert (code, "add --resume to finish it" in errors) == (2, True)
    code, _, errors = command("train", "--resume", "--out", "r", "--seeds", "3")
    assert code == 0
    assert "seed-1 is finished, skipped" in errors
    assert len(json.loads(Path("r/result.json").read_text())["runs"]) == 3
    code, _, errors = command("train", "--resume", "--out", "r", "--epochs", "9")
    assert code == 2
    assert "was made with epochs=4, but this run has epochs=9" in errors
    code, output, _ = command("predict", "r", "--out", "p.csv")
    assert (code, output) == (0, "predictions: p.csv\n")
    assert Path("p.csv").read_text().startswith("node,part,label,prediction,score_0,score_1\n0,train,")


def test_a_run_directory_is_named_after_what_it_holds(command: Command) -> None:
    assert command("train", "karate", "mlp", "--epochs", "1", "--seeds", "1")[0] == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("karate-mlp-20")


def test_ctrl_c_exits_with_130(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "make_task", stop)
    assert command("train", "karate", "gcn") == (130, "", "interrupted\n")


def test_a_bug_keeps_its_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(experiment, "make_task", bug)
    with pytest.raises(ZeroDivisionError):
        cli.main(["train", "karate", "gcn", "--out", "r"])


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gnnlib", "data"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert "Traceback" not in errors
    assert "error" not in errors


def test_the_module_is_the_command_and_asks_for_huge_pages(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run(
        [sys.executable, "-m", "gnnlib", "--version"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, f"gnnlib {__version__}\n")
    script = (
        "import os, sys\nfrom gnnlib.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "assert os.environ['THP_MEM_ALLOC_ENABLE'] == '1'\n"
        "assert 'torch' not in sys.modules, 'the start is heavy'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_resuming_needs_a_directory(command: Command, tmp_path: Path) -> None:
    code, printed, error = command("train", "--resume")
    assert (code != 0, printed) == (True, "")
    assert "--resume needs --out, the run directory to finish" in error
    assert not (tmp_path / "runs").exists()
    for name, file in (("done", "result.json"), ("begun", "config.json")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
        (tmp_path / "runs" / name / file).write_text("{}")
    _, _, error = command("train", "karate", "gcn", "--resume")
    assert "; unfinished: runs/begun" in error
    assert "done" not in error


def test_no_epochs_are_told(command: Command) -> None:
    code, _, told = command("train", "karate", "gcn", "--epochs", "0", "--seeds", "1", "--out", "run")
    assert code == 0
    assert "seed-0 has 0 epochs: these are the results of the initial weights, untrained" in told
