"""Every command takes the common options and ends with one line and an exit code."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from raysearch import classify, cluster, ingest, report, retrieve, sweep, train
from raysearch.core import UserError, cli, extensions
from raysearch.core.logging import ROOT, StandardErrorHandler, configure_logging


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[logging.Logger]:
    """Restore the package's logger."""
    logger = logging.getLogger(ROOT)
    handlers = list(logger.handlers)
    level = logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def run_app(*words: str) -> int | str | None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def main(fail: bool = False) -> None:
        logging.getLogger("raysearch.example").info("progress")
        logging.getLogger("raysearch.example").debug("detail")
        if fail:
            raise UserError("no such\nthing")

    with pytest.raises(SystemExit) as exited:
        cli.run(app, list(words))
    return exited.value.code


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ([], []),
        (["-v"], ["progress"]),
        (["--verbose"], ["progress"]),
        (["-vv"], ["progress", "detail"]),
        (["-v", "-v"], ["progress", "detail"]),
    ],
)
def test_verbosity_decides_what_is_logged(
    words: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(*words) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.rpartition("raysearch.example: ")[2] for line in captured.err.splitlines()] == lines


def test_the_handler_is_added_once(root_logger: logging.Logger) -> None:
    for verbosity in (1, 2, 1):
        configure_logging(verbosity)
    assert sum(isinstance(handler, StandardErrorHandler) for handler in root_logger.handlers) == 1
    assert root_logger.level == logging.INFO


def test_an_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app("--fail") == 2
    assert capsys.readouterr().err == "error: no such thing\n"
    assert run_app("--fial") == 2
    assert capsys.readouterr().err == "error: unknown flag --fial; did you mean '--fail'?\n"


def test_a_flag_without_its_value_is_not_called_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app("--extension") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: Option '--extension' requires an argument")
    assert "unknown" not in error


def test_an_extension_is_loaded_before_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(extensions.VARIABLE, "")  # restored at the end
    monkeypatch.setattr(extensions, "_loaded", set())
    monkeypatch.delitem(sys.modules, "example_extension", raising=False)
    file = tmp_path / "example_extension.py"
    file.write_text("print('loaded')")
    assert run_app("--extension", str(file)) == 0
    assert capsys.readouterr().out == "loaded\n"
    assert run_app("--extension", str(tmp_path / "missing.py")) == 2
    assert "no such file" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "example_extension", raising=False)


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (sweep.app, ["--help"]),
        (train.app, ["retrieval", "--help"]),
        (ingest.app, ["folder", "--help"]),
        (report.app, ["--help"]),
        (retrieve.app, ["index", "--help"]),
        (classify.app, ["learn", "--help"]),
        (cluster.app, ["check", "--help"]),
    ],
)
def test_every_command_lists_the_common_options(
    app: typer.Typer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.run(app, words)
    assert exited.value.code == 0
    output = capsys.readouterr().out
    assert "--verbose" in output
    assert "--extension" in output
