"""Compare FCAENet's training step on a GPU: raysearch's own, a plain hand-written one, and a bare ResNet-50.

    python benchmarks/train_step.py [--compile] [--cudnn-benchmark]
    python benchmarks/train_step.py --quick        # runs on a CPU too, which shows only that everything works

The setup is ResNet-50 at 224 pixels, 64 triplets, 48 bits and 75,750 database rows; on a GPU in autocast bfloat16,
channels last. Ray is not needed.

raysearch     an epoch of the task itself (`tasks.retrieval`) on a resident set of images: random numbers, taking and
              augmenting images, the step, and reading the losses
computation   raysearch's step alone, on a batch that is already augmented and on the device: anchors through the
              network, masks for the whole batch, positives and erased views in one pass, the hash loss from class sums
written       as in public programs: three passes, masks by the paper's loop, the hash loss from the rows of S (r x n)
              and the products with all n codes; on the same batch as `computation`
three passes  the written step with raysearch's masks, which separates the gain of the masks from that of the passes
bare          torchvision's classifier with cross entropy, on the 192 images that a step of the others processes

All run with the same precision, memory format, optimizer, cuDNN and compilation settings. The script prints the
speed of each, and its share of the peak of a large matrix product, measured in the same run. It also prints the time
that masks take and the memory that each needs. Only the network is compiled, once per batch size; masks are not. The
last line is JSON: the ratios of images per second, their spreads, and the figures behind them.
"""

import copy
import gc
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import measuring
import torch
from baselines import step_baselines as baselines
from baselines.product_step import ProductStep
from script import make_parser, print_figures
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raysearch.models import backbones


class Trainer:
    """An implementation with its optimizer.

    Args:
        implementation: computes the loss of a step.
    """

    def __init__(self, implementation: baselines.Implementation) -> None:
        self.implementation = implementation
        parameters = [weight for weight in implementation.network.parameters() if weight.requires_grad]
        fused = True if parameters[0].is_cuda else None  # as the task has it
        self.optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-5, fused=fused)

    def train(self, steps: int, timer: measuring.DeviceTimer | None = None) -> None:
        """Train for a number of steps; set two marks of the timer in each."""
        for _ in range(steps):
            loss = self.implementation.loss(timer)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()


T = TypeVar("T", Trainer, ProductStep)
WARM_UP = 2  # turns that do not count
RATIOS = [
    ("raysearch", "written"),
    ("raysearch", "bare"),
    ("raysearch", "computation"),
    ("raysearch", "three passes"),
    ("computation", "bare"),
]


def build_trainer(
    setup: baselines.Setup, data: baselines.Data, name: str, network: nn.Module, compiled: bool
) -> Trainer:
    """Build the trainer of an implementation on the data's device.

    Args:
        setup: sizes.
        data: the batch and its database.
        name: "computation", "written", "three passes" or "bare".
        network: network of that implementation.
        compiled: whether to compile the network.
    """
    device = data.anchors.device
    autocast = device.type == "cuda"
    network = network.to(device).to(memory_format=torch.channels_last).train()
    if compiled:
        # Shapes are static: raysearch's network gets two batch sizes, and one graph for both would be slower. CUDA
        # graphs stay off, because activations of the first pass have to outlive the second.
        network = torch.compile(network, dynamic=False)  # type: ignore[assignment]
    if name == "computation":
        return Trainer(baselines.RaysearchStep(setup, data, network, autocast))
    if name == "written":
        return Trainer(baselines.WrittenStep(setup, data, network, autocast))
    if name == "three passes":
        return Trainer(baselines.WrittenStep(setup, data, network, autocast, masks=baselines.batch_masks))
    return Trainer(baselines.BareStep(data, network, autocast))


def check_agreement(setup: baselines.Setup, data: baselines.Data, networks: dict[str, nn.Module]) -> None:
    """Exit unless raysearch's and the written implementation have the same loss for the same weights.

    The losses are computed in float32 with fixed batch statistics. In training, the statistics would depend on which
    images share a pass.
    """

    device = data.anchors.device
    losses = []
    for name, kind in (("computation", baselines.RaysearchStep), ("written", baselines.WrittenStep)):
        network = copy.deepcopy(networks[name]).to(device).to(memory_format=torch.channels_last)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # one pass then sets the statistics
        with torch.no_grad():
            network.train()(torch.cat([data.anchors, data.positives]))
            losses.append(kind(setup, data, network.eval(), autocast=False).loss().item())
    if not abs(losses[0] - losses[1]) <= 1e-2 * abs(losses[1]):
        raise SystemExit(
            f"for the same weights raysearch's loss is {losses[0]} and the written one's {losses[1]}; "
            "compare RaysearchStep with WrittenStep"
        )
    print(f"for the same weights both losses are {losses[0]:.4f} (difference {abs(losses[0] - losses[1]):.1g})")


def flops_of_training(setup: baselines.Setup) -> float:
    """Return the operations of one image: three forward passes, a multiply-add counted as two."""
    backbone = backbones.build(setup.backbone).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(1, 3, setup.side, setup.side))
    return 3.0 * counter.get_total_flops()


def time_masks(trainer: Trainer, setup: baselines.Setup, device: torch.device) -> tuple[float, float]:
    """Return the median seconds per step for making masks, and their share of a step's seconds."""
    timer = measuring.DeviceTimer(device)
    whole = measuring.time_call(lambda: trainer.train(setup.steps, timer), device) / setup.steps
    between = statistics.median(timer.between())
    return between, between / whole


