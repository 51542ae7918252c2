"""The spec of the retrieval task, and the decorator by which a hashing loss joins it from outside the package.

The profile "paper" is the config's defaults with the paper's weights.
"""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from raysearch.core import user_code
from raysearch.studies.configs import base, hashing_methods, retrieval, task_spec
from raysearch.studies.configs.user import parts

RETRIEVAL = task_spec.register_task(
    task_spec.TaskSpec(
        name="retrieval",
        config=retrieval.RetrievalConfig,
        version=4,
        build="raysearch.tasks.retrieval.task:build",
        metric_ids="raysearch.tasks.metric_definitions:retrieval",
        objectives=("map_validation", "epoch_seconds"),
        movable=(
            "train.lr",
            "train.hash_lr",
            "train.momentum",
            "train.weight_decay",
            "train.epochs",
            "train.batch",
            "esrl.positive",
            "esrl.erased",
            "srem.regions",
            "adsh.gamma",
        ),
        profiles={
            "paper": {"model.weights": "IMAGENET1K_V1"},
            "laptop": {
                "data.side": 64,
                "data.validation": 0.1,  # for the learning curves
                "model.backbone": "small",
                "model.weights": "DRAWN_BIRDS_V1",
                "model.standardise": True,
                "adsh.bit_norm": True,
                "adsh.views": "erased",  # a short schedule learns little from the pull of ESRL alone
                "esrl.erased": 1.0,  # for the same reason
                "warmup.iterations": 4,
                "warmup.views": "all",
                "warmup.recalibrate": True,
                "train.samples": 1080,  # all of the embedded database
                "train.iterations": 2,
                "train.epochs": 1,
                "train.lr": 1e-3,
                "train.hash_lr": 3.0,
            },
        },
        # NABirds and VegFru, of which the paper draws more images per iteration
        data_profiles={"paper": {classes: {"train.samples": 4000} for classes in (555, 292)}},
        from_checkpoint={"model.weights": None, "model.frozen": False, "warmup.iterations": 0},
        model=task_spec.ModelKind("a retrieval model", "raysearch.retrieve"),
        step_name="outer iteration",
        embedded={"mark": 1.0},  # an effect of erasing is planted; see docs/embedded_data.md
    )
)


def _method_of_code(code: user_code.UserCode) -> hashing_methods.HashingMethod:
    """Return the hashing method that a user's loss is.

    Raises:
        UserError: it takes other arguments, or its settings cannot be a section of the config.
    """
    loss = user_code.load(code)
    if isinstance(loss, type):
        parts.check_arguments(loss, code, (), ("settings", "bits", "database_labels"))
    else:
        parts.check_arguments(loss, code, ("outputs", "labels"), ("settings", "rows"))

    def _is_used(run: Any, section: str) -> bool:
        return section in run.hashing_method.sections

    settings = parts.add_section(retrieval.RetrievalConfig, loss, code, _is_used)
    return hashing_methods.HashingMethod(
        code.reference,
        "pairwise",
        sections=() if settings is None else (settings.section,),
        implementation=partial(_build_user_loss, loss, settings),
        code=code,
    )


def _build_user_loss(loss: Callable[..., Any], settings: parts.PartSettings | None, *arguments: Any) -> Any:
    return task_spec.load_object("raysearch.tasks.retrieval.methods.user_loss:UserLoss")(loss, settings, *arguments)


hashing_methods.HASHING_METHODS.from_code = _method_of_code

Loss = TypeVar("Loss", bound=Callable[..., Any])


def hashing_loss(name: str, config: type[base.Section] | None = None) -> Callable[[Loss], Loss]:
    """Register a loss as the hashing method `hash.method=name`; its network encodes queries and database alike.

    The function is called as `loss(outputs, labels, config)`:

    - outputs: (B, bits) linear outputs of the network, with gradient;
    - labels: (B,) int64;
    - config: the section `name` of the run's config; None where the method has none.

    It returns a scalar tensor, or named scalars whose sum is minimized and which are all reported. The content of its
    file is part of a cell's hash, so that a changed loss is a new cell.

    Args:
        name: the name of the method, and of its config section.
        config: class of that section; every setting needs a default.

    Raises:
        UserError: the name is taken.
    """

    def _register(loss: Loss) -> Loss:
        hashing_methods.HASHING_METHODS.register(
            name,
            hashing_methods.HashingMethod(
                name,
                "pairwise",
                sections=() if config is None else (name,),
                implementation="raysearch.tasks.retrieval.methods.pairwise:ExtensionLoss",
                loss=loss,
                source=Path(inspect.getfile(loss)),
            ),
        )
        if config is not None:
            retrieval.RetrievalConfig.add_section(name, config, used_if=lambda run: run.hash.method == name)
        return loss

    return _register
