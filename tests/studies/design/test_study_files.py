"""Finding a study by name or path."""

from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.studies.design import study_files

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
