"""The content of a run directory or a store is data: nothing in it is executed, whoever wrote it."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch.engine.trials.mailbox import Begin
from raysearch.engine.trials.running_cell import RunningCell
from raysearch.runs.checkpoints import BEST, NEWEST, Checkpoints
from raysearch.tasks.base import Worker

from .engine.small_task import SmallTask, plain_run

ROOT = Path(__file__).parents[1]
PACKAGES = ("raysearch", "dashboards", "search_spaces")
CELL = "c" * 20
STEPS = 3
# Each of these reads data and can run code in it, or runs code from text.
FORBIDDEN = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "dill.load"),
    *("marshal.load", "marshal.loads", "shelve.open", "joblib.load", "pandas.read_pickle", "yaml.load"),
    *("yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "runpy.run_path", "os.system", "eval", "exec", "compile"),
}
# These layers read run directories and stores, which anyone may have written.
READERS = tuple(
    f"{folder}/"
    for folder in (
        "dashboards",
        *(f"raysearch/{name}" for name in ("runs", "inspection", "inference", "storage", "data", "models", "tasks")),
    )
)
# They run code that a person names on the command line: a study file, an extension, or a part of a method. A space is a
# function of a study file; what it imports is imported to describe it.
LOADERS_OF_USER_CODE = {"study_files.py", "extensions.py", "space.py", "loading.py"}
DYNAMIC_IMPORTS = ("importlib.import_module", "__import__", "exec_module")


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._sign,)


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield the path, relative to the repository, and the syntax tree of every module."""
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield the full name of every called function, and the call."""
    origins = {}  # names of this module -> full names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            origins |= {alias.asname or alias.name: f"{prefix}{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            yield f"{origins.get(first, first)}{dot}{rest}", node


def keyword(call: ast.Call, name: str) -> object:
    values = [argument.value for argument in call.keywords if argument.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def is_own_module(argument: ast.expr) -> bool:
    """Return whether the name of a module can only be one of this project: a known prefix, or an entry of a table."""
    if isinstance(argument, ast.JoinedStr):
        first = argument.values[0]
        if isinstance(first, ast.FormattedValue):
            return ast.unparse(first.value) == "__name__"
        return isinstance(first, ast.Constant) and str(first.value).startswith(tuple(f"{name}." for name in PACKAGES))
    return isinstance(argument, ast.Constant | ast.Subscript)


def is_module_of_own_folder(tree: ast.Module, call: ast.Call) -> bool:
    """Return whether an import takes only the names that `pkgutil` lists in the folder of the importing package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ListComp) and node.elt is call:
            (generator,) = node.generators
            module = ast.unparse(generator.target)
            is_listed = ast.unparse(generator.iter) == "pkgutil.iter_modules(__path__)"
            return is_listed and ast.unparse(call.args[0]) == f"f'{{__name__}}.{{{module}.name}}'"
    return False


def is_listed_module(tree: ast.Module, call: ast.Call) -> bool:
    """Return whether an import is in a loop over a tuple of constant names, and prefixes them with a package."""
    tuples = {
        ast.unparse(node.targets[0])
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        if all(isinstance(entry, ast.Constant) for entry in node.value.elts)
    }
    loops = [
        node for node in ast.walk(tree) if isinstance(node, ast.For) and any(child is call for child in ast.walk(node))
    ]
    return is_own_module(call.args[0]) and any(ast.unparse(loop.iter) in tuples for loop in loops)


def is_table_entry(tree: ast.Module, call: ast.Call) -> bool:
    """Return whether an import takes a module of its own package that a table of constant names holds."""
    tables = {
        ast.unparse(node.targets[0])
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        if all(isinstance(entry, ast.Constant) for entry in node.value.values)
    }
    match call.args[0]:
        case ast.JoinedStr(
            values=[
                ast.FormattedValue(value=package),
                ast.Constant(value="."),
                ast.FormattedValue(value=ast.Subscript() as entry),
            ]
        ):
            return ast.unparse(package) == "__name__" and ast.unparse(entry.value) in tables
    return False


