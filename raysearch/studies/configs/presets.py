"""Settings of a method as its authors ran it, by name; a study or a command puts its own on top.

HelixFormer's are the config's defaults. LWFM-SPM's code and text differ in how matched pixels become a number.
"""

from typing import Any

from raysearch.core.errors import UserError, nearest

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

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "fewshot": {
        # 84 px, 5 ways, 1 shot; 130 epochs of 250 steps with 4 episodes, after 100 epochs of pre-training
        "helixformer": {"model.method": "helixformer", "pretrain.epochs": 100},
        # on CUB: no colour, and no crops in the pre-training
        "helixformer_cub": {
            "model.method": "helixformer",
            "data.augment": "flip",
            "pretrain.epochs": 100,
            "pretrain.augment": "flip",
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
    },
}
# As the paper's text reads: all matched pixels count, and all layers.
PRESETS["fewshot"]["lwfm_text"] = {**PRESETS["fewshot"]["lwfm"], "spm.reduce": "mean", "spm.layers": "mean"}


def settings(name: str | None, task: str) -> dict[str, Any]:
    """What a preset sets; nothing for no name; an unknown one is a UserError."""
    if name is None:
        return {}
    known = PRESETS.get(task, {})
    if name not in known:
        raise UserError(f"unknown preset '{name}' of {task}{nearest(name, known)}")
    return dict(known[name])


def names() -> str:
    """All presets, for people.

    >>> "lwfm_text" in names()
    True
    """
    return ", ".join(name for presets in PRESETS.values() for name in presets)
