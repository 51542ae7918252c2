"""No method makes the host wait for the GPU within a step, and an epoch waits twice at most.

The `meta` device stands for the GPU; see `raysearch.testing.device_syncs` for what it shows.
"""

import functools

import pytest

from raysearch.testing import METHODS, SmallTask, SyncFigures, measure_syncs

MOST_PER_EPOCH = 2
FCAENET = METHODS["FCAENet"]
FROZEN = {"pretrain.epochs": 1, "model.frozen": True}
CASES: dict[str, SmallTask] = {
    **METHODS,
    "FCAENet, crop": SmallTask("retrieval", {"data.augment": "crop"}),
    "FCAENet, mask of its own pass": SmallTask("retrieval", {"srem.mask_pass": "separate"}),
    "FCAENet, warm-up": SmallTask("retrieval", {"warmup.iterations": 4}),
    "FCAENet, frozen": SmallTask("retrieval", {"model.frozen": True}),
    "HelixFormer, flip": SmallTask("fewshot", {"data.augment": "flip", "head.kind": "cosine"}),
    "HelixFormer, frozen": SmallTask("fewshot", {**FROZEN, "head.kind": "cosine"}),
    "LWFM-SPM, color and clip": SmallTask("fewshot", {"model.method": "lwfm", "train.clip": 2.0}),
    "LWFM-SPM, frozen": SmallTask("fewshot", {**FROZEN, "model.method": "lwfm"}),
    "nearest centroid": SmallTask("fewshot", {"model.method": "centroid", "centroid.distance": "cosine"}),
    "relation": SmallTask("fewshot", {"model.method": "relation", "head.kind": "cosine"}),
    "HelixFormer under LWFM-SPM": SmallTask("fewshot", {"model.method": "helix_lwfm", "helix.dropout": 0.3}),
    "LWFM-SPM, Sinkhorn": SmallTask("fewshot", {"model.method": "lwfm", "spm.matcher": "sinkhorn"}),
    "LWFM-SPM, mutual": SmallTask("fewshot", {"model.method": "lwfm", "spm.matcher": "mutual", "spm.reduce": "topk"}),
    "pre-training, flip": SmallTask("pretrain", {"train.augment": "flip"}),
}


# Each method in the fast suite, its other settings in the slow one.
PARAMETERS = [name if name in METHODS else pytest.param(name, marks=pytest.mark.slow) for name in CASES]


@functools.cache
def figures(name: str) -> SyncFigures:
    return measure_syncs(CASES[name])


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_step_never_waits(name: str) -> None:
    assert figures(name).per_step == 0, figures(name).places


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_epoch_waits_twice_at_most(name: str) -> None:
    assert figures(name).per_epoch <= MOST_PER_EPOCH, figures(name).places
