"""Runs with planted effects, written by the results store as a sweep does; their numbers are drawn, not trained."""

import json
import math
import random
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from raysearch.runs import describe, results
from raysearch.studies.design import Ablation, ablation_plan, component, factor, plan

from ..study_json import write_study_json

TIES = {"map_best_ties": "map@all/relevant-first/test", "map_worst_ties": "map@all/relevant-last/test"}
Effect = Callable[[Mapping[str, Any]], float]  # a variant's declared levels -> its difference from the reference


def ablation(design: str = "one_at_a_time", question: str = "How many regions, and how large?") -> Ablation:
    """A study of each design, over SREM."""
    if design == "leave_one_out":
        parts = [component("SREM", off={"srem.regions": 0}), component("bit norm", off={"adsh.bit_norm": False})]
        return Ablation(question, "retrieval", {"srem.regions": 50, "srem.size": 32}, parts, design="leave_one_out")
    factors = [factor("srem.regions", 0, 10, 50, 100, 150), factor("srem.size", 16, 32, 64, 128)]
    if design == "full":
        factors = [factor("srem.regions", 10, 50, 100), factor("srem.size", 16, 32, 64)]
    reference = {"srem.regions": 50, "srem.size": 32}
    return Ablation(question, "retrieval", reference, factors, design=design, published="fcaenet/tables_3_4_food101")


def write_run(
    run_dir: Path,
    study: Ablation,
    effect: Effect = lambda levels: 0.0,
    seeds: int = 5,
    noise: float = 0.004,
    seed_noise: float = 0.02,
    failing: Callable[[str, int], str | None] = lambda variant, seed: None,
    absent: Callable[[str, int], bool] = lambda variant, seed: False,
    **changes: Any,
) -> Path:
    """Write a run directory.

    Args:
        run_dir: where.
        study: what is asked.
        effect: the planted difference of a variant from the reference.
        seeds: how many.
        noise: spread of a cell around its seed's level, which pairing cannot remove.
        seed_noise: spread of the seeds' levels, which pairing removes.
        failing: (variant, seed) -> the error that a cell fails with.
        absent: (variant, seed) -> whether the cell never ended.
        changes: keys of study.json to set; None removes one.
    """
    planned = ablation_plan.plan_ablation("srem_ablation", study, "laptop", "d" * 64, seeds=seeds)
    rng = random.Random(f"{run_dir.name}")
    level = {seed: rng.gauss(0.0, seed_noise) for seed in planned.seeds}
    for cell in planned.cells:
        value = 0.6 + level[cell.seed] + effect(cell.variant.declared) + rng.gauss(0.0, noise)
        if not absent(cell.variant.name, cell.seed):
            error = failing(cell.variant.name, cell.seed)
            results.write_cell(run_dir / "cells", record(cell, None if error else value, error, rng))
    write_study_json(run_dir, {key: value for key, value in study_json(planned, changes).items() if value is not None})
    return run_dir


