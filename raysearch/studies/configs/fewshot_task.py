"""The specs of the few-shot task and of its pre-training, and the decorator by which a head joins from outside.

HelixFormer's settings are the config's defaults. LWFM-SPM's are presets: its code and its text differ in how matched
pixels become a number.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from raysearch.core import user_code
from raysearch.studies.configs import base, class_disjoint, fewshot, fewshot_methods, task_spec
from raysearch.studies.configs.user import parts

_LAPTOP_IMAGES = {
    "data.side": 64,
    "data.zoom": 1.0,  # drawn birds may be near the border
    "model.backbone": "small",
    "model.weights": "DRAWN_BIRDS_V1",
}

_LWFM: dict[str, Any] = {
    "data.augment": "crop",
    "model.method": "lwfm",
    "model.backbone": "resnet18",
    "model.weights": "IMAGENET1K_V1",
    "train.batch": 1,
    "train.optimiser": "sgd",
    "train.lr": 0.01,
    "train.weight_decay": 5e-4,
    "train.decay": 0.05,
    "train.clip": 2.0,
}

_HELIXFORMER_5_SHOTS: dict[str, Any] = {
    "episodes.shots": 5,
    "train.epochs": 150,
    "train.episodes": 500,
    "train.batch": 2,
    "train.milestones": (80 / 150, 120 / 150),
}

_PRESETS: dict[str, dict[str, Any]] = {
    # 84 px, 5 ways, 1 shot; 130 epochs of 250 steps with 4 episodes, after 100 epochs of pre-training
    "helixformer": {"model.method": "helixformer", "pretrain.epochs": 100},
    # 5 shots: 150 epochs of 250 steps with 2 episodes
    "helixformer_5shot": {"model.method": "helixformer", "pretrain.epochs": 100, **_HELIXFORMER_5_SHOTS},
    # on CUB: no colour, and no crops in the pre-training
    "helixformer_cub": {
        "model.method": "helixformer",
        "data.augment": "flip",
        "pretrain.epochs": 100,
        "pretrain.augment": "flip",
    },
    "helixformer_cub_5shot": {
        "model.method": "helixformer",
        "data.augment": "flip",
        "pretrain.epochs": 100,
        "pretrain.augment": "flip",
        **_HELIXFORMER_5_SHOTS,
    },
    # on CUB: 30 epochs of 92 steps
    "lwfm": {
        **_LWFM,
        "lwe.temperature": 2.0,
        "spm.weight": 1.0,
        "lwfm.episode_weight": 1.5,
        "lwfm.aux_batch": 64,
        "train.epochs": 30,
        "train.episodes": 92,
        "train.milestones": (20 / 30, 24 / 30, 26 / 30, 28 / 30),
    },
    # on miniImageNet: 10 epochs of 300 steps
    "lwfm_mini": {
        **_LWFM,
        "lwe.temperature": 5.0,
        "spm.weight": 0.25,
        "lwfm.episode_weight": 0.25,
        "lwfm.aux_batch": 128,
        "train.epochs": 10,
        "train.episodes": 300,
        "train.milestones": (0.4, 0.6, 0.8),
    },
    # on CIFAR-FS, whose images of 32 px are enlarged: 10 epochs of 600 steps
    "lwfm_cifar_fs": {
        **_LWFM,
        "lwe.temperature": 5.0,
        "spm.weight": 1.0,
        "lwfm.episode_weight": 0.5,
        "lwfm.aux_batch": 64,
        "train.epochs": 10,
        "train.episodes": 600,
        "train.milestones": (0.4, 0.6, 0.8),
    },
    # on tieredImageNet: 10 epochs of 1,752 steps
    "lwfm_tiered": {
        **_LWFM,
        "lwe.temperature": 5.0,
        "spm.weight": 0.25,
        "lwfm.episode_weight": 0.25,
        "lwfm.aux_batch": 256,
        "train.epochs": 10,
        "train.episodes": 1752,
        "train.milestones": (0.4, 0.6, 0.8),
    },
}
# With 5 shots on tieredImageNet, the released script leaves matching out.
_PRESETS["lwfm_tiered_5shot"] = {**_PRESETS["lwfm_tiered"], "episodes.shots": 5, "spm.weight": 0.0}
# The paper's text averages all matched pixels and all layers; the released code takes the best.
_PRESETS["lwfm_text"] = {**_PRESETS["lwfm"], "spm.reduce": "mean", "spm.layers": "mean"}


def _give_way(settings: Mapping[str, Any], weak: Mapping[str, Any]) -> dict[str, Any]:
    """Return what replaces settings of the profile: a pre-training replaces weights, and random ones are not frozen."""
    replaced: dict[str, Any] = {}
    if settings.get("pretrain.epochs") and "model.weights" in weak:
        replaced["model.weights"] = None
    weights = {**settings, **replaced}.get("model.weights")
    if not weights and not settings.get("pretrain.epochs") and "model.frozen" in weak:
        replaced["model.frozen"] = False
    return replaced


FEWSHOT = task_spec.register_task(
    task_spec.TaskSpec(
        name="fewshot",
        config=fewshot.FewshotConfig,
        version=2,
        build="raysearch.tasks.fewshot.task:FewshotTask",
        metric_ids="raysearch.tasks.metric_definitions:fewshot",
        objectives=("accuracy_validation", "epoch_seconds"),
        movable=("train.lr", "train.weight_decay", "spm.weight", "lwe.temperature", "lwfm.tau", "lwfm.episode_weight"),
        profiles={
            "paper": {},
            "laptop": {
                **_LAPTOP_IMAGES,
                "model.frozen": True,  # heads train on maps that are computed once
                "episodes.queries": 5,
                "episodes.test": 400,
                "episodes.validation": 40,
                "helix.width": 32,
                "helix.dim_head": 16,
                "train.epochs": 3,
                "train.episodes": 40,
                "train.batch": 2,
                "train.milestones": (2 / 3,),
            },
        },
        presets=_PRESETS,
        gives_way=_give_way,
        from_checkpoint={"model.weights": None, "model.frozen": False},
        model=task_spec.ModelKind("a few-shot model", "raysearch.classify"),
    )
)

PRETRAIN = task_spec.register_task(
    task_spec.TaskSpec(
        name="pretrain",
        config=class_disjoint.PretrainRunConfig,
        version=2,
        build="raysearch.tasks.pretraining.task:PretrainTask",
        metric_ids="raysearch.tasks.metric_definitions:pretraining",
        objectives=("accuracy_validation", "epoch_seconds"),
        movable=("train.lr", "train.weight_decay"),
        no_model="a pre-trained backbone alone cannot name images. Export it with nearest centroids: raysearch.train "
        "fewshot --set model.method=centroid --set pretrain.epochs=N --set train.epochs=0 --export FILE",
        profiles={
            "paper": {},
            "laptop": {**_LAPTOP_IMAGES, "train.epochs": 10},
        },
    )
)


def _method_of_code(code: user_code.UserCode) -> fewshot_methods.FewShotMethod:
    """Return the few-shot method that a user's head is.

    Raises:
        UserError: it takes other arguments, or its settings cannot be a section of the config.
    """
    head = user_code.load(code)
    parts.check_arguments(head, code, ("channels",), ("settings",))

    def _is_used(run: Any, section: str) -> bool:
        return section in run.fewshot_method.sections

    settings = parts.add_section(fewshot.FewshotConfig, head, code, _is_used)
    return fewshot_methods.FewShotMethod(
        code.reference,
        partial(_build_user_head, head, settings),
        sections=() if settings is None else (settings.section,),
        code=code,
    )


def _build_user_head(
    head: Callable[..., Any], settings: parts.PartSettings | None, run: fewshot.FewshotConfig, backbone: Any
) -> Any:
    options = {} if settings is None else {"settings": settings.of(run)}
    return task_spec.load_object("raysearch.tasks.fewshot.user_head:UserHead")(head, backbone.channels, options)


fewshot_methods.FEWSHOT_METHODS.from_code = _method_of_code

Head = TypeVar("Head", bound=Callable[..., Any])


def fewshot_head(
    name: str, config: type[base.Section] | None = None, taps: Sequence[int] = (-1,)
) -> Callable[[Head], Head]:
    """Register a head as the few-shot method `model.method=name`.

    The decorated class or function is called as `head(config, shapes)`:

    - config: the section `name` of the run's config; None where the method has none;
    - shapes: (channels, height, width) of each compared tap's maps.

    It returns a module as `raysearch.models.fewshot.FewShotHead` describes it: `head(support, query)` takes one map per
    tap, (E, W, K, C, h, w) and (E, N, C, h, w), and returns a `HeadOutput` with logits (E, N, W). The content of its
    file is part of a cell's hash, so that a changed head is a new cell.

    Args:
        name: the name of the method, and of its config section.
        config: class of that section; every setting needs a default.
        taps: indices of the backbone's taps that are compared, from shallow to deep; -1 is the last.

    Raises:
        UserError: the name is taken.
    """

    def _register(head: Head) -> Head:
        fewshot_methods.FEWSHOT_METHODS.register(
            name,
            fewshot_methods.FewShotMethod(
                name,
                partial(_build_extension_head, head, None if config is None else name),
                sections=() if config is None else (name,),
                taps=tuple(taps),
                source=Path(inspect.getfile(head)),
            ),
        )
        if config is not None:
            fewshot.FewshotConfig.add_section(name, config, used_if=lambda run: run.model.method == name)
        return head

    return _register


def _build_extension_head(
    head: Callable[..., Any], section: str | None, run: fewshot.FewshotConfig, backbone: Any
) -> Any:
    map_shapes = task_spec.load_object("raysearch.tasks.fewshot.network:map_shapes")
    shapes = map_shapes(backbone, run.data.side, run.fewshot_method.tap_indices(run))
    return head(None if section is None else getattr(run, section), shapes)
