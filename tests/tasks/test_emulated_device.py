"""The code that runs on a GPU alone gives the numbers of the CPU's code: every method on an emulated device.

With `RAYSEARCH_TEST_DEVICE=cuda` the device is a GPU, whose sums have another order.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from raysearch.testing import METHODS, EmulatedDevice, SmallTask, build_small

from .. import devices

FROZEN = {"pretrain.epochs": 1, "model.frozen": True}
CASES: dict[str, tuple[SmallTask, float]] = {  # and the largest difference of a loss, relative
    **{name: (method, 0.0) for name, method in METHODS.items() if method.task == "retrieval"},
    "FCAENet, separate mask pass": (SmallTask("retrieval", {"srem.mask_pass": "separate"}), 0.0),
    "FCAENet, warm-up": (SmallTask("retrieval", {"warmup.iterations": 1}), 0.0),
    # A crop of a whole batch may round a byte the other way.
    "FCAENet, crop": (SmallTask("retrieval", {"data.augment": "crop"}), 0.01),
    "HelixFormer": (METHODS["HelixFormer"], 1e-5),
    "LWFM-SPM, crop": (METHODS["LWFM-SPM"], 0.01),
    "LWFM-SPM, flip": (SmallTask("fewshot", {"model.method": "lwfm", "data.augment": "flip"}), 1e-5),
    "LWFM-SPM, frozen": (SmallTask("fewshot", {**FROZEN, "model.method": "lwfm"}), 1e-5),
    "pre-training, flip": (SmallTask("pretrain", {"train.augment": "flip"}), 1e-5),
    "pre-training, crop": (METHODS["pre-training"], 0.01),
}

# Each method in the fast suite, its other settings in the slow one.
SLOW = {name for name, (method, _) in CASES.items() if method not in METHODS.values()}
PARAMETERS = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]


def run(method: SmallTask, device: torch.device) -> tuple[list[float], Mapping[str, Any]]:
    """Return the losses of a task that is stopped and continued, and its metrics."""
    exact = {} if method.task == "pretrain" else {"train.precision": "float32"}
    sized = SmallTask(method.task, {**method.settings, **exact}).sized(steps=3)
    task = build_small(sized.task, sized.settings, device)
    losses = [task.advance()["loss"]]
    state = task.state_dict()
    task = build_small(sized.task, sized.settings, device)
    task.load_state_dict(state)
    return [*losses, task.advance()["loss"]], task.evaluate()


@pytest.mark.filterwarnings("ignore:.*classes have fewer", "ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_device_gives_the_numbers_of_a_cpu(name: str) -> None:
    method, tolerance = CASES[name]
    expected, metrics = run(method, torch.device("cpu"))
    if devices.NAME not in ("cpu", "emulated"):
        losses, _ = run(method, torch.device(devices.NAME))
        assert losses == pytest.approx(expected, rel=0.02 if method.task != "pretrain" else 0.1)
        return
    with EmulatedDevice():
        losses, device_metrics = run(method, torch.device("meta"))
    assert losses == pytest.approx(expected, rel=tolerance, abs=0)
    if tolerance < 0.01:
        assert device_metrics == metrics
