"""A user's own code: what it consists of, what changes its identity, and that files of one name do not meet."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.core import UserError, user_code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module that imports others in each of the ways that Python has."""
    (tmp_path / "helpers.py").write_text("from sub import deep\nimport sub.other\nVALUE = deep.X + sub.other.Y\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/__init__.py").write_text("")
    (tmp_path / "sub/deep.py").write_text("from . import other\nX = other.Y + 1\n")
    (tmp_path / "sub/other.py").write_text("Y = 1\n\n\nclass Thing:\n    pass\n")
    (tmp_path / "unused.py").write_text("raise SystemExit\n")
    (tmp_path / "random.py").write_text("raise SystemExit\n")  # never hides Python's own
    (tmp_path / "my.py").write_text(
        "import random\nimport helpers\nfrom sub.other import Thing\n\n\n"
        "def value():\n    from sub import other\n    return helpers.VALUE + other.Y + int(random.random())\n\n\n"
        "def fail():\n    import json\n    return json.loads('{')\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_are_those_that_a_module_imports(folder):
    code = user_code.read_code("my.py:value")
    assert sorted(code.files) == ["helpers.py", "my.py", "sub/__init__.py", "sub/deep.py", "sub/other.py"]


def test_code_is_loaded_after_a_journey(folder):
    sent = pickle.dumps(user_code.read_code("my.py:value"))
    for path in folder.rglob("*.py"):
        path.unlink()  # as on another machine
    assert user_code.load(pickle.loads(sent))() == 4


def test_files_of_one_name_do_not_meet(tmp_path, monkeypatch):
    for name, number in (("first", 1), ("second", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helpers.py").write_text(f"NUMBER = {number}\n")
        (tmp_path / name / "my.py").write_text("import helpers\n\n\ndef number():\n    return helpers.NUMBER\n")
    monkeypatch.chdir(tmp_path)
    functions = [user_code.load(user_code.read_code(f"{name}/my.py:number")) for name in ("first", "second")]
    assert [function() for function in functions] == [1, 2]


def test_a_spawned_process_finds_the_classes(folder):
    user_code.load(user_code.read_code("my.py:value"))
    code = user_code.read_code("my.py:Thing")
    sent = pickle.dumps(user_code.load(code)())
    out = subprocess.run(
        [sys.executable, "-c", f"import pickle; print(type(pickle.loads({sent!r})).__name__)"],
        capture_output=True,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], *sys.path])},
        check=True,
    )
    assert out.stdout == "Thing\n"


def test_an_error_names_the_line_of_the_users_file(folder):
    with pytest.raises(ValueError, match="Expecting") as caught:
        user_code.load(user_code.read_code("my.py:fail"))()
    assert user_code.describe_place(caught.value) == "my.py, line 13, in fail"


SOURCE = '''"""Documentation."""
import math
from raysearch import Ablation, factor


def area(radius):  # of a circle
    """Return an area."""
    text = """a

    # no comment
"""
    return math.pi * radius**2 + 0 * len(text)


study = Ablation(question="?", task=area, factors=[factor("radius", 1, 2)])
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # of a circle", ""),
        ('"""Return an area."""', '"""Return the area.\n\n    More.\n    """'),
        ('"""Documentation."""\n', "# none\n\n\n"),
        ("import Ablation, factor", "import Ablation, choice"),
        ('factor("radius", 1, 2)', 'factor("radius", 1, 2, 3)'),
        ('study = Ablation(question="?", task', "study: Ablation = Ablation(\n    question='!', task"),
    ],
)
def test_what_decides_no_number_makes_no_new_cells(old, new):
    assert old in SOURCE
    assert user_code.source_digest({"a.py": SOURCE}) == user_code.source_digest({"a.py": SOURCE.replace(old, new)})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("radius**2", "radius**3"),
        ("import math", "import cmath as math"),
        ("# no comment", "# a comment"),
        ('"""a\n\n', '"""a\n'),
        ('"""a\n', '"""a \n'),
        ("return math", "return -math"),
    ],
)
def test_an_edit_makes_new_cells(old, new):
    assert old in SOURCE
    assert user_code.source_digest({"a.py": SOURCE}) != user_code.source_digest({"a.py": SOURCE.replace(old, new)})


def test_an_edit_of_an_imported_file_counts_and_of_another_does_not(folder):
    before = user_code.read_code("my.py:value").identity
    (folder / "unused.py").write_text("x = 1\n")
    assert user_code.read_code("my.py:value").identity == before
    (folder / "sub/other.py").write_text("Y = 2\n")
    assert user_code.read_code("my.py:value").identity != before


def test_a_declared_version_replaces_the_source(folder):
    def _identity(text):
        (folder / "versioned.py").write_text(text)
        code = user_code.read_code("versioned.py:f")
        return user_code.with_declared_version(code, user_code.load(code)).identity

    first = _identity("def f():\n    return 1\n\n\nf.version = '2'\n")
    assert first == _identity("def f():\n    return 3\n\n\nf.version = '2'\n")
    assert first != _identity("def f():\n    return 3\n\n\nf.version = '3'\n")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nothing.py:f", "no file 'nothing.py'"),
        ("mi.py:value", "did you mean 'my.py'?"),
        ("no_module.at_all:f", "no module 'no_module.at_all'"),
        ("my.py", "file.py:name"),
        ("broken.py:f", "'broken.py' does not run: SyntaxError"),
    ],
)
def test_code_that_is_not_there_is_an_error_of_one_line(folder, reference, message):
    (folder / "broken.py").write_text("def f(:\n")
    with pytest.raises(UserError, match=r".*") as caught:
        user_code.read_code(reference)
    text = str(caught.value).replace(f"{folder}/", "")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n", "'bad.py' has no 'f'; known: x"),
        ("x = 1\ny = x / 0\n", "ZeroDivisionError: division by zero (bad.py, line 2, in <module>)"),
        ("import not_installed\n", "ModuleNotFoundError: No module named 'not_installed'"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_code_that_does_not_load_is_an_error_of_one_line(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    Path("bad.py").write_text(source)
    with pytest.raises(UserError) as caught:
        user_code.load(user_code.read_code("bad.py:f"))
    assert message in str(caught.value)


def test_an_installed_module_does_not_travel_with_its_neighbors():
    code = user_code.read_code("pluggy._manager:PluginManager")
    assert code.installed
    assert all(name.startswith("pluggy/") for name in code.files)


def test_a_nested_function_cannot_be_sent():
    def _inside():
        return None

    with pytest.raises(UserError, match="at the top of a file"):
        user_code.code_of(_inside)
