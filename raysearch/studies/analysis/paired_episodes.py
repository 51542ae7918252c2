"""Variants compared on the episodes that all of them were evaluated on: what one training of each can show.

Every variant is evaluated on the same episodes, so the difference on an episode does not depend on how hard the episode
is. The interval covers other episodes with these trained networks. It does not cover training the networks again:
comparisons over seeds do.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import special

from raysearch.studies.analysis import t_tests

COLUMN = "right_by_episode"  # of the results: correct queries in each episode, as JSON
SCORES = "score_by_item"  # of imported results: the score of each test item, in one order for all cells, as JSON
SCHEMA = pa.schema(
    {
        "variant": pa.string(),
        "seeds": pa.int64(),
        "episodes": pa.int64(),
        "delta": pa.float64(),
        "delta_low": pa.float64(),
        "delta_high": pa.float64(),
    }
)


def compare(rows: Iterable[Mapping[str, Any]], reference: str | Mapping[str, str]) -> pa.Table:
    """Return differences in accuracy from the reference, paired by seed and episode.

    Args:
        rows: the rows of the table that `results.load` returns, of a few-shot study.
        reference: name of the variant that the others are compared with, or variant -> name of its own reference.

    Returns:
        One row per variant that shares finished seeds with its reference: the number of those seeds, the episodes per
        seed, the mean difference over both, and its 95 % interval over episodes (1.96 standard errors of the
        differences, each the mean over seeds; with fewer than 30 episodes Student's quantile). The interval is null
        where all episodes have the same difference. Empty where no cell has stored its episodes.
    """
    by_variant: dict[str, dict[int, np.ndarray]] = {}
    for row in rows:
        shares = _shares_of(row) if row["status"] == "finished" else None
        if shares is not None:
            by_variant.setdefault(row["variant"], {})[row["seed"]] = shares
    compared = []
    for name, by_seed in by_variant.items():
        reference_name = reference if isinstance(reference, str) else reference.get(name)
        is_reference = not reference_name or reference_name == name
        reference_by_seed = {} if is_reference else by_variant.get(str(reference_name), {})
        seeds = [
            seed for seed in by_seed if seed in reference_by_seed and len(reference_by_seed[seed]) == len(by_seed[seed])
        ]
        if not seeds or len({len(by_seed[seed]) for seed in seeds}) > 1:
            continue
        differences = np.mean([by_seed[seed] - reference_by_seed[seed] for seed in seeds], axis=0)
        delta = float(differences.mean())
        bounds: tuple[float | None, float | None] = (None, None)
        if t_tests.has_spread(differences.tolist(), 1.0):
            episodes = len(differences)
            quantile = 1.96 if episodes >= 30 else float(special.stdtrit(episodes - 1, (1 + t_tests.LEVEL) / 2))
            half_width = quantile * float(differences.std(ddof=1)) / math.sqrt(episodes)
            bounds = (delta - half_width, delta + half_width)
        compared.append([name, len(seeds), len(differences), delta, *bounds])
    return pa.table([list(column) for column in zip(*compared, strict=True)] or [[]] * len(SCHEMA), schema=SCHEMA)


def _shares_of(row: Mapping[str, Any]) -> np.ndarray | None:
    """Return the accuracy in each episode of a cell, or its score of each item; None if it has stored neither."""
    if row.get(SCORES):
        return _parse_counts(row[SCORES])
    correct = _parse_counts(row[COLUMN]) if row.get(COLUMN) else None
    if correct is None or row.get("accuracy") is None:
        return None
    # The accuracy is the mean of correct / queries, so it gives the number of queries.
    return correct * (row["accuracy"] / correct.mean()) if correct.any() else correct


def _parse_counts(text: str) -> np.ndarray | None:
    """Return the numbers of a cell's episodes; None if they cannot be read."""
    try:
        counts = np.array(json.loads(text), dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return counts if counts.ndim == 1 and len(counts) > 1 and np.isfinite(counts).all() else None
