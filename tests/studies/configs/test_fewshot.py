"""Few-shot configs refuse impossible settings, and equal runs have equal canonical forms."""

from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.studies.configs import TASKS, FewshotConfig, overrides, presets

NORMAL: dict[str, Any] = {"model.weights": "IMAGENET1K_V1", "model.backbone": "resnet18"}


def config(*changes: dict[str, Any]) -> FewshotConfig:
    merged: dict[str, Any] = {}
    for change in changes:
        merged |= change
    resolved = overrides.resolve("fewshot", merged)
    assert isinstance(resolved, FewshotConfig)
    return resolved


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model.method": "lwfm", "lwe.layers": [4]}, r"lwe\.layers=\[4\] asks for tap 4; conv4 has 0 to 3"),
    ({"model.method": "lwfm", "lwe.layers": [-5]}, r"lwe\.layers=\[-5\] asks for tap -5; conv4 has 0 to 3"),
    ({"model.method": "lwfm", "lwe.layers": [-1, 3]}, r"lwe\.layers=\[-1, 3\] should name taps once each"),
    ({"model.method": "lwfm", "lwe.layers": [2, 1]}, r"lwe\.layers=\[2, 1\] should name .* from shallow to deep"),
    ({"model.method": "lwfm", "lwe.layers": []}, r"lwe\.layers="),
    ({"model.method": "lwfm", "spm.reduce": "topk", "spm.topk": 10}, r"spm\.topk=10 is more than the 9 pixels"),
    (
        {"model.frozen": True},
        r"model\.frozen would keep a random backbone: set model\.weights, pretrain\.epochs or model\.frozen=false",
    ),
    ({**NORMAL, "pretrain.epochs": 1}, r"model\.weights and pretrain\.epochs both .*; set one of them"),
    ({"helix.embed_kernel": 2}, r"helix\.embed_kernel=2: takes an odd number"),
    ({"episodes.ways": 1}, r"episodes\.ways=1"),
    ({"episodes.test": 1}, r"episodes\.test=1"),
    ({"train.decay": 1.0}, r"train\.decay=1"),
    ({"train.lr": 0}, r"train\.lr=0"),
    ({"model.backbone": "resnet19"}, r"model\.backbone='resnet19'.*resnet18"),
    ({"model.method": "helix"}, r"model\.method='helix'"),
    ({"lwe.layer": [1]}, r"unknown config path 'lwe\.layer'.*'lwe\.layers'"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_combinations_are_told_in_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        config(change)
    assert "\n" not in str(caught.value)


def test_what_a_method_does_not_read_is_not_refused() -> None:
    config({"model.method": "helixformer", "lwe.layers": [8], "lwe.grid": 1, "spm.reduce": "topk"})
    config({"model.method": "lwfm", "spm.weight": 0.0, "lwe.grid": 1, "spm.reduce": "topk"})
    config({"model.frozen": True, "pretrain.epochs": 1})
    config({"model.frozen": True, **NORMAL})


@pytest.mark.parametrize("task", ["fewshot", "pretrain"])
def test_every_field_says_what_it_changes(task: str) -> None:
    for path, field in overrides.known_paths(task).items():
        assert field.description, path
        assert len(field.description) > 15 or field.description.endswith("`."), path


def test_presets_are_configs_of_their_method() -> None:
    for task in TASKS:
        known = TASKS[task].presets
        for name in known:
            settings = presets.settings(name, task)
            assert overrides.resolve(task, settings).task == task
            settings.clear()
            assert presets.settings(name, task), "a copy of it was given"
    assert presets.settings(None, "fewshot") == {}
    with pytest.raises(UserError, match=r"unknown preset 'lwmf' of fewshot; did you mean 'lwfm'"):
        presets.settings("lwmf", "fewshot")
    with pytest.raises(UserError, match=r"unknown preset 'lwfm' of retrieval"):
        presets.settings("lwfm", "retrieval")


def test_the_presets_are_the_released_configurations() -> None:
    helix = config(presets.settings("helixformer", "fewshot"))
    cub = config(presets.settings("lwfm", "fewshot"))
    steps = helix.train.episodes / helix.train.batch
    assert (helix.model.backbone, helix.pretrain.epochs, helix.train.epochs, steps) == ("conv4", 100, 130, 250)
    assert [round(share * 130, 9) for share in helix.train.milestones] == [70, 110]
    assert (helix.helix.heads, helix.helix.dim_head, helix.helix.fusion, helix.train.lr) == (2, 64, "mul", 1e-3)
    pretrain = helix.pretrain
    assert (pretrain.lr, pretrain.momentum, pretrain.weight_decay, pretrain.batch) == (0.01, 0.9, 0.0, 128)
    assert [share * 100 for share in pretrain.milestones] == [85]

    assert (cub.lwe.temperature, cub.spm.weight, cub.lwfm.episode_weight, cub.lwfm.aux_batch) == (2, 1, 1.5, 64)
    assert (cub.train.epochs, cub.train.episodes, cub.train.batch) == (30, 92, 1)
    assert [round(share * 30, 9) for share in cub.train.milestones] == [20, 24, 26, 28]
    assert (cub.train.lr, cub.train.decay, cub.train.weight_decay, cub.train.clip) == (0.01, 0.05, 5e-4, 2.0)
    assert (cub.model.backbone, cub.model.weights, cub.data.augment) == ("resnet18", "IMAGENET1K_V1", "crop")
    birds = config(presets.settings("helixformer_cub", "fewshot"))
    for preset, views in ((helix, ("colour", "crop")), (birds, ("flip", "flip"))):
        assert (preset.data.augment, preset.pretrain.augment) == views
    assert birds.pretrain.epochs == helix.pretrain.epochs
    mini = config(presets.settings("lwfm_mini", "fewshot"))
    assert (mini.lwe.temperature, mini.spm.weight) == (5, 0.25)
    assert (mini.lwfm.episode_weight, mini.lwfm.aux_batch) == (0.25, 128)
    for name, cub_views in (("helixformer_5shot", False), ("helixformer_cub_5shot", True)):
        five = config(presets.settings(name, "fewshot"))
        assert (five.episodes.shots, five.train.batch, five.train.epochs) == (5, 2, 150)
        assert five.train.episodes / five.train.batch == 250
        assert [round(share * 150, 9) for share in five.train.milestones] == [80, 120]
        assert (five.data.augment == "flip") == cub_views
    # data set, temperature, matching with 1 and 5 shots, weight of the episode's loss, ordinary batch, steps per epoch
    for name, *expected in (("lwfm_cifar_fs", 5, 1, 0.5, 64, 600), ("lwfm_tiered", 5, 0.25, 0.25, 256, 1752)):
        lwfm = config(presets.settings(name, "fewshot"))
        values = [lwfm.lwe.temperature, lwfm.spm.weight, lwfm.lwfm.episode_weight, lwfm.lwfm.aux_batch]
        assert [*values, lwfm.train.episodes] == expected
        assert (lwfm.train.epochs, lwfm.train.batch, lwfm.episodes.shots) == (10, 1, 1)
        assert [round(share * 10, 9) for share in lwfm.train.milestones] == [4, 6, 8]
    five = config(presets.settings("lwfm_tiered_5shot", "fewshot"))
    assert (five.episodes.shots, five.spm.weight, five.lwfm.aux_batch) == (5, 0, 256)
    text = config(presets.settings("lwfm_text", "fewshot"))
    assert (text.spm.reduce, text.spm.layers, cub.spm.reduce, cub.spm.layers) == ("mean", "mean", "top1", "max")


LWFM: dict[str, Any] = {"model.method": "lwfm"}
UNDER: dict[str, Any] = {"model.method": "helix_lwfm"}
STARTED: dict[str, Any] = {"pretrain.epochs": 2}
FROZEN: dict[str, Any] = {**STARTED, "model.frozen": True}
SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"lwe.layers": [1], "spm.weight": 3.0, "lwfm.tau": 1.0, "centroid.distance": "cosine"}),
    ({"model.method": "centroid"}, {"helix.depth": 3, "head.kind": "cosine", "lwfm.aux_batch": 3}),
    ({"model.method": "relation"}, {"helix.depth": 3, "centroid.distance": "cosine"}),
    (LWFM, {"lwe.layers": [2, 3]}),
    (LWFM, {"lwe.layers": [-2, 3]}),
    (LWFM, {"helix.depth": 3, "head.kind": "cosine"}),
    (LWFM, {"spm.sinkhorn_eps": 0.5, "spm.sinkhorn_iterations": 3, "spm.topk": 2}),
    ({**LWFM, "spm.weight": 0.0}, {"spm.matcher": "nearest", "spm.residual": False, "spm.layers": "mean"}),
    ({**LWFM, "lwe.on": False}, {"lwe.temperature": 1.0}),
    ({**LWFM, "lwfm.aux": False}, {"lwfm.aux_batch": 3, "lwfm.episode_weight": 3.0}),
    (UNDER, {"lwfm.aux": False, "lwfm.aux_batch": 3, "lwfm.episode_weight": 3.0, "lwe.layers": [0]}),
    ({"helix.rmp": False}, {"helix.heads": 1, "helix.dim_head": 8, "helix.fusion": "add", "helix.kv_stride": 2}),
    ({"helix.rep": False}, {"helix.mlp_ratio": 2}),
    ({"helix.depth": 0}, {"helix.depth": 3, "helix.rmp": False, "helix.rep": False, "helix.design": "q2s"}),
    ({}, {"pretrain.batch": 3, "pretrain.seed": 5, "pretrain.lr": 1.0}),
    ({}, {"train.momentum": 0.3}),
    (FROZEN, {"data.augment": "none"}),
    ({"train.epochs": 0}, {"train.lr": 1.0, "train.episodes": 3, "train.select": "last", "data.augment": "crop"}),
    ({"train.epochs": 0, **STARTED}, {"model.frozen": True, "helix.dropout": 0.3}),
    ({"train.epochs": 0, **LWFM}, {"lwfm.aux": False, "lwfm.aux_batch": 3}),
    ({"train.lr": 1}, {"train.lr": 1.0}),
]  # fmt: skip
DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"head.kind": "cosine"}),
    ({}, {"helix.depth": 2}),
    ({"helix.rmp": False}, {"helix.design": "q2s"}),
    ({"helix.rmp": False}, {"helix.depth": 2}),
    ({"helix.rep": False}, {"helix.dropout": 0.1}),  # of the attention's outcome
    ({"helix.depth": 0}, {"helix.embed_kernel": 1}),
    ({"helix.depth": 0}, {"helix.width": 8}),
    ({"model.method": "centroid"}, {"centroid.distance": "cosine"}),
    (LWFM, {"lwe.layers": [3]}),
    (LWFM, {"lwfm.aux": False}),
    (LWFM, {"lwfm.aux_batch": 3}),
    ({**LWFM, "spm.matcher": "sinkhorn"}, {"spm.sinkhorn_eps": 0.5}),
    ({**LWFM, "spm.reduce": "topk"}, {"spm.topk": 2}),
    ({**LWFM, "spm.weight": 0.0}, {"lwe.temperature": 1.0}),
    (UNDER, {"lwe.grid": 2}),
    (UNDER, {"helix.design": "q2s"}),
    (STARTED, {"pretrain.seed": 5}),
    (STARTED, {"pretrain.batch": 3}),
    ({"train.optimiser": "sgd"}, {"train.momentum": 0.3}),
    (FROZEN, {"train.lr": 1.0}),
    (STARTED, {"model.frozen": True}),
    ({"train.epochs": 0}, {"episodes.validation": 3}),
    ({"train.epochs": 0, **LWFM}, {"lwe.temperature": 1.0}),
    ({}, {"episodes.test": 600}),
    ({}, {"episodes.seed": 1}),
    ({}, {"data.split": "mod4"}),
]