def study_json(planned: ablation_plan.AblationPlan, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`study.json` as a sweep writes it."""
    return {
        **describe.describe_ablation(planned).to_dict(),
        "profile_reason": "No GPU and no --data: the laptop profile was taken.",
        "metric_id": "map@all/expected-ties/test",
        "data": {
            "name": "embedded",
            "path": None,
            "content_hash": planned.data,
            "images": 4800,
            "classes": 24,
            "counts": {"train": 3600, "test": 1200},
            "layout": "synthetic",
        },
        "chance": 0.0417,
        "settings": {"overrides": {}},
        "command": "python -m raysearch.sweep srem_ablation --profile laptop",
        "versions": {"raysearch": "0.1.0", "torch": "2.10.0", "ray": "2.60.0", "git": None},
        "feed": [{"side": 64, "mode": "resident", "text": "2,000 at 64 px, 23 MiB decoded, resident: <they> fit"}],
        "hardware": {"cpus": 2, "memory_gb": 8.0, "gpus": 0, "nodes": 1, "processor": "x86_64"},
        "started": "2026-03-02T09:12:04+00:00",
        "ended": "2026-03-02T09:31:40+00:00",
        "wall_seconds": 1176.0,
        "adopted": 0,
    } | dict(changes)


def record(cell: plan.Cell, value: float | None, error: str | None, rng: random.Random) -> dict[str, Any]:
    """One ended cell."""
    regions = cell.variant.config.srem.regions
    history = [
        {
            "iteration": step,
            "phase": "train",
            "loss": 2.2 / (1 + step) + rng.gauss(0.3, 0.03),
            "erased_fraction": min(1.0, regions * cell.variant.config.srem.size**2 / 64**2 / 6),
            "seconds": 5.0,
            "map_validation": (value or 0.5) * (1 - 0.6 / (step + 1)),
        }
        for step in range(6)
    ]
    return {
        "seed": cell.seed,
        "cell": cell.hash,
        "status": "failed" if error else "finished",
        "error": error,
        "config": json.dumps(cell.variant.config.canonical(), sort_keys=True),
        "map": value,
        "map_index": None if value is None else value + 0.003,
        "map_best_ties": None if value is None else value + 0.05,
        "map_worst_ties": None if value is None else value - 0.04,
        "seconds": 30 + 0.05 * regions + rng.random() * 4,
        "gpu_seconds": 0.0,
        "epochs": 24,
        "attempts": 1,
        "data": "d" * 64,
        "code_version": 1,
        "metric_ids": json.dumps({"map": "map@all/expected-ties/test", "map_index": "map@all/index-order/test"} | TIES),
        "history": json.dumps(history),
        "environment": json.dumps({"host": "laptop", "device": "cpu"}),
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run under this test's folder; arguments as `write_run`."""

    def make(name: str = "run", design: str = "one_at_a_time", question: str = "How many?", **options: Any) -> Path:
        return write_run(tmp_path / name, ablation(design, question), **options)

    return make


@pytest.fixture
def make_search(tmp_path: Path) -> Callable[..., Path]:
    """Write a search under this test's folder; arguments as `write_search`."""
    return lambda name="search", **options: write_search(tmp_path / name, **options)


def write_search(
    run_dir: Path,
    trials: int = 40,
    groups: tuple[int, ...] = (),
    metrics: tuple[str, ...] = ("map_validation",),
    gain: float = 0.03,
    judge_seeds: int = 5,
    **changes: Any,
) -> Path:
    """Write a search over a rate, an optional weight, and the number of regions, the rate deciding most of it.

    Args:
        run_dir: where.
        trials: configs of each group; every fifth is stopped early, every thirteenth fails.
        groups: code lengths that are searched each by itself.
        metrics: that are chosen by.
        gain: the planted difference of the best config from the reference on fresh seeds.
        judge_seeds: of the reference and the best config.
        changes: keys of study.json to set; None removes one.
    """
    rng = random.Random(3)
    variants: list[dict[str, Any]] = []
    planned: list[dict[str, Any]] = []
    best: list[dict[str, Any]] = []
    epochs = 0

    def add(name: str, stage: str, seed: int, settings: Mapping[str, Any], **ended: Any) -> None:
        cell = f"{stage}{len(planned):06}"
        if not any(one["name"] == name for one in variants[-2:]):
            variants.append({"name": name, "settings": settings, "declared": settings, "config": {}})
        planned.append({"cell": cell, "variant": name, "seed": seed, "stage": stage})
        results.write_cell(run_dir / "cells", SEARCHED | {"cell": cell, "seed": seed, "config": name} | ended)

    for bits in groups or (None,):
        level = {} if bits is None else {"hash.bits": bits}
        found = []
        for number in range(trials):
            settings: dict[str, Any] = {"train.lr": 10 ** rng.uniform(-4, -1), "srem.regions": rng.randrange(0, 101)}
            if settings["srem.regions"] > 20:
                settings["esrl.erased"] = rng.uniform(0.01, 1.0)
            settings["srem.mask_pass"] = rng.choice(["anchor", "separate"])
            value = 0.6 + (bits or 0) / 1000 - 0.05 * abs(math.log10(settings["train.lr"]) + 2.5) + rng.gauss(0, 0.004)
            status = "failed" if number % 13 == 12 else "stopped" if number % 5 == 4 else "finished"
            steps = {"failed": 0, "stopped": 3, "finished": 8}[status]
            epochs += steps
            history = [{"iteration": s + 1, "map_validation": value * (1 - 0.5 / (s + 1))} for s in range(steps)]
            name = f"{number}: " + ", ".join(f"{path}={level}" for path, level in settings.items())
            name += f" ({bits})" if bits else ""
            add(
                name, "search", 0, level | settings, status=status, epochs=steps, history=json.dumps(history),
                error="the loss is nan in iteration 1" if status == "failed" else None,
                map_validation=value if steps else None, map=value - 0.01 if status == "finished" else None,
                epoch_seconds=1 + settings["srem.regions"] / 20 if steps else None, seconds=steps * 2.0,
            )  # fmt: skip
            if status == "finished":
                found.append((value, name, settings))
        value, name, settings = max(found)
        best.append({"group": bits, "variant": name, "settings": settings, "value": {"map_validation": value}})
        for seed in range(1, judge_seeds + 1):
            seen = 0.55 + rng.gauss(0, 0.02)
            for kind, shift in (("reference", 0.0), ("best", gain)):
                own = f"{kind} (hash.bits={bits})" if bits else kind
                add(own, "judge", seed, level, status="finished", map=seen + shift + rng.gauss(0, 0.002), seconds=16.0)
    study = {
        "kind": "search",
        "study": "fcaenet_search",
        "question": "Which weights, and which rate?",
        "profile": "laptop",
        "profile_reason": "This machine has no GPU.",
        "task": "retrieval",
        "metrics": list(metrics),
        "modes": ["min" if metric == "epoch_seconds" else "max" for metric in metrics],
        "metric": "map",
        "budget": trials,
        "sampler": "tpe",
        "scheduler": "asha",
        "space": {
            "train.lr": "loguniform(0.0001, 0.1)",
            "srem.regions": "randint(0, 101)",
            "esrl.erased": "uniform(0.01, 1), with srem.regions above 20",
            "srem.mask_pass": "choice(['anchor', 'separate'])",
        },
        "group": "hash.bits" if groups else None,
        "factors": ["train.lr", "srem.regions", "esrl.erased", "srem.mask_pass"] + ["hash.bits"] * bool(groups),
        "best": best,
        "epochs": {"run": epochs, "full": 8 * trials * max(1, len(groups))},
        "seeds": [0],
        "variants": variants,
        "cells": planned,
        "data": {"name": "embedded", "content_hash": "d" * 64, "images": 4800, "classes": 24, "layout": "synthetic"},
        "command": "python -m raysearch.sweep fcaenet_search",
        "versions": {"raysearch": "0.1.0"},
        "wall_seconds": 600.0,
    }
    write_study_json(run_dir, {key: value for key, value in (study | changes).items() if value is not None})
    return run_dir


SEARCHED: dict[str, Any] = {
    "error": None, "map_validation": None, "map": None, "epoch_seconds": None, "gpu_seconds": 0.0, "attempts": 1,
    "epochs": 8, "data": "d" * 64, "code_version": 2, "history": "[]",
    "metric_ids": json.dumps({"map": "map@all/expected-ties/test", "map_validation": "map@all/validation"}),
}  # fmt: skip


class Page(HTMLParser):
    """The page as a browser takes it apart: elements, attributes, scripts, data blocks, table cells, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.data: dict[str, Any] = {}
        self.cells: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "wbr", "img"):
            self._open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            key = self.tags[-1][1].get("data-figure")
            if key:
                self.data[key] = json.loads(data)
            else:
                self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.text += data
            if {"td", "th"} & set(self._open):
                self.cells[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return next(row for row in self.cells if row and row[0].replace("\N{NO-BREAK SPACE}", " ").startswith(name))


@pytest.fixture
def parsed() -> Callable[[str], Page]:
    """Take a page apart."""
    return Page
