"""FCAENet in training against a plain second writing of its loop: explicit S, boxes drawn one by one, SGD by hand."""

import copy
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raysearch.data.images import ImageSet
from raysearch.errors import UserError
from raysearch.models import adsh, backbones
from raysearch.models.backbones import Backbone
from raysearch.studies import overrides
from raysearch.studies.config import RetrievalConfig
from raysearch.tasks.base import Feed, NonFiniteLoss, Worker
from raysearch.tasks.retrieval import RetrievalTask
from raysearch.tasks.views import CachedViews, PixelViews

SIDE = 12
BASE: dict[str, Any] = {
    "data.side": SIDE,
    "data.augment": "none",
    "model.backbone": "small",
    "hash.bits": 6,
    "srem.regions": 3,
    "srem.size": 4,
    "esrl.positive": 0.7,
    "esrl.erased": 0.4,
    "train.samples": 10,
    "train.batch": 4,
    "train.iterations": 2,
    "train.epochs": 2,
    "adsh.gamma": 5.0,  # as 200 is to a database of 500
    "train.lr": 0.005,
    "train.hash_lr": 3.0,
    "train.weight_decay": 0.01,
    "train.milestones": [],
}
FROZEN = {"model.frozen": True, "model.standardise": True}
WARM = {"model.standardise": True, "warmup.iterations": 1, "warmup.epochs": 2, "warmup.lr": 0.003}


class TinyBody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"block": self.block(images)}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trunk of one convolution in place of the small one; one thread, so that sums have one order."""
    monkeypatch.setitem(backbones.BACKBONES, "small", lambda name, weights: Backbone(TinyBody(), ("block",), 5))
    torch.set_num_threads(1)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All arithmetic in float64: two writings then agree to the last digits, not to float32's rounding."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def image_set(per_class: list[int], seed: int = 0, side: int = SIDE) -> ImageSet:
    """Noise around a colour a class; class 1 has no image, as labels may have gaps."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([label + (label > 0) for label in range(len(per_class))], per_class)
    colours = np.random.default_rng(99).integers(60, 190, (labels.max() + 1, 1, 1, 3))
    noise = rng.integers(-60, 60, (len(labels), side, side, 3))
    return ImageSet((colours[labels] + noise).astype(np.uint8), labels.astype(np.int64))


def config(*changes: dict[str, Any]) -> RetrievalConfig:
    merged = dict(BASE)
    for change in changes:
        merged |= change
    return overrides.resolve("retrieval", merged)


def make(cache: Path, *changes: dict[str, Any], seed: int = 0, train: ImageSet | None = None) -> RetrievalTask:
    feed = Feed(train or image_set([5, 3, 6]), image_set([2, 2, 2], seed=1), "hash of the data")
    return RetrievalTask(config(*changes), seed, Worker(feed, cache))


def finish(task: RetrievalTask) -> list[dict[str, Any]]:
    """Run to the end; the reports without their times, and the metrics."""
    reports = [task.advance() for _ in range(task.steps - task.done)]
    return [{k: v for k, v in report.items() if k not in ("seconds", "images_per_second")} for report in reports] + [
        task.evaluate()
    ]


@dataclass
class Log:
    """What was random in a run, and the gradient of every step."""

    batches: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # rows and positives
    gradients: list[dict[int, Tensor]] = field(default_factory=list)

    def epochs(self, rows: int, size: int) -> list[list[tuple[Tensor, Tensor]]]:
        count = math.ceil(rows / size)
        return [self.batches[at : at + count] for at in range(0, len(self.batches), count)]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    log = Log()

    def listen(kind: type[PixelViews] | type[CachedViews]) -> None:
        original = kind.forward

        def forward(self, rows, positives, *rest):
            log.batches.append((rows.clone(), positives.clone()))
            return original(self, rows, positives, *rest)

        monkeypatch.setattr(kind, "forward", forward)

    def before_step(optimiser: torch.optim.Optimizer, *_: object) -> None:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        log.gradients.append({id(p): p.grad.clone() for p in parameters if p.grad is not None})

    listen(PixelViews)
    listen(CachedViews)
    handle = register_optimizer_step_pre_hook(before_step)
    yield log
    handle.remove()


