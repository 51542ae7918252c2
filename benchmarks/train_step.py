"""FCAENet's training step on a GPU: raysearch's, a plain hand-written one, and a bare ResNet-50 on as many images.

    python benchmarks/train_step.py [--compile] [--cudnn-benchmark]
    python benchmarks/train_step.py --quick        # on a CPU too, where it shows only that everything runs

ResNet-50 at 224 pixels, 64 triplets, 48 bits, 75,750 database rows; on a GPU in autocast bfloat16, channels last. Of
raysearch nothing but `raysearch/models` is needed, and no Ray. Images lie on the device: loading is not part of a step.

raysearch   anchors through the network, masks for the batch at once, positives and erased views through it in one
            pass, the hash loss from class sums (`tasks.retrieval.views`, `methods.asymmetric`)
written     as public programs do it: three passes, masks by the paper's loop, the hash loss from the rows of S (r x n)
            and the products with all n codes
bare        torchvision's classifier, cross entropy, on the 192 images that a step of the others sees

All three run under the same precision, memory format, optimiser, cuDNN and compilation settings. Besides the speed of
each, and what share of the peak of a large matrix product it reaches (measured in the same run), the script prints how
long masks take and what memory a way needs. What is compiled is the network, for each batch size by itself; masks stay
outside. The last line is JSON: the ratios of images a second, their spreads, and what they come from.
"""

import argparse
import copy
import gc
import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from measuring import DeviceTimer, Ratio, alternate, machine, matrix_peak, ratio, seconds
from step_baselines import (
    PAPER,
    QUICK_CPU,
    QUICK_GPU,
    VIEWS,
    Bare,
    Data,
    Raysearch,
    Setup,
    Way,
    Written,
    draw,
    networks,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raysearch.models.backbones import build


class Trainer:
    """A way, its optimiser, and steps of it."""

    def __init__(self, way: Way) -> None:
        self.way = way
        parameters = [weight for weight in way.network.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-5)

    def train(self, steps: int, timer: DeviceTimer | None = None) -> None:
        for _ in range(steps):
            loss = self.way.loss(timer)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()


def make(setup: Setup, data: Data, name: str, network: nn.Module, compiled: bool) -> Trainer:
    """One way to train, on the data's device."""
    device = data.anchors.device
    autocast = device.type == "cuda"
    network = network.to(device).to(memory_format=torch.channels_last).train()
    if compiled:
        # Static shapes: raysearch's network meets two batch sizes, and one graph for both would be slower. No CUDA
        # graphs: activations of the first pass have to outlive the second.
        network = torch.compile(network, dynamic=False)  # type: ignore[assignment]
    if name == "raysearch":
        return Trainer(Raysearch(setup, data, network, autocast))
    if name == "written":
        return Trainer(Written(setup, data, network, autocast))
    return Trainer(Bare(data, network, autocast))


def check_agreement(setup: Setup, data: Data, given: dict[str, nn.Module]) -> None:
    """Exit unless raysearch's and the written way have the same loss for the same weights.

    In float32 and with fixed batch statistics: in training, statistics depend on which images share a pass.
    """
    device = data.anchors.device
    losses = []
    for name, kind in (("raysearch", Raysearch), ("written", Written)):
        network = copy.deepcopy(given[name]).to(device).to(memory_format=torch.channels_last)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # one pass sets statistics that fit
        with torch.no_grad():
            network.train()(torch.cat([data.anchors, data.positives]))
            losses.append(kind(setup, data, network.eval(), autocast=False).loss().item())
    if not abs(losses[0] - losses[1]) <= 1e-2 * abs(losses[1]):
        sys.exit(f"for the same weights raysearch's loss is {losses[0]} and the written one's {losses[1]}")
    print(f"for the same weights both losses are {losses[0]:.4f} (apart by {abs(losses[0] - losses[1]):.1g})")


def flops_of_training(setup: Setup) -> float:
    """Of one image, forward and backward: three times the forward pass, a multiply-add counted as two."""
    backbone = build(setup.backbone).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(1, 3, setup.side, setup.side))
    return 3.0 * counter.get_total_flops()


def masks(trainer: Trainer, setup: Setup, device: torch.device) -> tuple[float, float]:
    """Seconds a step in making masks, the median, and their share of the seconds of a step."""
    timer = DeviceTimer(device)
    whole = seconds(lambda: trainer.train(setup.steps, timer), device) / setup.steps
    between = statistics.median(timer.between())
    return between, between / whole


