"""FCAENet's training step on a GPU: raysearch's, a plain hand-written one, and a bare ResNet-50 on as many images.

    python benchmarks/train_step.py [--compile] [--cudnn-benchmark]
    python benchmarks/train_step.py --quick        # on a CPU too, where it shows only that everything runs

ResNet-50 at 224 pixels, 64 triplets, 48 bits, 75,750 database rows; on a GPU in autocast bfloat16, channels last. Of
raysearch nothing but `raysearch/models` is needed, and no Ray. Images lie on the device: loading is not part of a step.

raysearch   anchors through the network, masks for the batch at once, positives and erased views through it in one
            pass, the hash loss from class sums (`raysearch.tasks.views` and `raysearch.tasks.methods.asymmetric`)
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
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
import torchvision
from measuring.alternating import Ratio, alternate, machine, ratio, seconds
from srem import loop_masks
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from raysearch.models import adsh
from raysearch.models.backbones import build
from raysearch.models.bodies import SmallBody
from raysearch.models.esrl import esrl
from raysearch.models.fcaenet import FCAENet
from raysearch.models.srem import erase_mask

GAMMA = 200.0
RELATION = 0.1  # weight of both terms of ESRL
VIEWS = 3


class Setup(NamedTuple):
    backbone: str
    side: int  # pixels
    batch: int  # triplets
    bits: int
    rows: int  # of the database
    sampled: int
    classes: int
    regions: int
    size: int  # pixels
    steps: int  # in a turn
    turns: int
    matrix: int  # side of the product that measures the peak


PAPER = Setup("resnet50", 224, 64, 48, 75_750, 2_000, 101, 50, 32, steps=20, turns=7, matrix=8192)
QUICK_GPU = Setup("resnet50", 96, 16, 48, 7_575, 400, 101, 50, 14, steps=3, turns=3, matrix=4096)
QUICK_CPU = Setup("small", 32, 4, 12, 200, 40, 10, 5, 5, steps=2, turns=3, matrix=256)


class Data(NamedTuple):
    """One batch and the database it is of, on the device."""

    anchors: Tensor  # (B, 3, side, side) channels last
    positives: Tensor
    labels: Tensor  # (B,) classes of the anchors
    rows: Tensor  # (B,) the anchors among the database
    codes: Tensor  # (n, c) in {-1, +1}
    database_labels: Tensor  # (n,)
    sample: Tensor  # (r,) sampled rows, the anchors first
    rho: float


def draw(setup: Setup, device: torch.device) -> Data:
    generator = torch.Generator().manual_seed(0)
    shape = (setup.batch, 3, setup.side, setup.side)
    database_labels = torch.arange(setup.rows) % setup.classes
    sample = torch.randperm(setup.rows, generator=generator)[: setup.sampled]
    rows = sample[: setup.batch]

    def images() -> Tensor:
        return torch.randn(shape, generator=generator).to(device, memory_format=torch.channels_last)

    return Data(
        anchors=images(),
        positives=images(),
        labels=database_labels[rows].to(device),
        rows=rows.to(device),
        codes=(torch.randint(2, (setup.rows, setup.bits), generator=generator).float() * 2 - 1).to(device),
        database_labels=database_labels.to(device),
        sample=sample.to(device),
        rho=adsh.similarity_ratio(database_labels[sample], database_labels),
    )


class Marks:
    """Points in the device's queue of work, in pairs, and the seconds between them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.points: list[Any] = []

    def set(self) -> None:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self.points.append(event)
        else:
            self.points.append(time.perf_counter())

    def between(self) -> list[float]:
        """Seconds of each pair."""
        pairs = zip(self.points[::2], self.points[1::2], strict=True)
        if self.device.type != "cuda":
            return [end - start for start, end in pairs]
        torch.cuda.synchronize(self.device)
        return [start.elapsed_time(end) / 1000 for start, end in pairs]  # from milliseconds


class Way(Protocol):
    """One way to train; `loss` gives a step's loss and sets a mark before and after masks are made."""

    network: nn.Module

    def loss(self, marks: Marks | None = None) -> Tensor: ...


class Raysearch:
    """As `tasks.views.PixelViews.forward` and `tasks.methods.asymmetric.Asymmetric.losses`."""

    def __init__(self, setup: Setup, data: Data, network: nn.Module, autocast: bool) -> None:
        self.setup, self.data, self.network, self.autocast = setup, data, network, autocast
        self.targets = adsh.targets(data.codes, data.database_labels, data.rho)

    def loss(self, marks: Marks | None = None) -> Tensor:
        setup, data = self.setup, self.data
        seen = self._through(data.anchors)
        if marks:
            marks.set()
        mask = erase_mask(seen.features, (setup.side, setup.side), setup.regions, setup.size)
        if marks:
            marks.set()
        erased = (data.anchors * mask).contiguous(memory_format=torch.channels_last)
        others = self._through(torch.cat([data.positives, erased]))
        u, (positive, erased) = seen.u, others.u.chunk(2)
        hash_loss = adsh.target_loss(u, data.labels, self.targets)
        quantisation = adsh.quantisation_loss(u, data.codes[data.rows], setup.rows)
        return hash_loss + GAMMA * quantisation + esrl(u, positive, erased, RELATION, RELATION)

    def _through(self, images: Tensor) -> Any:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            return self.network(images)


