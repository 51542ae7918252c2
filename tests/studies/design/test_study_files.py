"""Finding a study by name or path."""

from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.studies.design import Ablation, study_files

STUDY = """
from raysearch.studies.space import Ablation, factor
study = Ablation(question="?", task="retrieval", reference={}, factors=[factor("hash.bits", 12, 24)])
"""


def test_a_study_by_name() -> None:
    name, study = study_files.load_study("srem_ablation")
    assert name == "srem_ablation"
    assert study.task == "retrieval"
    assert "srem_ablation" in study_files.study_names()
    assert "published" not in study_files.study_names()


def test_a_study_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(STUDY)
    name, study = study_files.load_study(str(path))
    assert (name, study.question) == ("mine", "?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "sets no `study = Ablation"),
        ("def (", "does not run: SyntaxError"),
        ("1 / 0", "does not run: ZeroDivisionError"),
        (STUDY.replace("hash.bits", "hash.bit"), "unknown config path 'hash.bit'.*did you mean 'hash.bits'"),
        (STUDY.replace('"retrieval"', '"retreival"'), "unknown task 'retreival'.*did you mean 'retrieval'"),
    ],
)
def test_a_study_file_that_is_wrong_says_so_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        study_files.load_study(str(path))
    assert str(path) in str(caught.value)


# --------------------------------------------------------------------------------- loaded as Python loads a module

MODERN = """
from __future__ import annotations
import dataclasses, inspect, pickle, typing
import {helper}
from raysearch import Ablation, factor

@dataclasses.dataclass(frozen=True)
class Level:
    bits: int = dataclasses.field(default={helper}.BITS)
    names: typing.ClassVar[list[str]] = []

def space(trial): return None

assert typing.get_type_hints(Level)["bits"] is int
assert pickle.loads(pickle.dumps(Level())) == Level()
assert "def space" in inspect.getsource(space)
study = Ablation(question="?", task="retrieval", reference={{}}, factors=[factor("hash.bits", Level().bits, 24)])
print("printed by the study")
"""


def levels(path: Path) -> list[int]:
    study = study_files.load_study(str(path))[1]
    assert isinstance(study, Ablation)
    return [level["hash.bits"] for level in study.factors[0].levels]


def test_a_study_file_has_what_a_module_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "of_bits.py").write_text("BITS = 12\n")
    (tmp_path / "mine.py").write_text(MODERN.format(helper="of_bits"))
    assert levels(tmp_path / "mine.py") == [12, 24]
    printed = capsys.readouterr()
    assert printed.out == "", "a command's JSON stays whole"
    assert "printed by the study" in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "of_bits.py"], "no compiled files"


def test_each_study_imports_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bits, folder in ((12, "first"), (16, "second folder")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "of_bits.py").write_text(f"BITS = {bits}\n")
        (tmp_path / folder / "mine.v2-a.py").write_text(MODERN.format(helper="of_bits"))
    monkeypatch.chdir(tmp_path / "first")
    assert levels(Path("mine.v2-a.py")) == [12, 24]
    assert levels(Path("../second folder/mine.v2-a.py")) == [16, 24]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert levels(Path("~/first/mine.v2-a.py")) == [12, 24]


def test_a_study_in_a_package_has_relative_imports(tmp_path: Path) -> None:
    package = tmp_path / "tests" / "birds"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("FROM_PACKAGE = 12\n")
    (package / "of_bits.py").write_text("from . import FROM_PACKAGE as BITS\n")
    (package / "mine.py").write_text("from .of_bits import BITS\n" + MODERN.format(helper="of_bits").replace(
        "from __future__ import annotations", "").replace("import of_bits", "from . import of_bits"))  # fmt: skip
    assert levels(package / "mine.py") == [12, 24]


def test_an_edited_study_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for bits in (12, 16, 32):  # within a second, with the same size
        path.write_text(STUDY.replace("12", str(bits)))
        assert levels(path) == [bits, 24]


@pytest.mark.parametrize("name", ["torch", "optuna", "random", "mine"])
def test_the_name_of_a_study_file_hides_no_module(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(f"import {name}, os, numpy\n" * (name != "mine") + STUDY)
    assert levels(tmp_path / f"{name}.py") == [12, 24]
    import random

    assert random.random() >= 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit(3)", r"ends the process by exit\(3\) \(line 1\)"),
        ("quit()", "ends the process by exit"),
        ("raise SystemExit", "ends the process by exit"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("x = 1\nraise ValueError('two\\nlines')", r"ValueError: two lines \(line 2\)"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("x = '\\0\0'", "does not run"),
        (STUDY.replace("question", "queston"), "did you mean 'question'"),
        ("study = 3", "its `study` is an int"),
        (STUDY.replace('"?"', "None").replace("12, 24", "0, -1"), "question is a text.*hash.bits=0.*hash.bits=-1"),
    ],
)
def test_a_study_file_that_stops_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        study_files.load_study(str(path))
    assert all("\n" not in line and str(path) in line for line in caught.value.messages)


def test_a_missing_study_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "my_study.py").write_text(STUDY)
    with pytest.raises(UserError, match=r"did you mean '.*my_study\.py'"):
        study_files.load_study(str(tmp_path / "my_studi.py"))
    with pytest.raises(UserError, match=r"did you mean '.*my_study\.py'"):
        study_files.load_study(str(tmp_path / "my_study"))
