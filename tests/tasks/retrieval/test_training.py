"""FCAENet in training against a plain second writing of its loop: explicit S, boxes drawn one by one, SGD by hand."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from raysearch.tasks.retrieval.task import RetrievalTask

from .small_runs import FROZEN, SIDE, WARM, Log, finish, make

pytestmark = pytest.mark.usefixtures("tiny")


class SecondWriting:
    """The training loop of the method, slow and plain, on the random choices that a log holds."""

    def __init__(self, task: RetrievalTask) -> None:
        self.config = task.config
        self.images = task.train
        self.labels = torch.from_numpy(task.train.labels)
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
                pooled = self.backbone(self.pixels(torch.arange(len(self.images))))[0]
            self.statistics = pooled.mean(0), pooled.var(0)

    def pixels(self, rows: Tensor) -> Tensor:
        scaled = torch.from_numpy(self.images.images[rows.numpy()]).permute(0, 3, 1, 2).double() / 255
        mean = torch.tensor([0.485, 0.456, 0.406])
        std = torch.tensor([0.229, 0.224, 0.225])
        return (scaled - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    def backbone(self, x: Tensor) -> tuple[Tensor, Tensor]:
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
        srem = self.config.srem
        mask = torch.ones(len(x), 1, SIDE, SIDE)
        grid = srem.grid or SIDE
        ranked = interpolate(maps.detach().mean(1, keepdim=True), (grid, grid), mode="bilinear", align_corners=False)
        for image in range(len(x)):
            order = ranked[image].flatten().sort(descending=True, stable=True).indices
            varies = (maps[image] != maps[image][:, :1, :1]).any()  # a constant map erases nothing
            for position in order[: srem.regions].tolist() if varies else []:
                i = (position // grid) * SIDE // grid
                j = (position % grid) * SIDE // grid
                if srem.center:
                    i = i - srem.size // 2
                    j = j - srem.size // 2
                mask[image, 0, max(i, 0) : max(i + srem.size, 0), max(j, 0) : max(j + srem.size, 0)] = 0
        return mask

    def target(self, u: Tensor, rows: Tensor, rho: float) -> Tensor:
        """Sum over pairs of (u.v - c S)^2 over B n."""
        same = self.labels[rows][:, None] == self.labels
        S = torch.where(same, torch.tensor(1.0), torch.tensor(-rho))
        return (u @ self.codes.T - u.shape[1] * S).square().sum() / (len(rows) * len(self.labels))

    def batch(self, rows: Tensor, positives: Tensor, rho: float, warming: bool) -> tuple[Tensor, dict[str, float]]:
        c = self.codes.shape[1]
        n = len(self.labels)
        given = self.config
        x = self.pixels(rows)
        pooled, maps = self.backbone(x)
        u = self.hash(pooled)
        anchors_alone = warming and given.warmup.views == "anchor"
        kappa_p, kappa_e = (0.0, 0.0) if anchors_alone else (given.esrl.positive, given.esrl.erased)
        views = "anchor" if anchors_alone else given.adsh.views
        use_p = kappa_p > 0 or views == "all"
        use_e = given.srem.regions > 0 and (kappa_e > 0 or views != "anchor")
        others = []
        fraction = 0.0
        if use_p:
            others.append(self.pixels(positives))
        if use_e:
            mask = self.erase(x, maps)
            fraction = 1 - mask.mean().item()
            others.append(x * mask)
        seen = list(self.hash(self.backbone(torch.cat(others))[0]).split(len(rows))) if others else []
        hash_loss = self.target(u, rows, rho)
        relation = torch.zeros(())
        still = given.esrl.stop_gradient
        near = u.detach() if still == "anchor" else u
        far = [view.detach() if still == "others" else view for view in seen]
        if use_p:
            relation = relation + kappa_p * ((near - far[0]) ** 2).sum() / len(rows)
        if use_e:
            relation = relation + kappa_e * ((near - far[-1]) ** 2).sum() / len(rows)
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
        train = self.config.train
        gradients = {}
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
        c = U.shape[1]
        gamma = self.config.adsh.gamma
        for j in range(len(self.labels)):
            for _ in range(self.config.adsh.sweeps):
                for k in range(c):
                    cost = []
                    for bit in (-1.0, 1.0):
                        v = self.codes[j].clone()
                        v[k] = bit
                        S = torch.where(self.labels[sample] == self.labels[j], 1.0, -rho)
                        own = ((v - U[sample == j]) ** 2).sum()
                        if self.config.adsh.pull == "signs":
                            fit = ((U @ v) ** 2).sum() - 2 * c * (S @ (U.sign() @ v))
                        else:
                            fit = ((U @ v - c * S) ** 2).sum()
                        cost.append(float(fit + gamma * own))
                    if cost[0] != cost[1]:
                        self.codes[j, k] = -1.0 if cost[0] < cost[1] else 1.0

    def run(self, log: Log) -> None:
        warm = 0 if self.config.model.frozen else self.config.warmup.iterations
        train = self.config.train
        r = min(self.config.train.samples, len(self.labels))
        epochs = iter(log.epochs(r, train.batch))
        for iteration in range(-warm, train.iterations):
            warming = iteration < 0
            if iteration == 0:
                self.momentum = {}
            drops = [m for m in train.milestones if iteration >= m * train.iterations]
            self.rate = train.lr / 10 ** len(drops)
            # the backbone's batch norm works on its own statistics only where the backbone is trained
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
            if self.config.adsh.outputs == "fresh":
                self.network.eval()
                with torch.no_grad():
                    U = torch.cat([self.hash(self.backbone(self.pixels(sample[i : i + 1]))[0]) for i in range(r)])
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
    "anchors held fixed": {"esrl.stop_gradient": "anchor"},
    "others held fixed": {"esrl.stop_gradient": "others"},
    "positives of the sample": {"esrl.positives": "sample"},
    "fresh outputs": {"adsh.outputs": "fresh"},
    "signs pull": {"adsh.pull": "signs"},
    "normal start": {"adsh.start": "normal"},
    "grid": {"srem.grid": 4},
    "center": {"srem.center": True},
    "standardise": {"model.standardise": True},
    "milestones": {"train.milestones": [0.3, 0.5], "train.iterations": 4, "train.epochs": 1},
    "whole database": {"train.samples": 500},
    "warm-up": WARM,
    "warm-up of all views": {**WARM, "warmup.views": "all", "train.lr": 1e-3},  # larger steps amplify rounding
    "warm-up of all views, all hashed": {**WARM, "warmup.views": "all", "adsh.views": "all", "train.lr": 1e-3},
    "warm-up of a recalibrated backbone": {**WARM, "warmup.recalibrate": True},
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
    assert len(buffers) == 3  # mean, variance and number of batches of the backbone's batch norm
    for name, buffer in buffers.items():
        torch.testing.assert_close(got_buffers[name], buffer)
    assert torch.equal(task.codes, second.codes)


@pytest.mark.usefixtures("double")
def test_variants_differ(tmp_path: Path) -> None:
    """Each switch changes the outcome, or the comparison above would not have seen it."""
    ended = {name: finish(make(tmp_path, change)) for name, change in VARIANTS.items()}
    losses = {name: round(reports[0]["loss"], 9) for name, reports in ended.items()}
    later = {name: round(ended[name][1]["loss"], 9) for name in ("default", "fresh outputs", "signs pull")}
    assert len(set(later.values())) == 3  # they differ from the first update of the codes on
    assert losses["default"] == losses.pop("fresh outputs") == losses.pop("signs pull")
    assert losses["no regions"] == losses.pop("no erased")  # two ways to leave out the erased views
    assert losses["default"] == losses.pop("sweeps")  # the first iteration's loss is before the first sweep
    assert losses["warm-up"] == losses.pop("warm-up and milestones")
    assert len(set(losses.values())) == len(losses)


@pytest.mark.usefixtures("double")
def test_the_rest_after_validation_has_features_of_its_own(tmp_path: Path) -> None:
    for share in (0.0, 0.3):  # one cache directory: the share is part of the key
        task = make(tmp_path, FROZEN, {"data.validation": share})
        statistics = SecondWriting(task).statistics
        norm = task.network.hash_layer.standardise
        assert statistics is not None
        assert norm is not None
        torch.testing.assert_close(norm.running_mean, statistics[0])