class SecondWriting:
    """The training loop of the method, slow and plain, on the random choices that a log holds."""

    def __init__(self, task: RetrievalTask) -> None:
        self.config, self.images, self.labels = task.config, task.train, torch.from_numpy(task.train.labels)
        self.network = copy.deepcopy(task.network)
        self.codes = task.codes.clone()
        self.names = {id(p): name for name, p in task.network.named_parameters()}
        self.momentum: dict[str, Tensor] = {}
        self.gradients: list[dict[str, Tensor]] = []
        self.reports: list[dict[str, float]] = []
        self.statistics: tuple[Tensor, Tensor] | None = None
        if self.config.model.frozen or self.config.warmup.iterations:
            self.network.eval()
            with torch.no_grad():
                pooled = self.trunk(self.pixels(torch.arange(len(self.images))))[0]
            self.statistics = pooled.mean(0), pooled.var(0)

    def pixels(self, rows: Tensor) -> Tensor:
        scaled = torch.from_numpy(self.images.images[rows.numpy()]).permute(0, 3, 1, 2).double() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (scaled - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    def trunk(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network.backbone(x)["block"]
        return maps.sum((2, 3)) / (maps.shape[2] * maps.shape[3]), maps

    def hash(self, pooled: Tensor) -> Tensor:
        if self.config.model.standardise and self.statistics:
            pooled = (pooled - self.statistics[0]) / (self.statistics[1] + 1e-5).sqrt()
        elif self.config.model.standardise:
            pooled = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt()
        linear = self.network.hash_layer.linear
        return torch.tanh(pooled @ linear.weight.T + linear.bias)

    def erase(self, x: Tensor, maps: Tensor) -> Tensor:
        """Algorithm 1 of the paper, box after box."""
        srem, mask = self.config.srem, torch.ones(len(x), 1, SIDE, SIDE)
        grid = srem.grid or SIDE
        ranked = interpolate(maps.detach().mean(1, keepdim=True), (grid, grid), mode="bilinear", align_corners=False)
        for image in range(len(x)):
            order = ranked[image].flatten().sort(descending=True, stable=True).indices
            varies = (maps[image] != maps[image][:, :1, :1]).any()  # a constant map erases nothing
            for position in order[: srem.regions].tolist() if varies else []:
                i, j = (position // grid) * SIDE // grid, (position % grid) * SIDE // grid
                if srem.center:
                    i, j = i - srem.size // 2, j - srem.size // 2
                mask[image, 0, max(i, 0) : max(i + srem.size, 0), max(j, 0) : max(j + srem.size, 0)] = 0
        return mask

    def target(self, u: Tensor, rows: Tensor, rho: float) -> Tensor:
        """Sum over pairs of (u.v - c S)^2 over B n."""
        same = self.labels[rows][:, None] == self.labels
        S = torch.where(same, torch.tensor(1.0), torch.tensor(-rho))
        return (u @ self.codes.T - u.shape[1] * S).square().sum() / (len(rows) * len(self.labels))

    def batch(self, rows: Tensor, positives: Tensor, rho: float, warming: bool) -> tuple[Tensor, dict[str, float]]:
        c, n, given = self.codes.shape[1], len(self.labels), self.config
        x = self.pixels(rows)
        pooled, maps = self.trunk(x)
        u = self.hash(pooled)
        kappa_p, kappa_e = (0.0, 0.0) if warming else (given.esrl.positive, given.esrl.erased)
        views = "anchor" if warming else given.adsh.views
        use_p = kappa_p > 0 or views == "all"
        use_e = given.srem.regions > 0 and (kappa_e > 0 or views != "anchor")
        others, fraction = [], 0.0
        if use_p:
            others.append(self.pixels(positives))
        if use_e:
            mask = self.erase(x, maps)
            fraction = 1 - mask.mean().item()
            others.append(x * mask)
        seen = list(self.hash(self.trunk(torch.cat(others))[0]).split(len(rows))) if others else []
        hash_loss = self.target(u, rows, rho)
        relation = torch.zeros(())
        if use_p:
            relation = relation + kappa_p * ((u - seen[0]) ** 2).sum() / len(rows)
        if use_e:
            relation = relation + kappa_e * ((u - seen[-1]) ** 2).sum() / len(rows)
        if use_e and views in ("erased", "all"):
            hash_loss = hash_loss + self.target(seen[-1], rows, rho)
        if use_p and views == "all":
            hash_loss = hash_loss + self.target(seen[0], rows, rho)
        quantisation = ((u - self.codes[rows]) ** 2).sum() / (len(rows) * n)
        factor = 12 / c if given.adsh.bit_norm else 1.0
        loss = factor * (hash_loss + given.adsh.gamma * quantisation) + relation
        parts = {"loss": loss, "hash_loss": hash_loss, "quantisation": quantisation, "esrl": relation}
        numbers = {name: part.item() * len(rows) for name, part in parts.items()}
        self.step(loss, warming)
        return u.detach(), numbers | {"erased_fraction": fraction * len(rows)}

    def step(self, loss: Tensor, warming: bool) -> None:
        for parameter in self.network.parameters():
            parameter.grad = None
        loss.backward()
        train, gradients = self.config.train, {}
        for name, parameter in self.network.named_parameters():
            ours = name.startswith("hash_layer")
            if not ours and (warming or self.config.model.frozen):
                continue
            assert parameter.grad is not None
            gradients[name] = parameter.grad.clone()
            rate = self.config.warmup.lr if warming else self.rate * (train.hash_lr if ours else 1)
            slope = parameter.grad + train.weight_decay * parameter.detach()
            self.momentum[name] = train.momentum * self.momentum[name] + slope if name in self.momentum else slope
            with torch.no_grad():
                parameter.sub_(rate * self.momentum[name])
        self.gradients.append(gradients)

    def update_codes(self, U: Tensor, sample: Tensor, rho: float) -> None:
        """Equation 17 with explicit S, row by row, bit by bit."""
        c, gamma = U.shape[1], self.config.adsh.gamma
        for j in range(len(self.labels)):
            for _ in range(self.config.adsh.sweeps):
                for k in range(c):
                    cost = []
                    for bit in (-1.0, 1.0):
                        v = self.codes[j].clone()
                        v[k] = bit
                        S = torch.where(self.labels[sample] == self.labels[j], 1.0, -rho)
                        own = ((v - U[sample == j]) ** 2).sum()
                        cost.append(float(((U @ v - c * S) ** 2).sum() + gamma * own))
                    if cost[0] != cost[1]:
                        self.codes[j, k] = -1.0 if cost[0] < cost[1] else 1.0

    def run(self, log: Log) -> None:
        warm = 0 if self.config.model.frozen else self.config.warmup.iterations
        train, r = self.config.train, min(self.config.train.samples, len(self.labels))
        epochs = iter(log.epochs(r, train.batch))
        for iteration in range(-warm, train.iterations):
            warming = iteration < 0
            if iteration == 0:
                self.momentum = {}
            drops = [m for m in train.milestones if iteration >= m * train.iterations]
            self.rate = train.lr / 10 ** len(drops)
            # the trunk's batch norm works on its own statistics only where the trunk is trained
            self.network.train(not (warming or self.config.model.frozen))
            rho = 1.0
            for _ in range(self.config.warmup.epochs if warming else train.epochs):
                batches = next(epochs)
                sample = torch.cat([rows for rows, _ in batches])
                if self.config.adsh.similarity == "soft":
                    same = int((self.labels[sample][:, None] == self.labels).sum())
                    rho = same / (r * len(self.labels) - same)
                done = [self.batch(rows, positives, rho, warming) for rows, positives in batches]
            U = torch.cat([u for u, _ in done])
            self.update_codes(U, sample, rho)
            self.reports.append({name: sum(numbers[name] for _, numbers in done) / r for name in done[0][1]})
        assert next(epochs, None) is None


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "hard similarity": {"adsh.similarity": "hard"},
    "no gamma": {"adsh.gamma": 0.0},
    "bit_norm": {"adsh.bit_norm": True},
    "sweeps": {"adsh.sweeps": 3},
    "no regions": {"srem.regions": 0},
    "no positive": {"esrl.positive": 0.0},
    "no erased": {"esrl.erased": 0.0},
    "no esrl": {"esrl.positive": 0.0, "esrl.erased": 0.0},
    "erased hashed": {"adsh.views": "erased"},
    "erased hashed only": {"adsh.views": "erased", "esrl.positive": 0.0, "esrl.erased": 0.0},
    "all hashed": {"adsh.views": "all"},
    "all hashed, no regions, no esrl": {"adsh.views": "all", "srem.regions": 0, "esrl.positive": 0.0},
    "grid": {"srem.grid": 4},
    "center": {"srem.center": True},
    "standardise": {"model.standardise": True},
    "milestones": {"train.milestones": [0.3, 0.5], "train.iterations": 4, "train.epochs": 1},
    "whole database": {"train.samples": 500},
    "warm-up": WARM,
    "warm-up and milestones": {**WARM, "train.milestones": [0.5]},
    "frozen": FROZEN,
    "frozen, erased hashed only": {**FROZEN, "adsh.views": "erased", "esrl.positive": 0.0, "esrl.erased": 0.0},
    "frozen, all hashed": {**FROZEN, "adsh.views": "all", "esrl.positive": 0.0, "esrl.erased": 0.0},
    "frozen, raw features": {"model.frozen": True},
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS.keys())
def test_training_equals_its_second_writing(change: dict[str, Any], log: Log, tmp_path: Path) -> None:
    task = make(tmp_path, change)
    start = {name: p.clone() for name, p in task.network.named_parameters()}
    second = SecondWriting(task)
    reports = finish(task)
    second.run(log)

    assert len(log.gradients) == len(second.gradients) > 4
    for got, expected in zip(log.gradients, second.gradients, strict=True):
        assert {second.names[key] for key in got} == set(expected)
        assert max(gradient.abs().max() for gradient in got.values()) > 1e-6  # not saturated
        for key, gradient in got.items():
            torch.testing.assert_close(gradient, expected[second.names[key]], rtol=1e-9, atol=1e-11)
    for report, expected_report in zip(reports, second.reports, strict=False):
        assert {name: report[name] for name in expected_report} == pytest.approx(expected_report, rel=1e-9, abs=1e-12)
    for (name, got_p), expected_p in zip(task.network.named_parameters(), second.network.parameters(), strict=True):
        torch.testing.assert_close(got_p, expected_p, rtol=1e-9, atol=1e-11)
        frozen = task.config.model.frozen and not name.startswith("hash_layer")
        assert torch.equal(got_p, start[name]) == frozen
    got_buffers, buffers = (dict(network.backbone.named_buffers()) for network in (task.network, second.network))
    assert len(buffers) == 3  # mean, variance and number of batches of the trunk's batch norm
    for name, buffer in buffers.items():
        torch.testing.assert_close(got_buffers[name], buffer)
    assert torch.equal(task.codes, second.codes)


@pytest.mark.usefixtures("double")
def test_variants_differ(tmp_path: Path) -> None:
    """Each switch changes the outcome, or the comparison above would not have seen it."""
    losses = {name: round(finish(make(tmp_path, change))[0]["loss"], 9) for name, change in VARIANTS.items()}
    assert losses["no regions"] == losses.pop("no erased")  # two ways to leave out the erased views
    assert losses["default"] == losses.pop("sweeps")  # the first iteration's loss is before the first sweep
    assert losses["warm-up"] == losses.pop("warm-up and milestones")
    assert len(set(losses.values())) == len(losses)


def test_codes_of_an_iteration_are_the_update_on_the_last_outputs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outputs: dict[int, Tensor] = {}
    original = PixelViews.forward

    def forward(self, rows, *rest):
        seen = original(self, rows, *rest)
        outputs.update(zip(rows.tolist(), seen.anchor.detach(), strict=True))  # later epochs overwrite earlier ones
        return seen

    monkeypatch.setattr(PixelViews, "forward", forward)
    task = make(tmp_path, {"train.samples": 9, "train.epochs": 3})
    before = task.codes.clone()
    task.advance()
    sample = torch.tensor(sorted(outputs))
    assert len(sample) == 9  # one batch would have been left with a single image: it is not lost
    u = torch.stack([outputs[row] for row in sample.tolist()])
    assert torch.equal(task.codes, adsh.update_codes(before, u, sample, task.labels, gamma=5.0))
    assert not torch.equal(task.codes, before)


def test_every_epoch_sees_each_sampled_row_once_and_samples_have_no_repeats(log: Log, tmp_path: Path) -> None:
    task = make(tmp_path, {"train.iterations": 6, **FROZEN})
    finish(task)
    epochs = log.epochs(10, 4)
    assert len(epochs) == 12
    rows = [torch.cat([rows for rows, _ in epoch]) for epoch in epochs]
    samples = [sorted(r.tolist()) for r in rows]
    assert all(len(set(sample)) == 10 for sample in samples)
    for first, second in zip(range(0, 12, 2), range(1, 12, 2), strict=True):
        assert samples[first] == samples[second]  # the epochs of an iteration share their sample
        assert not torch.equal(rows[first], rows[second])  # in another order
    assert len({tuple(sample) for sample in samples}) > 1  # iterations draw anew
    assert set().union(*samples) == set(range(14))


def test_positives_are_other_images_of_the_class_uniformly(log: Log, tmp_path: Path) -> None:
    epochs = 400
    change = {**FROZEN, "train.samples": 14, "train.batch": 14, "train.iterations": 1, "train.epochs": epochs}
    task = make(tmp_path, change)
    task.advance()
    counts = np.zeros((14, 14), int)
    for rows, positives in log.batches:
        np.add.at(counts, (rows.numpy(), positives.numpy()), 1)
    labels = task.train.labels
    allowed = (labels[:, None] == labels) & ~np.eye(14, dtype=bool)
    assert not counts[~allowed].any()
    for row in range(14):
        drawn = counts[row, allowed[row]]
        share = epochs / len(drawn)
        assert (abs(drawn - share) < 4.5 * np.sqrt(share)).all()


def test_sgd_rates_fall_at_the_milestones(tmp_path: Path) -> None:
    change = {"train.iterations": 25, "train.epochs": 1, "train.milestones": [0.2, 0.56], "train.samples": 4}
    task = make(tmp_path, FROZEN, change)
    rates = [task.advance()["lr"] for _ in range(task.steps)]
    # 0.56 * 25 is a little more than 14 in floating point; the rate falls after 14 iterations all the same
    assert rates == pytest.approx([5e-3] * 5 + [5e-4] * 9 + [5e-5] * 11)
    assert [group["lr"] for group in task.optimiser.param_groups] == pytest.approx([5e-5, 15e-5])


def test_warmup_leaves_the_trunk_and_is_the_same_for_variants_of_srem_and_esrl(tmp_path: Path) -> None:
    states, reports = [], []
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"srem.regions": 0},
        {"esrl.positive": 2.0, "esrl.erased": 0.0},
        {"adsh.views": "all"},
    )
    for change in changes:
        task = make(tmp_path, {**WARM, "warmup.iterations": 2}, change)
        start = copy.deepcopy(task.network.backbone.state_dict())
        reports.append([task.advance() for _ in range(2)])
        assert all(torch.equal(start[name], value) for name, value in task.network.backbone.state_dict().items())
        states.append({**task.network.hash_layer.state_dict(), "codes": task.codes})
    for state in states[1:]:
        assert all(torch.equal(states[0][name], value) for name, value in state.items())
    losses = [[(report["phase"], report["loss"]) for report in pair] for pair in reports]
    assert losses[0][0][0] == losses[0][1][0] == "warmup"
    assert losses[0] == losses[1] == losses[2] == losses[3]
    task.advance()
    assert any(not torch.equal(start[name], value) for name, value in task.network.backbone.state_dict().items())


