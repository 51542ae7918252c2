"""A user's class as the task of a study: its numbers, its state, and the line of its mistakes."""

import pickle
import textwrap
from pathlib import Path

import pytest
import torch

from raysearch.core import UserError, user_code
from raysearch.studies.configs import overrides
from raysearch.studies.design.study_files import load_study
from raysearch.tasks import builders
from raysearch.tasks.base import NonFiniteLoss, Worker

TASK = """
import torch
from raysearch import Ablation, factor
from raysearch.tasks.base import NonFiniteLoss


class Counter:
    def __init__(self, config, seed, worker):
        self.width = config["width"]
        self.total = torch.zeros(())
        self.drawn = torch.rand(())

    @property
    def steps(self):
        return 3

    def advance(self):
        self.total += self.width
        return {"loss": 1 / self.total}

    def evaluate(self):
        return {"score": self.total, "drawn": self.drawn}

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]


study = Ablation(question="Does width matter?", task=Counter, reference={"width": 4},
                 factors=[factor("width", 2, 4)], metric="score", seeds=3)
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Return a function that builds the task of a study file as a worker does."""
    monkeypatch.chdir(tmp_path)

    def _build(old="", new="", seed=0):
        Path("my_study.py").write_text(textwrap.dedent(TASK.replace(old, new) if old else TASK))
        _, loaded = load_study("my_study.py")
        config = overrides.resolve(loaded.task, {**loaded.base, **loaded.reference})
        monkeypatch.setattr(user_code.loading, "_loaded", {})  # as in another process
        builder = pickle.loads(pickle.dumps(builders.builder_for_workers(loaded.task)))
        return builder(config.model_dump(mode="json"), seed, Worker(None, tmp_path))

    return _build


def test_a_class_gives_reports_and_metrics_as_a_function_does(build):
    task = build()
    reports = [task.advance() for _ in range(task.steps)]
    assert [(report["iteration"], report["epochs"], report["phase"]) for report in reports] == [
        (1, 1, "train"),
        (2, 1, "train"),
        (3, 1, "train"),
    ]
    assert [report["loss"] for report in reports] == [0.25, 0.125, pytest.approx(1 / 12)]
    metrics = task.evaluate()
    assert metrics["score"] == 12.0
    assert task.metric_ids["score"] == "score@my_study.py:Counter"


def test_the_generators_start_from_the_seed_and_the_state_is_a_copy(build):
    torch.rand(7)
    first = build(seed=5)
    torch.rand(7)
    second = build(seed=5)
    first.advance()
    state = first.state_dict()
    first.advance()
    second.load_state_dict(pickle.loads(pickle.dumps(state)))
    second.advance()
    assert first.evaluate() == second.evaluate()
    assert second.advance()["iteration"] == 3


def _run(build, *change):
    task = build(*change)
    for _ in range(task.steps):
        task.advance()
        task.state_dict()
    return task.evaluate()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('return {"loss": 1 / self.total}', "raise KeyError('row')", "KeyError: 'row' (my_study.py, line "),
        ('return {"loss": 1 / self.total}', "return {'loss': 'low'}", "Counter.advance: 'loss' is a str"),
        ('return {"loss": 1 / self.total}', "return 1", "Counter.advance: expected {'name': number}, not an int"),
        ('return {"total": self.total}', "return {'all': self}", "state['all'] is a Counter, which cannot be saved"),
        ('"score": self.total, ', '"score": 1, "cell": 2, ', "Counter.evaluate: raysearch records 'cell' itself"),
        (
            '"score": self.total, ',
            '"score": 1, "config": "{}", ',
            "raysearch records 'config' itself",
        ),
        ('"score": self.total, ', '"score": 1, "width": 2, ', "Counter.evaluate: 'width' is a setting of the run"),
        ("return 3", "return 'three'", "my_study.py:Counter.steps is a number from 1, not 'three'"),
        ('"score": self.total, ', "", "Counter.evaluate returned no 'score', the metric of the study"),
        ('config["width"]', 'config["depth"]', "KeyError: 'depth' (my_study.py, line "),
        ("self.drawn = torch.rand(())", "raise SystemExit(3)", "SystemExit: 3 (my_study.py, line "),
    ],
)
def test_mistakes_are_errors_of_one_line_with_the_place(build, old, new, message):
    with pytest.raises(Exception, match=r".") as caught:
        _run(build, old, new)
    error = caught.value
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    assert message in text
    assert "\n" not in text


def test_a_loss_that_is_not_finite_keeps_its_type(build):
    task = build('return {"loss": 1 / self.total}', "raise NonFiniteLoss('in epoch 1')")
    with pytest.raises(NonFiniteLoss, match="in epoch 1"):
        task.advance()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def evaluate(self)", "def judge(self)", "class 'my_study.py:Counter' has no evaluate"),
        ("(self, config, seed, worker)", "(self, config)", "it is called as Counter(config, seed, worker)"),
        ("    @property\n    def steps(self):\n        return 3\n", "", "class 'my_study.py:Counter' has no steps"),
    ],
)
def test_a_class_that_lacks_something_is_refused(build, old, new, message):
    with pytest.raises(UserError) as caught:
        build(old, new)
    assert message in str(caught.value)
