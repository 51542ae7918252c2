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
    "pre-training, flip": SmallTask("pretrain", {"train.augment": "flip"}),
}
# Whoever mends a case removes it here.
WAITS_PER_STEP: set[str] = {name for name, method in CASES.items() if method.task != "retrieval"}
WAITS_PER_EPOCH: set[str] = {name for name, method in CASES.items() if method.task == "fewshot"}
_TOO_OFTEN = pytest.mark.xfail(strict=True, raises=AssertionError)


def cases(waiting: set[str]) -> list[object]:
    """Return the cases; those that wait too often today have to fail."""
    return [pytest.param(name, marks=[_TOO_OFTEN] * (name in waiting)) for name in CASES]


@functools.cache
def figures(name: str) -> SyncFigures:
    return measure_syncs(CASES[name])


@pytest.mark.parametrize("name", cases(WAITS_PER_STEP))
def test_a_step_never_waits(name: str) -> None:
    assert figures(name).per_step == 0, figures(name).places


@pytest.mark.parametrize("name", cases(WAITS_PER_EPOCH))
def test_an_epoch_waits_twice_at_most(name: str) -> None:
    assert figures(name).per_epoch <= MOST_PER_EPOCH, figures(name).places
