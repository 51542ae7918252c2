"""Each hashing method as a task: a plain second writing of pairwise training, and what all of them have in common."""

import copy
import io
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.core import UserError
from raysearch.models import hashing
from raysearch.models.fcaenet import pool
from raysearch.models.hashing.exchnet import ExchNet
from raysearch.studies.configs import load_object
from raysearch.studies.configs.hashing_methods import HASHING_METHODS
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.retrieval import task as retrieval_task
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.retrieval.shallow_task import ShallowHashingTask
from raysearch.tasks.retrieval.task import RetrievalTask

from .small_runs import FROZEN, SIDE, WARM, Log, config, finish, image_set, make

PLAIN = {"hash.bits": 6, "pairs.per_class": 2, "hashnet.every": 3, "hashnet.growth": 0.5}
FITTED = [name for name in HASHING_METHODS if HASHING_METHODS[name].kind == "fitted"]
PAIRWISE = [name for name in HASHING_METHODS if HASHING_METHODS[name].kind == "pairwise"]
TRAINED = [name for name in HASHING_METHODS if HASHING_METHODS[name].trained]


def fitted(cache: Path, method: str, *changes: dict[str, Any], seed: int = 0) -> ShallowHashingTask:
    feed = Feed(image_set([9, 8, 7]), image_set([3, 3, 3], seed=1), "hash of the data")
    task = retrieval_task.build(config({"hash.method": method, "hash.bits": 4}, *changes), seed, Worker(feed, cache))
    assert isinstance(task, ShallowHashingTask)
    return task


def test_every_method_has_an_implementation() -> None:
    assert list(hashing.METHODS) == FITTED
    for name in TRAINED:
        implementation = HASHING_METHODS[name].implementation
        assert implementation is not None
        assert load_object(implementation).__name__


# ------------------------------------------------------------------------------------------- pairs, a second writing


