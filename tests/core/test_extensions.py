"""Extensions: files outside the package that are imported once, under names that hide nothing."""

import inspect
import os
import sys
from pathlib import Path

import pytest

from raysearch.core import Registry, UserError, extensions


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no extension in the environment of later tests."""
    monkeypatch.setenv(extensions.VARIABLE, "")


def test_a_file_named_like_an_installed_module_hides_nothing(tmp_path: Path) -> None:
    import json

    file = tmp_path / "json.py"
    file.write_text("import builtins\n\n\nclass Margin:\n    width = 3\n\n\nbuiltins._extension_class = Margin\n")
    extensions.load([str(file)])
    import builtins

    try:
        assert sys.modules["json"] is json
        assert "width = 3" in inspect.getsource(builtins._extension_class)  # type: ignore[attr-defined]
    finally:
        del builtins._extension_class  # type: ignore[attr-defined]


def test_processes_that_are_started_load_the_same_files(tmp_path: Path) -> None:
    first = tmp_path / "first.py"
    second = tmp_path / "second.py"
    first.write_text("")
    second.write_text("")
    extensions.load([str(first)])
    extensions.load([str(second), str(first)])
    assert os.environ[extensions.VARIABLE].split(os.pathsep) == [str(first), str(second)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"missing\.py': no such file"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        (
            "from raysearch.core import UserError\nraise UserError('choose another name')",
            ": choose another name",
        ),
    ],
)
def test_an_extension_that_fails_is_one_line_every_time(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "missing.py"
    if text is not None:
        file.write_text(text)
    for _ in range(2):
        with pytest.raises(UserError, match=message) as caught:
            extensions.load([str(file)])
        assert "\n" not in str(caught.value)


def test_an_unknown_name_loads_what_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = Registry[int]("shape")
    monkeypatch.setattr(extensions, "shapes_of_this_test", shapes, raising=False)
    file = tmp_path / "circle.py"
    file.write_text("from raysearch.core import extensions\nextensions.shapes_of_this_test.register('circle', 1)\n")
    monkeypatch.setenv(extensions.VARIABLE, str(file))
    assert shapes["circle"] == 1
    with pytest.raises(UserError, match=r"unknown shape 'circel'; did you mean 'circle'\? Known: circle"):
        shapes["circel"]
