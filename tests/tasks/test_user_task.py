"""A user's function as a task: stepping, continuing, its reports, and its mistakes."""

import gc
import pickle
import textwrap
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from raysearch import Ablation, factor
from raysearch.core import UserError, user_code
from raysearch.studies.configs import overrides
from raysearch.studies.design import PlanRequest, plan_study
from raysearch.studies.design.study_files import load_study
from raysearch.tasks import builders
from raysearch.tasks.base import Worker
from raysearch.tasks.user import pack_state, plain_numbers, unpack_state

HEAD = "from raysearch import Ablation, factor\nimport torch\n\n\n"
STUDY = """
study = Ablation(question="Does width matter?", task=train, base={"lr": 0.1, "head": {"bias": True}},
                 reference={"width": 4}, factors=[factor("width", 2, 4, 8)], metric="accuracy", seeds=3)
"""
TRAIN = """
def train(run):
    model = torch.nn.Linear(3, run.config["width"], bias=run.config["head"]["bias"])
    optimizer = torch.optim.SGD(model.parameters(), lr=run.config["lr"], momentum=0.9)
    if run.state:
        model.load_state_dict(run.state["model"])
        optimizer.load_state_dict(run.state["optimizer"])
    for epoch in run.steps(5):
        batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(100 * run.seed + epoch))
        loss = (model(batch) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.report({"loss": loss}, state={"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    return {"accuracy": model.weight.detach().mean()}
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Return a function that builds the task of a study file from its source, as a worker does."""
    monkeypatch.chdir(tmp_path)

    def _build(train=TRAIN, study=STUDY, settings=None, seed=0, out=None):
        Path("my_study.py").write_text(HEAD + textwrap.dedent(train) + study)
        _, loaded = load_study("my_study.py")
        config = overrides.resolve(loaded.task, {**loaded.base, **loaded.reference, **(settings or {})})
        monkeypatch.setattr(user_code.loading, "_loaded", {})  # as in another process
        builder = pickle.loads(pickle.dumps(builders.builder_for_workers(loaded.task)))
        return builder(config.model_dump(mode="json"), seed, Worker(None, tmp_path, out=out))

    return _build


def _run(task):
    reports = []
    while task.done < task.steps:
        report = task.advance()
        if report is None:
            break
        reports.append({name: value for name, value in report.items() if name != "seconds"})
    return reports, task.evaluate()