PIXELS = {"data.augment": "flip"}


@pytest.mark.parametrize("change", [PIXELS, {"data.augment": "crop"}, FROZEN, {**PIXELS, **WARM}])
def test_one_seed_gives_one_run_and_another_seed_another(change: dict[str, Any], tmp_path: Path) -> None:
    first, second = make(tmp_path / "a", change), make(tmp_path / "b", change)
    torch.manual_seed(5)  # the global generator decides nothing
    runs = [finish(first)]
    torch.manual_seed(6)
    runs += [finish(second), finish(make(tmp_path / "a", change, seed=1))]
    assert runs[0] == runs[1]
    assert runs[0][0]["loss"] != runs[2][0]["loss"]
    fresh = [make(tmp_path / "c", change, {"hash.bits": bits}, seed=seed) for bits, seed in ((6, 0), (9, 0), (6, 1))]
    trunks = [next(task.network.backbone.parameters()) for task in fresh]
    assert torch.equal(trunks[0], trunks[1])  # whatever the code length
    assert not torch.equal(trunks[0], trunks[2])
    assert not torch.equal(fresh[0].codes, fresh[2].codes)
    assert all(
        torch.equal(a, b) for a, b in zip(tree_leaves(tensors(first)), tree_leaves(tensors(second)), strict=True)
    )


