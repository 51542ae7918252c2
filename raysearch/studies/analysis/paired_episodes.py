"""Variants compared on the episodes that they all met: what one training of each can tell.

Every variant is judged by the same episodes, so the difference on an episode is free of how hard that episode is. Its
interval says which differences other episodes could show of these trained networks; it says nothing of how networks
scatter when they are trained again, which is what comparisons over seeds are for.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

COLUMN = "right_by_episode"  # of the results: queries named right in each episode, as JSON
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
    """Differences in accuracy from the reference, paired by seed and episode.

    Args:
        rows: of what `results.load` returns, of a few-shot study.
        reference: name of the variant that the others are compared with, or variant -> name of its own.

    Returns:
        A row a variant that shares finished seeds with its reference: the number of those, the episodes of each, the
        mean difference over both, and its 95 % interval over episodes (1.96 standard errors of the differences, each
        the mean over seeds). Empty where no cell has kept its episodes.
    """
    by_variant: dict[str, dict[int, np.ndarray]] = {}
    for row in rows:
        if row["status"] == "finished" and row.get(COLUMN):
            right = _numbers(row[COLUMN])
            if right is None or row.get("accuracy") is None:
                continue
            # accuracy is the mean of right over queries, which gives the number of queries
            shares = right * (row["accuracy"] / right.mean()) if right.any() else right
            by_variant.setdefault(row["variant"], {})[row["seed"]] = shares
    compared = []
    for name, own in by_variant.items():
        against = reference if isinstance(reference, str) else reference.get(name)
        others = by_variant.get(against, {}) if against and against != name else {}
        seeds = [seed for seed in own if seed in others and len(others[seed]) == len(own[seed])]
        if not seeds or len({len(own[seed]) for seed in seeds}) > 1:
            continue
        differences = np.mean([own[seed] - others[seed] for seed in seeds], axis=0)
        half = 1.96 * differences.std(ddof=1) / math.sqrt(len(differences))
        delta = float(differences.mean())
        compared.append([name, len(seeds), len(differences), delta, delta - half, delta + half])
    return pa.table([list(column) for column in zip(*compared, strict=True)] or [[]] * len(SCHEMA), schema=SCHEMA)


def _numbers(text: str) -> np.ndarray | None:
    """Of a cell's episodes; None where they cannot be read."""
    try:
        found = np.array(json.loads(text), dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return found if found.ndim == 1 and len(found) > 1 and np.isfinite(found).all() else None
