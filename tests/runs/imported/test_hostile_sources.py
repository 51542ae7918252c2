"""Hostile and broken sources are one line, and nothing of them is executed, followed or decompressed without end."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dashboards.report
from raysearch.core import UserError
from raysearch.runs import imported, results

from . import other_tools

CSV = b"method,seed,accuracy\na,0,0.5\n"


def database(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def mlflow_without_columns(folder: Path) -> Path:
    database(folder / "m.db", *(f"CREATE TABLE {name} (x)" for name in ("experiments", "runs", "metrics", "params")))
    return folder / "m.db"


def optuna_without_columns(folder: Path) -> Path:
    names = ("studies", "trials", "trial_values", "trial_params")
    database(folder / "o.db", *(f"CREATE TABLE {name} (x)" for name in names))
    return folder / "o.db"


def hydra_with_aliases(folder: Path) -> Path:
    """Ten levels of ten references: a small text of ten billion entries."""
    job = folder / "multirun/0"
    (job / ".hydra").mkdir(parents=True)
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
    (job / ".hydra/config.yaml").write_text("\n".join(lines))
    (job / "metrics.json").write_text("{}")
    return folder / "multirun"


def hydra_with_an_object(folder: Path) -> Path:
    job = folder / "multirun/0"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra/config.yaml").write_text("seed: !!python/object/apply:os.system ['touch executed']")
    (job / "metrics.json").write_text("{}")
    return folder / "multirun"


def tune_with_a_list(folder: Path) -> Path:
    (folder / "tune/trial").mkdir(parents=True)
    (folder / "tune/trial/params.json").write_text("[1, 2")
    return folder / "tune"


def broken_events(folder: Path) -> Path:
    (folder / "logs").mkdir()
    (folder / "logs/events.out.tfevents.1.host").write_bytes(b"\xff" * 100)
    return folder / "logs"


def wandb_with_a_call(folder: Path) -> Path:
    call = "__import__('os').system('touch executed')"
    frame = pandas.DataFrame({"name": ["x"], "config": [call], "summary": ["{}"]})
    frame.to_csv(folder / "w.csv")
    return folder / "w.csv"


def file_of(name: str, content: bytes) -> Callable[[Path], Path]:
    def _write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return _write


def truncated_parquet(folder: Path) -> Path:
    path = other_tools.write_parquet(folder)
    path.write_bytes(path.read_bytes()[:-30])
    return path


SOURCES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (file_of("r.csv", b""), "has no columns; the first line should name them"),
    "header alone": (file_of("r.csv", b"method,seed,accuracy\n"), "holds no results"),
    "missing value": (file_of("r.csv", CSV + b"b,1\n"), "line 3: 2 values for 3 columns"),
    "open quote": (file_of("r.csv", CSV + b'"b,1,0.5\n'), "line 3: unexpected end of data"),
    "not text": (file_of("r.csv", b"\xff\xfe\x00"), "is not UTF-8 text"),
    "zero byte": (file_of("r.csv", b"a,b\n\0,1\n"), "holds a zero byte"),
    "two columns of a name": (file_of("r.csv", b"seed,seed\n1,2\n"), "has several columns 'seed'"),
    "huge number": (file_of("r.csv", CSV.replace(b",0,", b",1e300,")), "is not a whole number"),
    "another file": (file_of("r.bin", b"\x7fELF"), "holds no results that can be read; known: "),
    "truncated Parquet": (truncated_parquet, "is not a Parquet file that can be read"),
    "MLflow without columns": (mlflow_without_columns, "is damaged: "),
    "Optuna without columns": (optuna_without_columns, "is not an Optuna storage that can be read"),
    "journal of nonsense": (
        file_of("o.log", b'{"op_code": 99, "worker_id": 1}\n'),
        "is not an Optuna storage that can be",
    ),
    "YAML that grows": (hydra_with_aliases, "has aliases, which are not read"),
    "YAML that runs code": (hydra_with_an_object, "is not YAML: could not determine a constructor"),
    "Tune without JSON": (tune_with_a_list, "is not JSON"),
    "broken events": (broken_events, "holds no results"),
    "W&B that runs code": (wandb_with_a_call, "is not a dictionary"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_broken_source_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write, message = SOURCES[name]
    with pytest.raises(UserError) as caught:
        imported.import_run(write(tmp_path), tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "r.csv").open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(UserError, match="is larger than 256 MiB"):
        imported.import_run(tmp_path / "r.csv", tmp_path / "out")


def test_a_parquet_file_that_grows_is_refused(tmp_path: Path) -> None:
    """A text that is stored once and repeated: the file has a few kilobytes."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), ["x" * 9000])
    pq.write_table(pa.table({"method": texts}), tmp_path / "r.parquet", compression="zstd")
    assert (tmp_path / "r.parquet").stat().st_size < 100_000
    with pytest.raises(UserError, match="holds more than 64 million characters"):
        imported.import_run(tmp_path / "r.parquet", tmp_path / "out")


def test_names_are_escaped(tmp_path: Path) -> None:
    script = "<script>alert(1)</script>\u202e=cmd()"
    frame = pandas.DataFrame(
        {"method": ["base", script] * 3, "seed": [0, 0, 1, 1, 2, 2], script: [0.1, 0.2, 0.1, 0.3, 0.2, 0.4]}
    )
    imported.import_run(frame, tmp_path, imported.ColumnChoice(reference="base", metric=script))
    page = dashboards.report.write(tmp_path).read_text()
    assert "<script>alert" not in page
    assert "\u202e" not in page


def test_columns_named_like_ours_are_harmless(tmp_path: Path) -> None:
    """A number named like a text of a cell file, a huge one, and texts named like histories and configs."""
    frame = pandas.DataFrame({"method": ["a", "b"] * 3, "seed": [0, 0, 1, 1, 2, 2], "accuracy": [0.1, 0.2] * 3})
    odd = {"device": 3, "history": "[[[", "config": ["x", "y"] * 3, "cell": 7, "data": 1.5, "epochs": 1e300}
    choice = imported.ColumnChoice(metric="accuracy", reference="a")
    imported.import_run(frame.assign(**odd, map=1e200, error="no"), tmp_path, choice)
    dashboards.report.write(tmp_path)
    assert results.load(tmp_path).num_rows == 6
