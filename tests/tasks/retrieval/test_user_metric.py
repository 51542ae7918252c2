"""A metric of a user's file beside the built-in ones."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from raysearch.core import UserError, user_code
from raysearch.engine.preflight import study_check
from raysearch.studies.configs import RetrievalConfig, overrides
from raysearch.studies.configs.user.metrics import USER_METRICS
from raysearch.studies.design import Ablation, cell_hash, factor
from raysearch.tasks import builders
from raysearch.tasks.base import Feed, Worker

from . import small_runs

SOURCE = '''
import torch


def first_is_right(query_codes, query_labels, database_codes, database_labels):
    """The share of queries whose nearest image, the first among equals, is of their class."""
    right = 0
    for code, label in zip(query_codes, query_labels):
        distances = [(code != other).sum().item() for other in database_codes]
        right += int(database_labels[distances.index(min(distances))] == label)
    return torch.tensor(right / len(query_labels))


def text(query_codes, query_labels, database_codes, database_labels):
    return "high"


def fails(query_codes, query_labels, database_codes, database_labels):
    return query_codes.nothing


def short(codes, labels):
    return 0.0
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    Path("my_metric.py").write_text(SOURCE)
    yield tmp_path
    user_code.unregister_all()
    USER_METRICS.forget_codes()


def _config(settings: dict[str, Any]) -> RetrievalConfig:
    config = small_runs.config(overrides.register_codes(settings, "retrieval"))
    assert isinstance(config, RetrievalConfig)
    return config


def _evaluate(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    feed = Feed(small_runs.image_set([7, 5, 8]), small_runs.image_set([2, 2, 2], seed=1), "hash")
    build = pickle.loads(pickle.dumps(builders.builder_for_workers("retrieval")))
    task = build(_config(settings).model_dump(mode="json"), 0, Worker(feed, Path("cache")))
    for _ in range(task.steps):
        task.advance()
    return task.evaluate(), task.metric_ids


@pytest.mark.parametrize("method", ["adsh", "dsh", "lsh"])
def test_a_metric_is_computed_from_the_codes_of_the_run(method):
    metrics, ids = _evaluate({"hash.method": method, "evaluation.metrics": ["my_metric.py:first_is_right"]})
    plain, _ = _evaluate({"hash.method": method})
    assert {name: value for name, value in metrics.items() if name != "first_is_right"} == plain
    assert round(6 * metrics["first_is_right"], 5) in range(7)
    assert ids["first_is_right"] == "first_is_right@my_metric.py/test"
    assert set(metrics) - set(ids) == {"by_radius"}


def test_a_config_without_metrics_keeps_its_hash():
    plain = _config({})
    assert "evaluation" not in plain.canonical()
    with_metric = _config({"evaluation.metrics": ["my_metric.py:first_is_right"]})
    first = cell_hash(with_metric, "data", 0)
    assert first != cell_hash(plain, "data", 0)
    Path("my_metric.py").write_text(SOURCE.replace("!= other", "== other"))
    edited = _config({"evaluation.metrics": ["my_metric.py:first_is_right"]})
    assert first != cell_hash(edited, "data", 0)


def test_a_study_can_compare_by_it():
    study = Ablation(
        "?",
        "retrieval",
        {"hash.bits": 12},
        [factor("hash.bits", 24)],
        metric="first_is_right",
        metrics=["my_metric.py:first_is_right"],
    )
    plan = study_check.check_study(study)
    assert plan.reference_config.evaluation.metrics == ("my_metric.py:first_is_right",)
    with pytest.raises(UserError, match="no such metric"):
        study_check.check_study(Ablation("?", "retrieval", {"hash.bits": 12}, [factor("hash.bits", 24)], metric="ndcg"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", r"my_metric\.py:text: 'text' is a str \('high'\), not a number"),
        ("fails", r"AttributeError: .*nothing.* \(my_metric\.py, line \d+, in fails\)"),
    ],
)
def test_a_mistake_names_the_users_file(name, message):
    with pytest.raises(Exception, match=r".") as caught:
        _evaluate({"evaluation.metrics": [f"my_metric.py:{name}"]})
    assert re.search(message, f"{type(caught.value).__name__}: {caught.value}")


def test_other_arguments_are_refused():
    with pytest.raises(UserError, match=r"takes \(codes, labels\); it is called with \(query_codes, query_labels"):
        overrides.parse(['evaluation.metrics=["my_metric.py:short"]'], "retrieval")
