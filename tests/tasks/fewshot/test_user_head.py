"""A user's head beside the built-in ones: equal numbers for an equal formula, settings, and mistakes."""

import re
from pathlib import Path
from typing import Any

import pytest

from raysearch.core import UserError, user_code
from raysearch.studies.configs import FewshotConfig, overrides
from raysearch.studies.configs.fewshot_methods import FEWSHOT_METHODS
from raysearch.studies.design import cell_hash

from . import fewshot_runs

SOURCE = '''
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Settings:
    scale: float = 2.0


class Centroid(nn.Module):
    """Nearest centroid, written by a user."""

    def __init__(self, channels, settings: Settings):
        super().__init__()
        self.scale = settings.scale

    def forward(self, support, query, support_labels):
        features = support.mean((2, 3))
        ways = int(support_labels.max()) + 1
        centroids = torch.stack([features[support_labels == way].mean(0) for way in range(ways)])
        queries = query.mean((2, 3))
        squares = queries.square().sum(-1, keepdim=True) + centroids.square().sum(-1)
        return self.scale / 2 * (2 * queries @ centroids.T - squares)


class Broken(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, support, query, support_labels):
        return query.nothing


class Wrong(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, support, query, support_labels):
        return query.mean((2, 3))


class Whole(nn.Module):
    def __init__(self):
        super().__init__()


def no_module(channels):
    return 3
'''


HEAD = "my_head.py:Centroid"


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_taps):
    fields = dict(FewshotConfig.model_fields)
    Path("my_head.py").write_text(SOURCE)
    yield tmp_path
    user_code.unregister_all()
    FEWSHOT_METHODS.forget_codes()
    FewshotConfig.model_fields.clear()
    FewshotConfig.model_fields.update(fields)
    FewshotConfig.model_rebuild(force=True)


def _run(settings: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    task = fewshot_runs.make(overrides.register_codes(settings, "fewshot"))
    reports = [task.advance() for _ in range(task.steps)]
    return [(report["loss"], report["accuracy_validation"]) for report in reports], task.evaluate()


def test_a_copied_formula_gives_the_numbers_of_the_built_in_head(folder):
    assert _run({"model.method": "my_head.py:Centroid"}) == _run({"model.method": "centroid"})


def test_the_source_names_the_cells(folder):
    def _hash():
        return cell_hash(fewshot_runs.config(overrides.register_codes({"model.method": HEAD}, "fewshot")), "data", 0)

    before = _hash()
    Path("my_head.py").write_text(SOURCE + "# a comment\n")
    assert _hash() == before
    Path("my_head.py").write_text(SOURCE.replace("self.scale / 2", "self.scale / 3"))
    assert _hash() != before


def test_its_settings_are_paths(folder):
    settings = overrides.parse(["model.method=my_head.py:Centroid", "my.scale=7"], "fewshot")
    assert settings["my.scale"] == 7
    sharper = _run(settings)
    assert sharper != _run({"model.method": "centroid"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Broken", r"AttributeError: .*nothing.* \(my_head\.py, line \d+, in forward\)"),
        ("Wrong", r"returned \(4, 6\), not logits \(4, 2\)"),
        ("no_module", "is an int, not a torch.nn.Module"),
    ],
)
def test_a_mistake_is_an_error_of_one_line(folder, name, message):
    with pytest.raises(Exception, match=r".") as caught:
        _run({"model.method": f"my_head.py:{name}"})
    assert re.search(message, f"{type(caught.value).__name__}: {caught.value}")


def test_a_head_with_other_arguments_is_refused(folder):
    with pytest.raises(UserError, match=r"takes \(\); it is called with \(channels\)"):
        overrides.parse(["model.method=my_head.py:Whole"], "fewshot")
