"""A user's loss beside the built-in methods: equal numbers for an equal formula, settings, state, and mistakes."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from raysearch.core import UserError, user_code
from raysearch.engine.preflight import study_check
from raysearch.studies.configs import RetrievalConfig, overrides
from raysearch.studies.configs.hashing_methods import HASHING_METHODS
from raysearch.studies.design import Ablation, choice
from raysearch.tasks import builders, registry
from raysearch.tasks.base import Feed, Worker

from . import small_runs

SOURCE = '''
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass
class DpshSettings:
    eta: float = 0.1
    unused: int = 3


class Dpsh:
    """The formula of DPSH, written by a user."""

    section = "copied"

    def __init__(self, settings: DpshSettings, bits, database_labels):
        self.eta = settings.eta
        self.labels = database_labels
        self.bank = torch.zeros(len(database_labels), bits)

    def __call__(self, outputs, labels, rows):
        self.bank[rows] = outputs.detach()
        theta = outputs @ self.bank.T / 2
        same = (labels[:, None] == self.labels).float()
        likelihood = functional.binary_cross_entropy_with_logits(theta, same)
        return likelihood + self.eta * (outputs - outputs.detach().sign()).square().mean()

    def state_dict(self):
        return {"bank": self.bank.clone()}

    def load_state_dict(self, state):
        self.bank.copy_(state["bank"])


def dsh(outputs, labels):
    """The formula of DSH at its default margin, 2 per bit."""
    margin = 2 * outputs.shape[1]
    squared = (outputs[:, None] - outputs).square().sum(2)
    i, j = torch.triu_indices(len(labels), len(labels), 1)
    same = labels[i] == labels[j]
    contrast = torch.where(same, squared[i, j], (margin - squared[i, j]).clamp(min=0)) / 2
    return {"pairs": contrast.mean(), "binary": 0.01 * (outputs.abs() - 1).abs().sum(1).mean()}


class Proxies(nn.Module):
    """A loss with parameters."""

    def __init__(self, bits, settings: DpshSettings):
        super().__init__()
        self.section_unused = settings.unused
        self.proxies = nn.Parameter(torch.randn(10, bits))

    def forward(self, outputs, labels):
        return functional.cross_entropy(outputs @ self.proxies.T, labels)


def broken(outputs, labels):
    return outputs[:, 99].mean()


def matrix(outputs, labels):
    return outputs


def without_labels(outputs):
    return outputs.mean()


def untyped(outputs, labels, settings):
    return outputs.mean()


number = 3
'''


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    fields = dict(RetrievalConfig.model_fields)
    Path("my_loss.py").write_text(SOURCE)
    yield tmp_path
    user_code.unregister_all()
    HASHING_METHODS.forget_codes()
    RetrievalConfig.model_fields.clear()
    RetrievalConfig.model_fields.update(fields)
    RetrievalConfig.model_rebuild(force=True)


def _worker(**options: Any) -> Worker:
    feed = Feed(small_runs.image_set([7, 5, 8]), small_runs.image_set([2, 2, 2], seed=1), "hash")
    return Worker(feed, Path("cache"), **options)


def _config(settings: dict[str, Any]) -> RetrievalConfig:
    learned = overrides.register_codes(settings, "retrieval")
    config = small_runs.config(learned)
    assert isinstance(config, RetrievalConfig)
    return config


def _train(settings: dict[str, Any], stop_after: int | None = None) -> tuple[list[Any], dict[str, Any], Any]:
    """Return the losses, the metrics and the state of a run, built as a worker builds it."""
    config = _config(settings)
    build = pickle.loads(pickle.dumps(builders.builder_for_workers("retrieval")))
    task = build(config.model_dump(mode="json"), 0, _worker())
    losses = []
    while task.done < (stop_after or task.steps):
        losses.append(task.advance()["loss"])
    return losses, task.evaluate(), task.state_dict()


def test_a_copied_formula_gives_the_numbers_of_the_built_in_method(folder):
    losses, metrics, _ = _train({"hash.method": "my_loss.py:Dpsh", "copied.eta": 0.2, "train.iterations": 3})
    expected, expected_metrics, _ = _train({"hash.method": "dpsh", "dpsh.eta": 0.2, "train.iterations": 3})
    assert losses == expected
    assert metrics == expected_metrics


def test_settings_are_paths_with_defaults_and_types(folder):
    assert _config({"hash.method": "my_loss.py:Dpsh"}).value_at("copied.eta") == 0.1
    with pytest.raises(UserError, match=r"copied\.eta='much'"):
        overrides.resolve("retrieval", {"hash.method": "my_loss.py:Dpsh", "copied.eta": "much"})
    with pytest.raises(UserError, match=r"unknown config path 'copied\.beta'.*copied\.eta"):
        overrides.parse(["copied.beta=1", "hash.method=my_loss.py:Dpsh"], "retrieval")
    parsed = overrides.parse(["copied.eta=1", "hash.method=my_loss.py:Dpsh"], "retrieval")
    assert parsed == {"copied.eta": 1, "hash.method": "my_loss.py:Dpsh"}


def test_settings_of_a_part_matter_only_where_it_is_used(folder):
    with_part = _config({"hash.method": "my_loss.py:Dpsh", "copied.eta": 0.3})
    assert with_part.canonical()["copied"] == {"eta": 0.3, "unused": 3}
    assert "copied" not in _config({"hash.method": "dsh"}).canonical()
    assert "copied" not in _config({"hash.method": "dsh"}).model_dump()


def test_a_state_continues(folder):
    settings = {"hash.method": "my_loss.py:Proxies", "train.iterations": 3}
    losses, metrics, _ = _train(settings)
    first, _, state = _train(settings, stop_after=1)
    build = builders.builder_for_workers("retrieval")
    task = build(_config(settings).model_dump(mode="json"), 0, _worker())
    task.load_state_dict(pickle.loads(pickle.dumps(state)))
    rest = [task.advance()["loss"] for _ in range(2)]
    assert first + rest == losses
    assert task.evaluate() == metrics


def test_parameters_of_a_loss_are_trained(folder):
    _, _, before = _train({"hash.method": "my_loss.py:Proxies", "train.iterations": 3}, stop_after=1)
    _, _, after = _train({"hash.method": "my_loss.py:Proxies", "train.iterations": 3})
    assert not torch.equal(before["method"]["loss"]["proxies"], after["method"]["loss"]["proxies"])
    with pytest.raises(UserError, match="one worker trains"):
        registry.build(_config({"hash.method": "my_loss.py:Proxies"}), 0, _worker(rank=0, world_size=2))


def test_named_parts_of_a_loss_are_summed(folder):
    report = registry.build(_config({"hash.method": "my_loss.py:dsh"}), 0, _worker()).advance()
    assert report is not None
    assert report["pairs"] > 0
    assert report["loss"] == pytest.approx(report["pairs"] + report["binary"])


def test_the_source_is_part_of_the_hash(folder):
    def _identity() -> str | None:
        return _config({"hash.method": "my_loss.py:dsh"}).identities["hash.method"]

    before = _identity()
    Path("my_loss.py").write_text(SOURCE + "# a comment\n")
    assert _identity() == before
    Path("my_loss.py").write_text(SOURCE.replace("/ 2\n", "/ 3\n"))
    assert _identity() != before


def test_a_study_compares_it_with_built_in_methods(folder):
    levels = {"DPSH": {"hash.method": "dpsh"}, "Mine": {"hash.method": "my_loss.py:Dpsh", "copied.eta": 0.3}}
    study = Ablation("?", "retrieval", {"hash.method": "dpsh"}, [choice("method", levels)])
    plan = study_check.check_study(study)
    assert [variant.config.hash.method for variant in plan.variants] == ["dpsh", "my_loss.py:Dpsh"]


def test_a_recorded_config_imports_nothing(folder):
    Path("evil.py").write_text("raise SystemExit('ran')\n")
    plain = small_runs.config({}).model_dump(mode="json")
    plain["hash"]["method"] = "evil.py:f"
    with pytest.raises(ValueError, match=r"unknown hashing method 'evil\.py:f'"):
        RetrievalConfig.from_plain(plain)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"IndexError: .*\(my_loss\.py, line \d+, in broken\)"),
        ("matrix", r"my_loss\.py:matrix returned a tensor \(\d+, \d+\) as 'loss', not a scalar tensor"),
    ],
)
def test_an_error_names_the_line_of_the_users_file(folder, name, message):
    with pytest.raises(Exception, match=r".") as caught:
        _train({"hash.method": f"my_loss.py:{name}"})
    assert re.search(message, f"{type(caught.value).__name__}: {caught.value}")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("my_loss.py:without_labels", r"takes \(outputs\); it is called with \(outputs, labels\)"),
        ("my_loss.py:untyped", "annotate its parameter `settings`"),
        ("my_loss.py:dhs", "has no 'dhs'; did you mean 'dsh'"),
        ("my_loss.py:number", "not a function or class"),
        ("nowhere.py:dsh", "no file 'nowhere.py'"),
    ],
)
def test_a_part_that_cannot_be_is_refused_before_anything_runs(folder, reference, message):
    with pytest.raises(UserError, match=message):
        overrides.parse([f"hash.method={reference}"], "retrieval")


def test_two_files_of_one_name_are_refused(folder):
    Path("other").mkdir()
    Path("other/my_loss.py").write_text("def dsh(outputs, labels):\n    return outputs.mean()\n")
    overrides.parse(["hash.method=my_loss.py:dsh"], "retrieval")
    with pytest.raises(UserError, match=r"two files are called 'my_loss\.py'"):
        overrides.parse(["hash.method=other/my_loss.py:dsh"], "retrieval")


def test_a_section_of_a_built_in_method_is_not_replaced(folder):
    Path("my_loss.py").write_text(SOURCE.replace('section = "copied"', 'section = "dpsh"'))
    with pytest.raises(UserError, match="another section 'dpsh'"):
        overrides.parse(["hash.method=my_loss.py:Dpsh"], "retrieval")