class WrittenNetwork(nn.Module):
    """A trunk as a chain of modules, pooling and a layer of outputs."""

    def __init__(self, trunk: nn.Sequential, channels: int, outputs: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(channels, outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(images)
        return self.output(self.pool(features).flatten(1)), features


class Written:
    """A training step as a plain program has it."""

    def __init__(self, setup: Setup, data: Data, network: nn.Module, autocast: bool) -> None:
        self.setup, self.data, self.network, self.autocast = setup, data, network, autocast
        sample_labels = data.database_labels[data.sample]
        same = sample_labels[:, None] == data.database_labels
        self.similarity = torch.where(same, 1.0, -data.rho)  # (r, n), once an outer iteration
        self.batch = torch.arange(setup.batch, device=data.rows.device)  # the anchors among the sample

    def loss(self, marks: Marks | None = None) -> Tensor:
        setup, data = self.setup, self.data
        u, features = self._through(data.anchors)
        if marks:
            marks.set()
        mask = loop_masks(features.detach(), setup.side, setup.regions, setup.size)
        if marks:
            marks.set()
        positive, _ = self._through(data.positives)
        erased, _ = self._through(data.anchors * mask)
        difference = u @ data.codes.T - setup.bits * self.similarity[self.batch]
        loss = (difference.square().sum() + GAMMA * (u - data.codes[data.rows]).square().sum()) / u.shape[0]
        loss = loss / setup.rows
        for other in (positive, erased):
            loss = loss + RELATION * (u - other).square().sum(1).mean()
        return loss

    def _through(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            z, features = self.network(images)
        return torch.tanh(z.float()), features


class Bare:
    """Classification of as many images."""

    def __init__(self, data: Data, network: nn.Module, autocast: bool) -> None:
        self.network, self.autocast = network, autocast
        images = [data.anchors, data.positives, data.anchors]
        self.images = torch.cat(images).contiguous(memory_format=torch.channels_last)
        self.labels = data.labels.repeat(VIEWS)

    def loss(self, marks: Marks | None = None) -> Tensor:
        with torch.autocast(self.images.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            scores = self.network(self.images)
        return functional.cross_entropy(scores.float(), self.labels)


class Trainer:
    """A way, its optimiser, and steps of it."""

    def __init__(self, way: Way) -> None:
        self.way = way
        parameters = [one for one in way.network.parameters() if one.requires_grad]
        self.optimiser = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-5)

    def train(self, steps: int, marks: Marks | None = None) -> None:
        for _ in range(steps):
            loss = self.way.loss(marks)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()


def networks(setup: Setup) -> dict[str, nn.Module]:
    """The networks of the three ways on the CPU; raysearch's and the written one start from the same weights."""
    torch.manual_seed(0)
    ours = FCAENet(build(setup.backbone), setup.bits)
    channels = ours.backbone.channels
    if setup.backbone == "small":
        whole: nn.Module = SmallBody()
        names = [name for name, _ in whole.named_children()]
        bare: nn.Module = _Scores(copy.deepcopy(_chain(whole, names)), channels, setup.classes)
    else:
        whole = torchvision.models.get_model(setup.backbone, weights=None)
        names = [name for name, _ in whole.named_children()][:-2]  # all but pooling and classifier
        bare = torchvision.models.get_model(setup.backbone, weights=None, num_classes=setup.classes)
    trunk = _chain(whole, names)
    state = ((key.split(".", 1), value) for key, value in ours.backbone.body.state_dict().items())
    trunk.load_state_dict({f"{names.index(child)}.{rest}": value for (child, rest), value in state})
    written = WrittenNetwork(trunk, channels, setup.bits)
    written.output.load_state_dict(ours.hash_layer.linear.state_dict())
    return {"raysearch": ours, "written": written, "bare": bare}


class _Scores(WrittenNetwork):
    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(images)[0]


def _chain(whole: nn.Module, names: list[str]) -> nn.Sequential:
    return nn.Sequential(*[whole.get_submodule(name) for name in names])


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


def matrix_peak(side: int, device: torch.device) -> float:
    """FLOPs a second of a large matrix product of random numbers, in the precision of the networks."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = torch.empty_like(one)

    def multiply() -> None:
        for _ in range(10):
            torch.mm(one, other, out=product)

    taken = alternate({"product": multiply}, repeats=5, device=device, warm_up=2)["product"]
    return 10 * 2 * side**3 / statistics.median(taken)


def masks(trainer: Trainer, setup: Setup, device: torch.device) -> tuple[float, float]:
    """Seconds a step in making masks, the median, and their share of the seconds of a step."""
    marks = Marks(device)
    whole = seconds(lambda: trainer.train(setup.steps, marks), device) / setup.steps
    between = statistics.median(marks.between())
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
    data, given = draw(setup, device), networks(setup)
    check_agreement(setup, data, given)
    trainers, memory = {}, {}
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
    peak, flops = matrix_peak(setup.matrix, device), flops_of_training(setup)
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
            "turns_images_per_second": [images / one for one in spent],
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


def _figures(name: str, found: Ratio) -> dict[str, float]:
    return {name: found.median, f"{name}_lowest": found.lowest, f"{name}_highest": found.highest}


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