def tensors(task: RetrievalTask) -> dict[str, Any]:
    return {"codes": task.codes, **task.network.state_dict()}


@pytest.mark.parametrize(
    "change",
    [
        {**PIXELS, "train.iterations": 3, "train.milestones": [0.5]},
        {**PIXELS, **WARM, "warmup.iterations": 2},
        {**FROZEN, "train.iterations": 3},
        {"model.standardise": True, "data.validation": 0.4},
    ],
    ids=["pixels", "warm-up", "frozen", "validation"],
)
def test_a_run_goes_on_from_its_state_bit_for_bit(change: dict[str, Any], tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", change)
    expected = finish(whole)
    for stop in range(whole.steps + 1):
        task = make(tmp_path / "part", change)
        for _ in range(stop):
            task.advance()
        file = io.BytesIO()
        torch.save(task.state_dict(), file)
        file.seek(0)
        resumed = make(tmp_path / f"another machine {stop}", change)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert finish(resumed) == expected[stop:]
        for name, value in tensors(whole).items():
            assert torch.equal(value, tensors(resumed)[name]), (stop, name)


def test_a_loss_that_is_not_finite_names_iteration_and_epoch(tmp_path: Path) -> None:
    task = make(tmp_path, {"train.iterations": 3})
    task.advance()
    with torch.no_grad():
        task.network.hash_layer.linear.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteLoss, match="iteration 2, epoch 1"):
        task.advance()
    with pytest.raises(NonFiniteLoss, match="iteration 1, epoch 2"):
        make(tmp_path, {"train.lr": 1e38, "train.samples": 4}).advance()