def pair_loss(task: RetrievalTask, z: Tensor, labels: Tensor, bank: Tensor, everyone: Tensor, step: int) -> Tensor:
    """Loops over pairs, from the papers' formulas."""
    method = task.config.hash.method
    c = z.shape[1]
    terms = []
    if method == "dpsh":
        for i, j in itertools.product(range(len(z)), range(len(bank))):
            theta = (z[i] * bank[j]).sum() / 2
            terms.append(torch.log1p(theta.exp()) - (theta if labels[i] == everyone[j] else 0))
        return sum(terms) / len(terms) + task.config.dpsh.eta * ((z - z.detach().sign()) ** 2).mean()
    pairs = list(itertools.combinations(range(len(z)), 2))
    alike = [bool(labels[i] == labels[j]) for i, j in pairs]
    if method == "dsh":
        margin = task.config.dsh.margin * c
        alpha = task.config.dsh.alpha
        for (i, j), same in zip(pairs, alike, strict=True):
            squared = ((z[i] - z[j]) ** 2).sum()
            terms.append(squared / 2 if same else (margin - squared).clamp(min=0) / 2)
            terms[-1] = terms[-1] + alpha * ((z[i].abs() - 1).abs().sum() + (z[j].abs() - 1).abs().sum())
        return sum(terms) / len(terms)
    given = task.config.hashnet
    beta = math.sqrt(1 + given.growth * (step // given.every * given.every))
    h = torch.tanh(beta * z)
    weights = [len(pairs) / alike.count(same) for same in alike]
    for (i, j), same, weight in zip(pairs, alike, weights, strict=True):
        t = given.alpha / c * (h[i] * h[j]).sum()
        terms.append(weight * (torch.log1p(t.exp()) - (t if same else 0)))
    return sum(terms) / sum(weights)


@pytest.mark.usefixtures("tiny", "double")
@pytest.mark.parametrize("change", [{}, FROZEN], ids=["pixels", "frozen"])
@pytest.mark.parametrize("method", PAIRWISE)
def test_pairwise_training_equals_its_second_writing(
    method: str, change: dict[str, Any], log: Log, tmp_path: Path
) -> None:
    task = make(tmp_path, PLAIN, change, {"hash.method": method, "train.momentum": 0.0, "train.weight_decay": 0.0})
    network = copy.deepcopy(task.network)
    everyone = torch.from_numpy(task.train.labels)
    reports = finish(task)
    bank = torch.zeros(len(everyone), 6)
    losses = []
    network.train(not task.config.model.frozen)
    for step, (rows, _) in enumerate(log.batches):
        z = network(task.train.batch(rows, torch.device("cpu"))).z
        bank[rows] = z.detach()
        loss = pair_loss(task, z, everyone[rows], bank, everyone, step)
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                ours = name.startswith("hash_layer")
                if parameter.grad is not None and (ours or not task.config.model.frozen):
                    parameter.sub_(task.config.train.lr * (task.config.train.hash_lr if ours else 1) * parameter.grad)
        losses.append((float(loss.detach()), len(rows)))
    assert len(losses) == 2 * 2 * 3  # iterations, epochs, batches
    last = losses[-3:]
    assert reports[-2]["loss"] == pytest.approx(sum(loss * rows for loss, rows in last) / 10, rel=1e-9)
    for got, expected in zip(task.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-10)
    network.eval()
    with torch.no_grad():
        z = network(task.train.batch(torch.arange(len(everyone)), torch.device("cpu"))).z
    assert torch.equal(task.codes, torch.where(z >= 0, 1.0, -1.0)), "database and queries are encoded alike"


def test_images_of_a_class_stay_together_in_groups() -> None:
    labels = np.repeat(np.arange(6), [4, 5, 6, 4, 4, 7])
    draws = RunSampler(0, labels)
    sample = torch.arange(30)
    order = draws.grouped(sample, 2, torch.Generator().manual_seed(1))
    assert sorted(order.tolist()) == list(range(30))
    ordered_labels = labels[order.numpy()]
    runs = [len(list(group)) for _, group in itertools.groupby(ordered_labels)]
    assert sum(run == 1 for run in runs) <= 2  # of the two classes of an odd number
    chance = labels[draws.grouped(sample, 0, torch.Generator().manual_seed(1)).numpy()]
    assert (
        sum(a == b for a, b in itertools.pairwise(ordered_labels))
        > sum(a == b for a, b in itertools.pairwise(chance)) + 5
    )


def test_positives_of_the_sample_are_sampled_images() -> None:
    labels = np.repeat(np.arange(4), 5)
    draws = RunSampler(0, labels)
    sample = torch.tensor([0, 3, 5, 11, 12, 14])
    positives_by_seed = [draws.positives(sample, torch.Generator().manual_seed(seed), "sample") for seed in range(30)]
    for positives in positives_by_seed:
        assert (labels[positives.numpy()] == labels[sample.numpy()]).all()
        assert set(positives.tolist()) <= set(sample.tolist())
        assert positives[2] == 5  # alone in the sample
        assert all(a != b for a, b in zip(positives.tolist(), sample.tolist(), strict=True) if b != 5)
    assert {int(positives[3]) for positives in positives_by_seed} == {12, 14}


# ------------------------------------------------------------------------------------------------- fitted to features


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("method", FITTED)
def test_a_fitted_method_is_its_encoder_on_the_backbone_s_features(method: str, tmp_path: Path) -> None:
    task = fitted(tmp_path, method, {"sdh.anchors": 10})
    reports = finish(task)  # type: ignore[arg-type]
    assert len(reports) == 2
    assert reports[0]["epochs"] == 0
    with torch.no_grad():
        pooled = [
            pool(task.network.feature_map(images.batch(torch.arange(len(images)), torch.device("cpu"))))
            for images in (task.train, task.worker.feed.test)
        ]
    options = {"anchors": 10} if method == "sdh" else {}
    encoder = hashing.fit(method, pooled[0], torch.from_numpy(task.train.labels), 4, 0, **options)
    assert torch.equal(task.codes, encoder(pooled[0]))
    queries = encoder(pooled[1])
    scores = []
    for query, label in zip(queries, task.worker.feed.test.labels, strict=True):
        order = (-(task.codes @ query)).sort(stable=True).indices
        hits = (torch.from_numpy(task.train.labels)[order] == label).double()
        scores.append(float((hits * hits.cumsum(0) / torch.arange(1, len(hits) + 1)).sum() / hits.sum()))
    assert reports[-1]["map_index"] == pytest.approx(np.mean(scores))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("method", FITTED)
def test_a_fitted_run_goes_on_from_its_state(method: str, tmp_path: Path) -> None:
    whole = fitted(tmp_path, method)
    whole.advance()
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = fitted(tmp_path / "elsewhere", method)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.done == resumed.steps == 1
    assert resumed.evaluate() == whole.evaluate()


@pytest.mark.usefixtures("tiny")
def test_seeds_of_lsh_are_draws(tmp_path: Path) -> None:
    codes = [fitted(tmp_path, "lsh", {"model.weights": None}, seed=seed) for seed in (0, 0, 1)]
    for task in codes:
        task.advance()
    assert torch.equal(codes[0].codes, codes[1].codes)
    assert not torch.equal(codes[0].codes, codes[2].codes)


@pytest.mark.usefixtures("tiny")
def test_more_bits_than_a_method_can_give_is_said_in_a_line(tmp_path: Path) -> None:
    task = fitted(tmp_path, "itq", {"hash.bits": 9})  # of 5 channels
    with pytest.raises(UserError, match="itq"):
        task.advance()


# ------------------------------------------------------------------------------------------------------- all of them


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("change", [{}, {**WARM, "warmup.iterations": 2}, FROZEN], ids=["pixels", "warm-up", "frozen"])
@pytest.mark.parametrize("method", PAIRWISE)
def test_a_run_goes_on_from_its_state_bit_for_bit(method: str, change: dict[str, Any], tmp_path: Path) -> None:
    changes = (PLAIN, change, {"hash.method": method, "data.validation": 0.4})
    goes_on(lambda cache: make(cache, *changes), tmp_path)


@pytest.mark.usefixtures("tiny")
def test_the_best_iteration_travels_with_the_state(tmp_path: Path) -> None:
    goes_on(lambda cache: make(cache, {"data.validation": 0.4, "train.select": "validation"}), tmp_path)


@pytest.mark.parametrize("change", [{}, {**WARM, "data.validation": 0.4}], ids=["pixels", "warm-up"])
def test_exchnet_goes_on_from_its_state_bit_for_bit(change: dict[str, Any], tmp_path: Path) -> None:
    def exchanging(cache: Path) -> RetrievalTask:
        return make(cache, {"hash.method": "exchnet", "exchnet.align_after": 0.0, "adsh.gamma": 0.0}, change)

    goes_on(exchanging, tmp_path)


def goes_on(build: Any, folder: Path) -> None:
    torch.set_num_threads(1)
    whole = build(folder / "whole")
    expected = finish(whole)
    for stop in range(whole.steps + 1):
        task = build(folder / "whole")
        for _ in range(stop):
            task.advance()
        file = io.BytesIO()
        torch.save(task.state_dict(), file)
        file.seek(0)
        resumed = build(folder / "whole")
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert finish(resumed) == expected[stop:]


def test_exchanges_begin_when_they_are_to_and_anchors_are_class_means(tmp_path: Path) -> None:
    task = make(tmp_path, {"hash.method": "exchnet", "exchnet.align_after": 0.5, "train.samples": 14})
    network = task.network
    assert isinstance(network, ExchNet)
    given: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: given.append(len(inputs)) if network.training else None)
    seen: list[tuple[Tensor, Tensor]] = []
    original = task.method.losses

    def losses(outputs: Any, rows: Tensor) -> dict[str, Tensor]:
        seen.append((rows, outputs.whole.local.detach()))
        return original(outputs, rows)

    task.method.losses = losses  # type: ignore[method-assign]
    task.advance()
    assert set(given) == {1}
    last = seen[len(seen) // 2 :]  # of two epochs
    rows = torch.cat([rows for rows, _ in last])
    local = torch.cat([local for _, local in last])
    labels = torch.from_numpy(task.train.labels)[rows]
    for label in labels.unique():
        torch.testing.assert_close(network.anchors[label], local[labels == label].mean(0), rtol=1e-5, atol=1e-6)
    given.clear()
    task.advance()
    assert set(given) == {3}


@pytest.mark.parametrize("method", TRAINED)
def test_every_trained_method_learns(method: str, tmp_path: Path) -> None:
    """Images of a colour a class; chance is a quarter."""
    torch.set_num_threads(1)
    change = {"hash.method": method, "model.standardise": True, "train.iterations": 6, "train.epochs": 4}
    change |= {"train.samples": 40, "train.batch": 20, "hash.bits": 8, "train.lr": 0.02, "train.hash_lr": 5.0}
    change |= {"srem.regions": 0, "pairs.per_class": 4, "adsh.bit_norm": True}
    sets = {"train": image_set([10, 10, 10, 10]), "test": image_set([5, 5, 5, 5], seed=1)}
    task = make(tmp_path, change, **sets)
    metrics = finish(task)[-1]
    assert metrics["map"] > 0.7, metrics


@pytest.mark.usefixtures("tiny")
def test_the_best_iteration_of_the_held_out_part_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make(tmp_path, {"data.validation": 0.4, "train.select": "validation", "train.iterations": 4})
    planned = iter([0.3, 0.7, 0.7, 0.1])
    monkeypatch.setattr(task.evaluator, "validate", lambda *_: {"map_validation": next(planned)})
    states = []
    for _ in range(4):
        task.advance()
        states.append((copy.deepcopy(task.network.state_dict()), task.codes.clone()))
    monkeypatch.undo()
    used: list[dict[str, Tensor]] = []
    original = task.evaluator.evaluate

    def evaluate(encode: Any, codes: Tensor) -> dict[str, Any]:
        used.append({**copy.deepcopy(task.network.state_dict()), "codes": codes})
        return original(encode, codes)

    monkeypatch.setattr(task.evaluator, "evaluate", evaluate)
    task.evaluate()
    best, codes = states[1]
    assert torch.equal(used[0].pop("codes"), codes)
    assert all(torch.equal(value, best[name]) for name, value in used[0].items())
    assert all(torch.equal(value, states[-1][0][name]) for name, value in task.network.state_dict().items())
    assert task.config.data.side == SIDE