def share_of_srem(setup: Setup, device: torch.device) -> dict[str, float]:
    """How long raysearch's masks take in a training step; for `srem.py`."""
    trainer = make(setup, draw(setup, device), "raysearch", networks(setup)["raysearch"], compiled=False)
    trainer.train(setup.steps)
    spent, share = masks(trainer, setup, device)
    print(f"in a training step of {VIEWS * setup.batch} images masks take {1000 * spent:.3f} ms, {share:.2%} of it")
    return {"srem_seconds_a_step": spent, "srem_share_of_step": share}


def turns_of(trainer: Trainer, steps: int) -> Callable[[], None]:
    return lambda: trainer.train(steps)


def measure(setup: Setup, device: torch.device, compiled: bool) -> dict[str, Any]:
    """Time the three ways in turn; prints a table and returns the figures."""
    data = draw(setup, device)
    given = networks(setup)
    check_agreement(setup, data, given)
    trainers = {}
    memory = {}
    for name, network in given.items():
        gc.collect()
        before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        trainers[name] = make(setup, data, name, network, compiled)
        trainers[name].train(1)  # compiles, and lets cuDNN choose, both of which take memory of their own
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        trainers[name].train(2)
        memory[name] = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else 0
    calls = {name: turns_of(trainer, setup.steps) for name, trainer in trainers.items()}
    taken = alternate(calls, setup.turns, device, warm_up=2)
    peak = matrix_peak(setup.matrix, device)
    flops = flops_of_training(setup)
    images = VIEWS * setup.batch * setup.steps
    print(f"peak of a product of {setup.matrix} x {setup.matrix} matrices: {peak / 1e12:.1f} TFLOP/s")
    print(
        f"{'':10} {'images/s':>10} {'(turns)':>20} {'of the peak':>12} {'masks, ms':>10} {'of a step':>10} {'GiB':>7}"
    )
    ways: dict[str, dict[str, Any]] = {}
    for name, spent in taken.items():
        speed = images / statistics.median(spent)
        in_masks, share = masks(trainers[name], setup, device) if name != "bare" else (0.0, 0.0)
        ways[name] = {
            "images_per_second": speed,
            "share_of_peak": speed * flops / peak,
            "mask_seconds_a_step": in_masks,
            "mask_share_of_step": share,
            "peak_memory_bytes": memory[name],
            "turns_images_per_second": [images / seconds_of_turn for seconds_of_turn in spent],
        }
        span = f"({images / max(spent):.0f} to {images / min(spent):.0f})"
        print(
            f"{name:10} {speed:10.1f} {span:>20} {speed * flops / peak:12.1%} {1000 * in_masks:10.3f} {share:10.2%} "
            f"{memory[name] / 2**30:7.2f}"
        )
    over_written, over_bare = (ratio(taken[name], taken["raysearch"]) for name in ("written", "bare"))
    print(f"raysearch's images a second over the hand-written step's: {over_written}")
    print(f"raysearch's images a second over the bare ResNet's:       {over_bare}")
    return {
        **_figures("raysearch_over_written", over_written),
        **_figures("raysearch_over_bare", over_bare),
        "srem_share_of_step": ways["raysearch"]["mask_share_of_step"],
        "device": device.type,
        "compiled": compiled,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matrix_peak_flops": peak,
        "flops_an_image": flops,
        "ways": ways,
        "setup": setup._asdict(),
    }


def _figures(name: str, speedup: Ratio) -> dict[str, float]:
    return {name: speedup.median, f"{name}_lowest": speedup.lowest, f"{name}_highest": speedup.highest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small images and batches; runs on a CPU too")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network of each way")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try its algorithms, for each way")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not asked.quick:
        sys.exit("no GPU here; --quick shows on a CPU that everything runs")
    setup = (QUICK_GPU if device.type == "cuda" else QUICK_CPU) if asked.quick else PAPER
    if asked.cudnn_benchmark:
        torch.backends.cudnn.benchmark = True
    print(machine(device))
    if device.type == "cpu":
        print("on a CPU: the figures below say nothing of a GPU")
    print(
        f"{setup.backbone} at {setup.side} x {setup.side}, {setup.batch} triplets, {setup.bits} bits, "
        f"{setup.rows:,} database rows, {'bfloat16' if device.type == 'cuda' else 'float32'}, "
        f"{'compiled' if asked.compile else 'not compiled'}, "
        f"cuDNN {'tries its algorithms' if asked.cudnn_benchmark else 'chooses by its heuristics'}"
    )
    print(json.dumps(measure(setup, device, asked.compile)))


if __name__ == "__main__":
    main()