def test_validation_is_a_part_of_each_class_and_never_in_the_database(tmp_path: Path) -> None:
    train = image_set([10, 4, 2, 7])
    tasks = [make(tmp_path / str(seed), {"data.validation": 0.3}, seed=seed, train=train) for seed in range(3)]
    names = {image.tobytes(): row for row, image in enumerate(train.images)}
    held, kept = ([names[image.tobytes()] for image in part.images] for part in (tasks[0].held_out, tasks[0].train))
    assert sorted(held + kept) == list(range(23))
    assert np.bincount(tasks[0].held_out.labels, minlength=5).tolist() == [3, 0, 1, 0, 2]
    assert (train.labels[held] == tasks[0].held_out.labels).all()
    assert (train.labels[kept] == tasks[0].train.labels).all()
    for task in tasks:
        assert np.array_equal(task.held_out.images, tasks[0].held_out.images)
        assert task.codes.shape == (17, 6)
        assert len(task.labels) == 17
        assert "map" in task.advance()
    assert "map" not in make(tmp_path).advance()


@pytest.mark.usefixtures("double")
def test_the_rest_after_validation_has_features_of_its_own(tmp_path: Path) -> None:
    for share in (0.0, 0.3):  # one cache directory: the share is part of the key
        task = make(tmp_path, FROZEN, {"data.validation": share})
        statistics, norm = SecondWriting(task).statistics, task.network.hash_layer.standardise
        assert statistics is not None
        assert norm is not None
        torch.testing.assert_close(norm.running_mean, statistics[0])