def is_checked_task(tree: ast.Module, call: ast.Call) -> bool:
    """Return whether the function around an import looks the task up among the known ones before."""
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any(child is call for child in ast.walk(node))
    ]
    text = ast.unparse(functions[-1]) if functions else ""
    return -1 < text.find("not in TASKS:\n") < text.find("importlib.import_module")


def test_no_code_reads_data_in_a_way_that_could_run_it() -> None:
    loads = 0
    for file, tree in modules():
        for name, call in calls(tree):
            where = f"{file}:{call.lineno} {name}"
            assert name not in FORBIDDEN, where
            assert name != "numpy.load" or not keyword(call, "allow_pickle"), where
            if name == "torch.load":
                loads += 1
                assert keyword(call, "weights_only") is True, where
    assert loads >= 4


def test_no_module_is_imported_by_a_name_from_data() -> None:
    """A name is a constant, or has a known prefix, or was looked up; only a person's own files are loaded by path."""
    imports = 0
    for file, tree in modules():
        for name, call in calls(tree):
            if not name.endswith(DYNAMIC_IMPORTS):
                continue
            imports += 1
            where = f"{file}:{call.lineno} {name}"
            if Path(file).name in LOADERS_OF_USER_CODE:
                assert not file.startswith(READERS), where
            elif file.startswith(READERS):
                is_constant = isinstance(call.args[0], ast.Constant) or is_listed_module(tree, call)
                is_constant = is_constant or is_table_entry(tree, call)
                assert is_checked_task(tree, call) or is_constant or is_module_of_own_folder(tree, call), where
            else:
                assert name == "importlib.import_module", where
                assert is_own_module(call.args[0]), where
    assert imports >= 3


def test_a_reader_of_runs_never_loads_a_study_file() -> None:
    """A run directory names its study; a report of it, or a continuation elsewhere, must not run that file."""
    for file, tree in modules():
        if not file.startswith(READERS):
            continue
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Attribute) and ast.unparse(node) != "optuna.load_study":  # reads a database
                names = [node.attr]
            for name in names:
                loads = name.endswith(("load_study", "study_files")) or ".study_files." in name
                assert not loads, f"{file}:{node.lineno} {name}"


@pytest.mark.parametrize("form", ["pickle", "torch", "legacy torch"])
@pytest.mark.parametrize("names", [(NEWEST,), (NEWEST, BEST)])
def test_a_hostile_checkpoint_is_not_executed(tmp_path: Path, form: str, names: tuple[str, ...]) -> None:
    """It counts as damaged: the cell starts again, or continues from its best state, and ends with its own numbers."""
    config = {"cell": CELL, "folder": str(tmp_path), "steps": STEPS}
    command = Begin(CELL, config, seed=0, storage=str(tmp_path / "checkpoints"))
    worker = Worker(None, tmp_path)  # type: ignore[arg-type]
    begun = RunningCell(command, SmallTask, worker)
    begun.step()
    begun.close()
    folder = tmp_path / "checkpoints" / CELL
    sign = tmp_path / "executed"
    if BEST not in names:
        (folder / BEST).write_bytes((folder / NEWEST).read_bytes())
    for name in names:
        if form == "pickle":
            (folder / name).write_bytes(pickle.dumps({"task": Hostile(sign)}, protocol=2))
        else:
            torch.save({"task": Hostile(sign)}, folder / name, _use_new_zipfile_serialization=form == "torch")
    assert Checkpoints(str(tmp_path / "checkpoints"), CELL).adopt(tmp_path, lambda state: True) == (BEST not in names)
    again = RunningCell(command, SmallTask, worker)
    history = again.begun().history
    assert len(history) == (0 if BEST in names else 1)
    while (reply := again.step()).metrics is None:
        pass
    assert not sign.exists()
    assert reply.metrics["map"] == plain_run(config, 0)[0]


def test_the_hostile_pickle_is_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps({"task": Hostile(tmp_path / "executed")}))
    assert (tmp_path / "executed").exists()