def test_each_report_is_a_step_and_what_is_returned_are_the_metrics(build):
    task = build()
    assert task.steps == 5
    reports, metrics = _run(task)
    assert [report["iteration"] for report in reports] == [1, 2, 3, 4, 5]
    plain = torch.nn.Linear(3, 4)  # a plain second writing of the loop
    torch.manual_seed(0)
    plain.reset_parameters()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for epoch in range(5):
        batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(epoch))
        loss = (plain(batch) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [report["loss"] for report in reports] == losses
    assert metrics["accuracy"] == plain.weight.mean().item()
    assert task.metric_ids["accuracy"] == "accuracy@my_study.py:train"


@pytest.mark.parametrize("done", range(6))
def test_a_task_that_continues_gives_the_numbers_of_an_undisturbed_one(build, done):
    reports, metrics = _run(build())
    first = build()
    for _ in range(done):
        first.advance()
    state = pickle.loads(pickle.dumps(first.state_dict()))
    second = build()
    second.load_state_dict(state)
    rest, again = _run(second)
    assert rest == reports[done:]
    assert again["accuracy"] == metrics["accuracy"]


def test_a_report_without_state_continues_from_the_last_one_with_state(build):
    train = TRAIN.replace("run.report({", "run.report({'epoch': epoch, ").replace(
        "state={", "state=None if epoch in (2, 3) else {"
    )
    reports, _ = _run(build(train))
    task = build(train)
    for _ in range(4):
        task.advance()
    assert task.state_dict()["done"] == 2
    second = build(train)
    second.load_state_dict(task.state_dict())
    assert _run(second)[0] == reports[2:]


def test_the_state_is_a_snapshot(build):
    task = build()
    task.advance()
    before = task.state_dict()["state"]["model"]["weight"].clone()
    state = task.state_dict()
    task.advance()
    assert torch.equal(state["state"]["model"]["weight"], before)
    assert not torch.equal(task.state_dict()["state"]["model"]["weight"], before)


def test_a_function_may_end_early_or_report_nothing(build):
    early = build(TRAIN.replace("        loss =", "        if epoch == 2:\n            break\n        loss ="))
    reports, metrics = _run(early)
    assert len(reports) == 2
    assert early.steps == 2
    assert "accuracy" in metrics
    plain = build("def train(run):\n    return {'accuracy': run.config['width'] / 10}\n")
    assert _run(plain)[1]["accuracy"] == 0.4


def test_the_function_computes_on_the_cores_of_its_worker(build):
    source = """
    import time

    def train(run):
        factor = torch.ones(1500, 1500)
        started = time.perf_counter()
        busy = time.process_time()
        for _ in range(6):
            factor @ factor
        return {"accuracy": (time.process_time() - busy) / (time.perf_counter() - started)}
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # A new thread's number of threads is its own. `torch.get_num_threads` does not show it, the time does.
        assert _run(build(source))[1]["accuracy"] < 1.3
    finally:
        torch.set_num_threads(before)


def test_a_reported_metric_need_not_be_returned(build):
    task = build("def train(run):\n    for step in run.steps(2):\n        run.report({'accuracy': step / 10})\n")
    assert _run(task)[1] == {"accuracy": 0.1}


def test_a_run_that_was_killed_after_its_last_report_has_the_same_metrics(build):
    source = (
        "def train(run):\n    for step in run.steps(2):\n        run.report({'accuracy': step / 10}, {'step': step})\n"
    )
    task = build(source)
    _, metrics = _run(task)
    again = build(source)
    again.load_state_dict(task.state_dict())
    assert _run(again) == ([], metrics)


def test_a_setting_that_is_reported_is_in_the_curves_and_no_metric(build):
    task = build(
        "def train(run):\n    for step in run.steps(2):\n        run.report({'accuracy': 0.5, 'lr': step / 10})\n"
    )
    reports, metrics = _run(task)
    assert [report["lr"] for report in reports] == [0.0, 0.1]
    assert metrics == {"accuracy": 0.5}


def test_a_cell_that_is_given_up_leaves_no_thread(build):
    source = """
    def train(run):
        try:
            for step in run.steps(9):
                try:
                    run.report({"loss": 1.0})
                except Exception:
                    pass
        finally:
            run.out.joinpath("closed").touch()
        return {"accuracy": 1.0}
    """
    out = Path("files").absolute()
    task = build(source, out=out)
    task.advance()
    threads = threading.active_count()
    gc.disable()
    try:
        del task  # nothing but the count of references frees it
        deadline = time.monotonic() + 10
        while threading.active_count() >= threads and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        gc.enable()
    assert threading.active_count() < threads
    assert (out / "closed").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("run.report({'loss': 1.0})", "run.report is called before run.steps"),
        ("for _ in run.steps(1):\n        run.report({'loss': 'a'})", "'loss' is a str ('a'), not a number"),
        ("for _ in run.steps(1):\n        run.report([1])", "not a list"),
        ("for _ in run.steps(1):\n        run.report({'seconds': 1})", "raysearch records 'seconds' itself"),
        (
            "for _ in run.steps(1):\n        run.report({}, state={'m': torch.nn.Linear(1, 1)})",
            "state['m'] is a Linear, which cannot be saved; give its state_dict()",
        ),
        (
            "for _ in run.steps(1):\n        run.report({}, state=[{1, 2}])",
            "state[0] is a set, which cannot be saved; pickle.dumps(...)",
        ),
        ("run.steps(0)", "a number of steps from 1, not 0"),
        ("run.steps(2)\n    run.steps(2)", "run.steps is called twice"),
        (
            "run.steps(1)\n    run.report({})\n    run.report({})",
            "more often than the 1 steps of run.steps",
        ),
        ("torch.ones(2) @ torch.ones(3)", "RuntimeError: "),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("return {'acc': 1.0}", "returned no 'accuracy', the metric of the study; it returned acc"),
        ("return {'accuracy': 1.0, 'status': 2}", "my_study.py:train: raysearch records 'status' itself"),
        ("return {'accuracy': 1.0, 'lr': 2}", "my_study.py:train: 'lr' is a setting of the run; choose another name"),
        ("return 3", "my_study.py:train: expected {'name': number}, not an int"),
        ("run.out", "nothing keeps the files of this run"),
    ],
)
def test_mistakes_are_errors_of_one_line_with_the_place(build, body, message):
    task = build(f"def train(run):\n    {body}\n")
    with pytest.raises(Exception, match=r".") as caught:
        _run(task)
    error = caught.value
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    assert message in text
    assert "\n" not in text
    if "return" not in body:
        assert "(my_study.py, line " in text


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (STUDY.replace("task=train", "task=lambda run: {}"), "at the top of a file"),
        (STUDY.replace("task=train", "task='my_study.py:trian'"), "has no 'trian'; did you mean 'train'?"),
        (STUDY.replace("task=train", "task='nowhere.py:train'"), "no file 'nowhere.py'"),
        (STUDY.replace("task=train", "task=3"), "task is the name of a task"),
        (STUDY.replace('"lr": 0.1', '"l-r": 0.1'), "'l-r' cannot be a setting"),
        (STUDY.replace('"lr": 0.1', '"task": 0.1'), "'task' is a name that raysearch uses"),
        (STUDY.replace('metric="accuracy"', 'metric="error"'), "metric: raysearch records 'error' itself"),
        (STUDY.replace('metric="accuracy"', 'metric="lr"'), "metric: 'lr' is a setting of the run"),
        (STUDY.replace('"lr": 0.1', '"lr": object()'), "base: <object object"),
    ],
)
def test_a_study_that_cannot_be_is_refused_before_anything_runs(build, study, message):
    with pytest.raises(UserError) as caught:
        build(study=study)
    assert message in str(caught.value)


def test_a_function_with_other_arguments_is_refused(build):
    with pytest.raises(UserError, match=r"takes \(config, seed\); it is called as train\(run\)"):
        build("def train(config, seed):\n    return {}\n")


@dataclass
class Settings:
    """The settings of a study, typed."""

    width: int = 4
    betas: tuple[float, float] = (0.9, 0.99)


def typed(run):
    """Return the kind of config that the function got."""
    return {"accuracy": float(run.config == Settings(width=6))}


def test_a_dataclass_comes_back_as_such(tmp_path):
    study = Ablation(
        "?", task=typed, base=Settings(), reference={"width": 6}, factors=[factor("width", 4)], metric="accuracy"
    )
    config = overrides.resolve(study.task, {**study.base, **study.reference})
    task = builders.builder_for_workers(study.task)(config.model_dump(mode="json"), 0, Worker(None, tmp_path))
    assert _run(task)[1]["accuracy"] == 1.0
    with pytest.raises(UserError, match="width='a'"):
        overrides.resolve(study.task, {"width": "a"})


def test_a_worker_gives_the_dataclass_that_the_function_knows(build):
    Path("my_config.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Config:\n    width: int = 4\n"
    )
    train = "def train(run):\n    return {'accuracy': isinstance(run.config, Config) + 0.0}\n"
    task = build(
        f"from my_config import Config\n\n\n{train}",
        STUDY.replace('{"lr": 0.1, "head": {"bias": True}}', "Config()"),
    )
    assert _run(task)[1]["accuracy"] == 1.0


def test_numbers_of_all_kinds_are_plain():
    values = {"a": torch.tensor(1.5), "b": np.float32(2), "c": np.array([3]), "d": torch.tensor([4]), "e": 5}
    plain = plain_numbers(values, "here")
    assert plain == {"a": 1.5, "b": 2.0, "c": 3, "d": 4, "e": 5}
    assert {type(value) for value in plain.values()} == {int, float}


def test_a_state_is_the_same_after_packing():
    state = {
        "tensor": torch.randn(3).bfloat16(),
        "array": np.arange(6, dtype=np.uint16).reshape(2, 3),
        "nested": [1, (2.5, "text", b"bytes", None, True)],
        7: {"empty": {}},
    }
    again = unpack_state(pickle.loads(pickle.dumps(pack_state(state))))
    assert torch.equal(again["tensor"], state["tensor"])
    assert again["array"].dtype == np.uint16
    assert np.array_equal(again["array"], state["array"])
    assert again["nested"] == state["nested"]
    assert again[7] == {"empty": {}}


def test_studies_with_files_of_one_name_get_their_own_code(tmp_path, monkeypatch):
    """Loaded and planned one after another in one process; their tasks are built as workers build them."""
    plans = {}
    for number, folder in enumerate(("first", "second"), start=1):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helpers.py").write_text(f"NUMBER = {number}\n")
        train = "import helpers\n\n\ndef train(run):\n    return {'accuracy': helpers.NUMBER * 10 + " + f"{number}}}\n"
        (tmp_path / folder / "my_study.py").write_text(HEAD + train + STUDY)
        name, study = load_study(str(tmp_path / folder / "my_study.py"))
        plan = plan_study(study, PlanRequest(name, "laptop", {}))
        sent = pickle.dumps(builders.builder_for_workers(study.task))
        plans[number] = plan, sent, plan.reference_config.model_dump(mode="json")
    monkeypatch.setattr(user_code.loading, "_loaded", {})  # as in a process of a worker, which serves both
    for number in (1, 2, 1):
        _, sent, config = plans[number]
        task = pickle.loads(sent)(config, 0, Worker(None, tmp_path))
        assert _run(task)[1]["accuracy"] == 11 * number
    first, second = ({cell.hash for cell in plan.cells} for plan, _, _ in plans.values())
    assert not first & second