def test_classes_that_are_too_small_are_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class 2 has one image"):
        make(tmp_path, train=image_set([4, 1, 3]))
    with pytest.raises(UserError, match="two classes"):
        make(tmp_path, train=image_set([4]))
    with pytest.raises(UserError, match="validation"):
        make(tmp_path, {"data.validation": 0.3}, train=image_set([2, 2]))
    assert len(make(tmp_path, {"data.validation": 0.8}, train=image_set([3, 9])).train) == 4  # two a class stay


def test_evaluation_ranks_the_learned_codes_for_signs_of_the_outputs(tmp_path: Path) -> None:
    task = make(tmp_path)
    task.advance()
    metrics = task.evaluate()
    assert set(metrics) == set(task.metric_ids) == {"map", "map_index", "map_best_ties", "map_worst_ties"}
    assert metrics["map_worst_ties"] <= metrics["map"] <= metrics["map_best_ties"]
    test = task.worker.feed.test
    task.network.eval()
    with torch.no_grad():
        queries = task.network(test.batch(torch.arange(len(test)), torch.device("cpu"))).u.sign()
    scores = []
    for query, label in zip(queries, test.labels, strict=True):
        order = (-(task.codes @ query)).sort(stable=True).indices
        hits = (task.labels[order] == label).double()
        scores.append(float((hits * hits.cumsum(0) / torch.arange(1, len(hits) + 1)).sum() / hits.sum()))
    assert metrics["map_index"] == pytest.approx(np.mean(scores))