@pytest.mark.parametrize(("settings", "change"), SAME)
def test_canonical_drops_what_cannot_matter(settings: dict[str, Any], change: dict[str, Any]) -> None:
    assert config(settings).canonical() == config(settings, change).canonical()


@pytest.mark.parametrize(("settings", "change"), DIFFERENT)
def test_canonical_keeps_what_matters(settings: dict[str, Any], change: dict[str, Any]) -> None:
    assert config(settings).canonical() != config(settings, change).canonical()


@pytest.mark.parametrize("settings", [{**settings, **change} for settings, change in SAME + DIFFERENT])
def test_a_canonical_config_reads_back_as_itself(settings: dict[str, Any]) -> None:
    canonical = config(settings).canonical()
    assert FewshotConfig.model_validate(canonical).canonical() == canonical


def test_a_canonical_pre_training_reads_back_as_itself() -> None:
    before = config(STARTED, {"data.split": "mod4"}).starts_from(3)
    assert before is not None
    canonical = before[0].canonical()
    assert TASKS["pretrain"].config.model_validate(canonical).canonical() == canonical


def test_test_episodes_are_for_few_shot_tasks() -> None:
    assert overrides.test_episodes(None, "retrieval") == {}
    assert overrides.test_episodes(600, "fewshot") == {"episodes.test": 600}
    for task in ("retrieval", "pretrain"):
        with pytest.raises(UserError, match=rf"--episodes is for few-shot studies, not for {task}"):
            overrides.test_episodes(600, task)


def test_guessing_scores_one_in_so_many_ways() -> None:
    assert config({"episodes.ways": 4}).chance({}) == 0.25
    before = config(STARTED).starts_from(0)
    assert before is not None
    assert before[0].chance({"train": [3, 0, 2, 0, 1]}) == pytest.approx(1 / 3)


def test_dropout_alone_has_a_name_that_earlier_cells_do_not_have() -> None:
    """Earlier cells drew from a generator that a resumed run did not continue; others kept their numbers."""
    for change in ({}, {"train.epochs": 0, **STARTED, "helix.dropout": 0.3}, {**LWFM, "helix.dropout": 0.3}):
        assert "helix.dropout" not in config(change).identities
    names = {config({**method, "helix.dropout": 0.3}).identities["helix.dropout"] for method in ({}, UNDER)}
    assert names == {"0.3, drawn by the place of a step"}
    assert names != {config({"helix.dropout": 0.2}).identities["helix.dropout"]}
