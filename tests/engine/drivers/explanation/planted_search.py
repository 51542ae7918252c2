"""A search with a planted answer: which of its settings matter is known."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

from dashboards.explanation.view import ExplanationView, explanation_view
from raysearch.runs import results
from raysearch.studies.design import Search

PATHS = [
    "train.lr",
    "warmup.lr",
    "adsh.gamma",
    "esrl.positive",
    "esrl.erased",
    "train.batch",
    "train.iterations",
    "train.epochs",
]
REFERENCE = dict(zip(PATHS, [1e-3, 3e-3, 200.0, 0.1, 0.1, 64, 40, 20], strict=True))
BEST = dict(zip(PATHS, [2e-3, 6e-3, 100.0, 0.2, 0.05, 32, 20, 10], strict=True))
EFFECTS = {"adsh.gamma": 0.05, "train.lr": 0.03, "train.batch": 0.02}


def value_at(config: Mapping[str, Any], path: str) -> Any:
    section, name = path.split(".")
    return config[section][name]


def planted(effects: Mapping[str, float], noise: float = 0.002, salt: str = "") -> Any:
    """Return a score: each path at the value of the best config adds its effect; a seed shifts every config alike."""

    def _score(config: Mapping[str, Any], seed: int) -> float:
        gained = sum(effect for path, effect in effects.items() if value_at(config, path) == BEST[path])
        made = [path for path in PATHS if value_at(config, path) == BEST[path]]
        return (
            0.5
            + gained
            + random.Random(f"{salt} {seed}").gauss(0, 0.02)
            + random.Random(f"{salt} {seed} {made}").gauss(0, noise)
        )

    return _score


def make_search(paths: list[str] = PATHS, **changed: Any) -> Search:
    given: dict[str, Any] = {
        "question": "Which?",
        "task": "retrieval",
        "space": {path: tune.choice([REFERENCE[path], BEST[path]]) for path in paths},
        "reference": {path: REFERENCE[path] for path in paths},
        "starts": [{path: BEST[path] for path in paths}],
        "trials": 1,
        "judge_seeds": 5,
        "scheduler": None,
        "sampler": "random",
    }
    return Search(**given | changed)


def view_of(run: Path) -> ExplanationView:
    return explanation_view(results.read_study(run), results.load(run))
