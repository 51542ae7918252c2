"""What lies in a run directory or a store is data: nothing in it is executed, whoever wrote it."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch.engine.trials.mailbox import Begin
from raysearch.engine.trials.train_loop import RunningCell
from raysearch.runs.checkpoints import BEST, NEWEST, Checkpoints
from raysearch.tasks.base import Worker

from .engine.small_task import SmallTask, plain_run

ROOT = Path(__file__).parents[1]
PACKAGES = ("raysearch", "dashboards", "search_spaces")
CELL, STEPS = "c" * 20, 3
# Each reads data and can run code that is in it, or is code run from text.
FORBIDDEN = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "dill.load"),
    *("marshal.load", "marshal.loads", "shelve.open", "joblib.load", "pandas.read_pickle", "yaml.load"),
    *("yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "runpy.run_path", "os.system", "eval", "exec", "compile"),
}
# Where modules are imported by a name that is no constant: the study that a person names on the command line, and one
# of a few by the run's task, which is looked up among the known ones before.
IMPORTS = {"raysearch/studies/design/study_files.py", "dashboards/gallery/build.py"}


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self._sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._sign,)


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(file, full name of what is called, the call) of all code."""
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text())
        names = {}  # of this file -> where it comes from
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                names |= {one.asname or one.name: f"{origin}{one.name}" for one in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                first, dot, rest = ast.unparse(node.func).partition(".")
                yield str(path.relative_to(ROOT)), f"{names.get(first, first)}{dot}{rest}", node


def keyword(call: ast.Call, name: str) -> object:
    given = [one.value for one in call.keywords if one.arg == name]
    return given[0].value if given and isinstance(given[0], ast.Constant) else None


def test_no_code_reads_data_in_a_way_that_could_run_it() -> None:
    found = list(calls())
    loads = [(file, call) for file, name, call in found if name == "torch.load"]
    assert len(loads) >= 4
    for file, call in loads:
        assert keyword(call, "weights_only") is True, f"{file}:{call.lineno}"
    for file, name, call in found:
        assert name not in FORBIDDEN, f"{file}:{call.lineno} {name}"
        assert name != "numpy.load" or not keyword(call, "allow_pickle"), f"{file}:{call.lineno}"
        runs = name.endswith("exec_module") or name in ("importlib.import_module", "__import__")
        assert not runs or file in IMPORTS, f"{file}:{call.lineno} {name}"


def test_only_who_is_given_a_study_runs_its_file() -> None:
    """A run directory names its study; who draws its report, or goes on from it elsewhere, must not run that."""
    importers = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{one.name}" for one in node.names} | {node.module}
                if "raysearch.studies.design.study_files" in names:
                    importers.add(str(path.relative_to(ROOT)))
    assert importers == {"raysearch/sweep.py", "raysearch/engine/preflight/checks.py"}


@pytest.mark.parametrize("form", ["pickle", "torch", "torch of old"])
@pytest.mark.parametrize("names", [(NEWEST,), (NEWEST, BEST)])
def test_a_hostile_checkpoint_is_not_executed(tmp_path: Path, form: str, names: tuple[str, ...]) -> None:
    """It counts as damaged: the cell starts over, or goes on from its best state, and ends with its own numbers."""
    config = {"cell": CELL, "folder": str(tmp_path), "steps": STEPS}
    command = Begin(CELL, config, seed=0, storage=str(tmp_path / "checkpoints"))
    worker = Worker(None, tmp_path)  # type: ignore[arg-type]
    begun = RunningCell(command, SmallTask, worker)
    begun.step()
    folder, sign = tmp_path / "checkpoints" / CELL, tmp_path / "executed"
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


def test_a_task_that_a_run_directory_names_is_imported_only_if_it_is_known() -> None:
    """The check stands before the import, in the one function that does both."""
    (function,) = [
        node
        for node in ast.walk(ast.parse((ROOT / "raysearch" / "gallery.py").read_text()))
        if isinstance(node, ast.FunctionDef) and "importlib.import_module" in ast.unparse(node)
    ]
    text = ast.unparse(function)
    assert -1 < text.find("run.record['task'] not in TASKS:\n") < text.find("importlib.import_module")