class LargestResult(TorchDispatchMode):
    """Remembers the largest number of elements that an operation returned."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.largest = max([self.largest, *sizes])
        return result


def test_a_step_never_makes_a_matrix_of_database_times_sample(tmp_path: Path) -> None:
    n, r = 3000, 1500
    rng = np.random.default_rng(0)
    train = ImageSet(rng.integers(0, 255, (n, 8, 8, 3)).astype(np.uint8), np.repeat(np.arange(30), n // 30))
    change = {"data.side": 8, "train.samples": r, "train.batch": 64, "train.epochs": 1, "train.iterations": 1}
    for more in ({}, {**FROZEN, "adsh.views": "all"}):
        with LargestResult() as mode:
            make(tmp_path, change, more, train=train).advance()
        assert n * 6 <= mode.largest < n * r / 10


class Half(Worker):
    """One of two workers, without the other."""

    def wrap(self, model: nn.Module) -> nn.Module:
        return model

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor


@pytest.mark.parametrize("augment", ["flip", "crop"])
def test_two_workers_share_every_batch_whatever_its_size(augment: str, log: Log, tmp_path: Path) -> None:
    feed = Feed(image_set([7, 5, 5]), image_set([2, 2, 2]), "hash")
    change = {"data.augment": augment, "train.samples": 17, "train.batch": 5, "train.epochs": 4}
    seen = []
    for rank in range(2):
        log.batches.clear()
        task = RetrievalTask(config(change), 0, Half(feed, tmp_path, rank=rank, world_size=2))
        task.advance()
        seen.append([rows for rows, _ in log.batches])
    assert len(seen[0]) == 4 * 3  # of 17 rows, the last two join the batch before: batch norm needs two a worker
    for epoch in range(4):
        both = [torch.cat(seen[rank][3 * epoch : 3 * epoch + 3]) for rank in range(2)]
        assert sorted(torch.cat(both).tolist()) == list(range(17))
    for mine, theirs in zip(*seen, strict=True):
        assert abs(len(mine) - len(theirs)) <= 1
        assert min(len(mine), len(theirs)) >= 2


@pytest.mark.parametrize("change", [FROZEN, {**WARM, "train.iterations": 1}])
def test_cached_features_give_every_worker_the_run_of_a_single_one(change: dict[str, Any], tmp_path: Path) -> None:
    feed = Feed(image_set([7, 5, 5]), image_set([2, 2, 2]), "hash")
    workers = [Worker(feed, tmp_path), *(Half(feed, tmp_path, rank=rank, world_size=2) for rank in range(2))]
    tasks = [RetrievalTask(config(change), 0, worker) for worker in workers]
    losses = [task.advance()["loss"] for task in tasks]
    assert losses[0] == losses[1] == losses[2]
    for task in tasks[1:]:
        assert all(torch.equal(value, tensors(task)[name]) for name, value in tensors(tasks[0]).items())


def test_shares_of_all_ranks_are_the_batch() -> None:
    feed = Feed(image_set([2, 2]), image_set([1, 1]), "hash")
    for size in (1, 2, 7, 64):
        for world in (1, 2, 3, 5):
            batch = torch.randperm(size)
            parts = [Worker(feed, Path(), rank=rank, world_size=world).share(batch) for rank in range(world)]
            assert sorted(torch.cat(parts).tolist()) == list(range(size))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