def share_of_srem(setup: baselines.Setup, device: torch.device) -> dict[str, float]:
    """Measure the time of raysearch's masks within a training step; `srem.py` calls this."""
    network = baselines.build_networks(setup)["computation"]
    trainer = build_trainer(setup, baselines.draw_data(setup, device), "computation", network, compiled=False)
    trainer.train(setup.steps)
    mask_seconds, share = time_masks(trainer, setup, device)
    images = baselines.VIEWS * setup.batch
    print(f"masks take {1000 * mask_seconds:.3f} ms of a training step of {images} images ({share:.2%})")
    return {"srem_seconds_a_step": mask_seconds, "srem_share_of_step": share}


def build_measured(device: torch.device, build: Callable[[], T]) -> tuple[T, int]:
    """Build a trainer, and return it with the bytes that a GPU holds for it at most; 0 on a CPU.

    Args:
        device: the device of the trainer.
        build: builds it.
    """
    gc.collect()
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    trainer = build()
    trainer.train(1)  # compiling and cuDNN's choice of algorithms take memory of their own
    if device.type == "cuda":
        measuring.restart_peak(device)
    trainer.train(2)
    return trainer, measuring.peak_bytes(device) - before if device.type == "cuda" else 0


def measure(setup: baselines.Setup, device: torch.device, compiled: bool) -> dict[str, Any]:
    """Time the implementations in turn, print a table, and return the figures of the JSON line."""
    data = baselines.draw_data(setup, device)
    networks = baselines.build_networks(setup)
    check_agreement(setup, data, networks)
    trainers: dict[str, Trainer] = {}
    memory: dict[str, int] = {}
    calls: dict[str, Callable[[], float]] = {}
    for name, network in networks.items():
        build = partial(build_trainer, setup, data, name, network, compiled)
        trainers[name], memory[name] = build_measured(device, build)
        calls[name] = partial(measuring.time_call, partial(trainers[name].train, setup.steps), device)
    product, memory["raysearch"] = build_measured(device, partial(ProductStep, setup, device))
    calls = {"raysearch": product.seconds, **calls}
    seconds = measuring.take_turns(calls, setup.turns, WARM_UP)
    peak = measuring.matrix_peak(setup.matrix, device)
    flops = flops_of_training(setup)
    images = baselines.VIEWS * setup.batch * setup.steps
    print(f"peak of a product of {setup.matrix} x {setup.matrix} matrices: {peak / 1e12:.1f} TFLOP/s")
    print(
        f"{'':12} {'images/s':>10} {'(turns)':>20} {'of the peak':>12} {'masks, ms':>10} {'of a step':>10} {'GiB':>7}"
    )
    figures: dict[str, dict[str, Any]] = {}
    for name, turns in seconds.items():
        speed = images / statistics.median(turns)
        has_masks = name not in ("raysearch", "bare")
        mask_seconds, share = time_masks(trainers[name], setup, device) if has_masks else (0.0, 0.0)
        figures[name] = {
            "images_per_second": speed,
            "share_of_peak": speed * flops / peak,
            "mask_seconds_a_step": mask_seconds,
            "mask_share_of_step": share,
            "peak_memory_bytes": memory[name],
            "turns_images_per_second": [images / turn for turn in turns],
        }
        span = f"({images / max(turns):.0f} to {images / min(turns):.0f})"
        print(
            f"{name:12} {speed:10.1f} {span:>20} {speed * flops / peak:12.1%} {1000 * mask_seconds:10.3f} "
            f"{share:10.2%} {memory[name] / 2**30:7.2f}"
        )
    ratios = {
        f"{faster}_over_{slower.replace(' ', '_')}": measuring.ratio(seconds[slower], seconds[faster])
        for faster, slower in RATIOS
    }
    for name, speedup in ratios.items():
        print(f"images per second, {name.replace('_', ' ')}: {speedup}")
    spread: dict[str, float] = {}
    for name, speedup in ratios.items():
        spread |= _figures(name, speedup)
    return {
        **spread,
        "srem_share_of_step": figures["computation"]["mask_share_of_step"],
        "device": device.type,
        "compiled": compiled,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matrix_peak_flops": peak,
        "flops_an_image": flops,
        "ways": figures,
        "setup": setup._asdict(),
    }


def _figures(name: str, speedup: measuring.Ratio) -> dict[str, float]:
    return {name: speedup.median, f"{name}_lowest": speedup.lowest, f"{name}_highest": speedup.highest}


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="small images and batches; runs on a CPU too")
    parser.add_argument("--compile", action="store_true", help="compile each network with torch.compile")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN try its algorithms for each network")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.quick:
        raise SystemExit("no GPU: the benchmark needs one; --quick runs on a CPU and shows only that everything works")
    setup = (
        (baselines.QUICK_GPU if device.type == "cuda" else baselines.QUICK_CPU) if arguments.quick else baselines.PAPER
    )
    if arguments.cudnn_benchmark:
        torch.backends.cudnn.benchmark = True
    print(measuring.machine(device))
    if device.type == "cpu":
        print("on a CPU, so the figures below do not predict those of a GPU")
    print(
        f"{setup.backbone} at {setup.side} x {setup.side}, {setup.batch} triplets, {setup.bits} bits, "
        f"{setup.rows:,} database rows, {'bfloat16' if device.type == 'cuda' else 'float32'}, "
        f"{'compiled' if arguments.compile else 'not compiled'}, "
        f"cuDNN {'tries its algorithms' if arguments.cudnn_benchmark else 'chooses by its heuristics'}"
    )
    print_figures(measure(setup, device, arguments.compile))


if __name__ == "__main__":
    main()
