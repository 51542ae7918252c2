"""Dotted paths: what `--set` and study files may say, and the one line they get when they are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.studies.configs import RetrievalConfig, overrides


def test_known_paths_are_the_fields_of_all_sections() -> None:
    sections = json.loads(RetrievalConfig().model_dump_json())
    expected = {f"{name}.{field}" for name, fields in sections.items() if name != "task" for field in fields}
    expected.add("evaluation.metrics")  # left out where a user names no metric
    assert set(overrides.known_paths("retrieval")) == expected
    # names that other people's study files hold
    assert expected >= {
        "data.side", "model.backbone", "model.weights", "hash.bits", "hash.method", "srem.regions", "srem.size",
        "esrl.positive", "esrl.erased", "adsh.gamma", "train.iterations", "train.epochs", "train.samples",
        "train.batch", "train.lr",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["srem.region=3"], r"unknown config path 'srem\.region' in --set; did you mean 'srem\.regions'\?"),
        (["regions=3"], r"unknown config path 'regions'.*'srem\.regions'"),
        (["hash.bitz=3"], r"did you mean 'hash\.bits'\?"),
        (["task=fewshot"], r"unknown config path 'task'"),
        (["srem=3"], r"unknown config path 'srem'"),
        (["hash.bits"], r"--set takes PATH=VALUE, such as srem\.regions=10; got 'hash\.bits'"),
    ],
)
def test_wrong_words_name_the_nearest(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        overrides.parse(words, "retrieval")
    assert "\n" not in str(caught.value)


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown task 'retreival'; did you mean 'retrieval'\?"):
        overrides.known_paths("retreival")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("srem.regions=10", 10),
        ("train.lr=1e-2", 0.01),
        ("srem.center=true", True),
        ("srem.grid=none", None),
        ("model.weights=None", None),
        ("model.backbone=conv4", "conv4"),
        ("model.weights=runs/a=b.pt", str(Path.cwd() / "runs/a=b.pt")),  # the same file in every process
        ("train.milestones=[0.5, 0.9]", [0.5, 0.9]),
        ("data.augment=none", "none"),
    ],
)
def test_words_become_values(word: str, value: Any) -> None:
    assert list(overrides.parse([word], "retrieval").values()) == [value]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hash.bits": 0}, r"there: hash\.bits=0: .*greater than or equal to 1"),
        ({"hash.bits": "many"}, r"there: hash\.bits='many': .*integer"),
        ({"hash.bits": None}, r"there: hash\.bits=None: .*integer"),
        ({"adsh.views": "a\nb"}, r"there: adsh\.views='a\\nb': .*'anchor', 'erased' or 'all'"),
        ({"train.lr": float("inf")}, r"there: train\.lr=inf: .*finite"),
        ({"train.milestones": {}}, r"there: train\.milestones=\{\}: .*"),
        ({"data.side": 64, "srem.size": 65}, r"there: srem\.size=65 erases more than the image, which is 64 px wide"),
        ({"hash.bit": 12}, r"unknown config path 'hash\.bit' in there; did you mean 'hash\.bits'\?"),
    ],
)
def test_wrong_values_are_one_line_that_says_where(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as caught:
        overrides.resolve("retrieval", settings, "there")
    assert "\n" not in str(caught.value)


def test_resolve_sets_what_is_given_and_nothing_else() -> None:
    settings = {"hash.bits": 12, "srem.grid": 28, "model.weights": None}
    config = overrides.resolve("retrieval", settings)
    default = overrides.resolve("retrieval", {})
    for path in overrides.known_paths("retrieval"):
        assert overrides.get_path(config, path) == settings.get(path, overrides.get_path(default, path))


def test_pixels_scale_with_the_side_and_nothing_else_does() -> None:
    def scaled(side: int, size: Any = 32) -> Any:
        return overrides.scale_pixels("retrieval", {"srem.size": size, "train.batch": 32}, side)

    assert scaled(224) == {"srem.size": 32, "train.batch": 32}
    assert scaled(448)["srem.size"] == 64
    assert scaled(64)["srem.size"] == scaled(64, 32.0)["srem.size"] == 9
    assert scaled(8, 1)["srem.size"] == 1  # never nothing
    assert scaled(64, "big")["srem.size"] == "big"  # for `resolve` to refuse
    assert overrides.start_from("retrieval", {"data.side": 112}, {})["srem.size"] == RetrievalConfig().srem.size // 2


def test_the_side_is_looked_at_alone() -> None:
    assert overrides.side("retrieval", {}) == RetrievalConfig().data.side
    assert overrides.side("retrieval", {"data.side": 16, "srem.size": 32}) == 16
    for wrong in (4, "wide", None):
        with pytest.raises(UserError, match=r"^data\.side="):
            overrides.side("retrieval", {"data.side": wrong})
