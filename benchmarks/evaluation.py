"""Compare the cost of retrieval metrics: tie-aware mAP from histograms with the usual loop of argsorts, and at scale.

    python benchmarks/evaluation.py [--quick]

At CUB-200-2011's size (5,794 queries, 5,994 items, 200 classes, 48 bits) both sides get the same codes. The loop takes
one query at a time: distances by an inner product in float32, `np.argsort`, relevance in that order, average precision.
Codes are drawn in two ways:

trained     an item has the code of its class, except that half of the items in one class of fifty have another; a query
            has it with 15 % of the bits flipped, which is typical of a network's signs
different   30 % of the bits of queries and of items are flipped, and no two items have the same code

The loop's figure belongs to one order of the tied items. So it is between the worst and the best, and a stable sort
gives that of index order. Without ties all are equal. The script checks this.

Then a separate process ranks VegFru (116,931 queries, 29,200 items, 292 classes, 48 bits, no two items of one code)
and measures its seconds and its peak resident memory, interpreter and torch included. The last line is JSON: the
ratios, the seconds of the best of the repeats with the ratios of their slowest and fastest, and the figures at scale.
"""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from script import HIDDEN, make_parser, print_figures, run_again

from raysearch.tasks.metrics import Ranking, average_precision, mean_average_precision, precision_by_radius, r_precision

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # query codes and labels, item codes and labels
QUERY_FLIPS = 0.15
FLIPS_WHEN_DIFFERENT = 0.3


@dataclass(frozen=True)
class Size:
    """The sizes of a database and its queries."""

    queries: int
    items: int
    classes: int
    bits: int = 48


CUB = Size(5794, 5994, 200)
VEGFRU = Size(116_931, 29_200, 292)
QUICK_CUB = Size(1000, 1200, 40)
QUICK_VEGFRU = Size(4000, 3000, 30)


def trained_codes(size: Size, seed: int = 0) -> Data:
    """Draw about one code per class, and queries near it, as float32, which is fastest for the loop."""
    rng, class_codes, query_labels, labels = _classes(size, seed)
    queries = _flipped(rng, class_codes[query_labels], QUERY_FLIPS)
    items = class_codes[labels]
    items[(labels % 50 == 0) & (np.arange(size.items) % 2 == 0), 0] *= -1
    return queries, query_labels, items, labels


def distinct_codes(size: Size, seed: int = 0) -> Data:
    """Draw a code of its own for every item."""
    rng, class_codes, query_labels, labels = _classes(size, seed)
    queries = _flipped(rng, class_codes[query_labels], FLIPS_WHEN_DIFFERENT)
    items = _flipped(rng, class_codes[labels], FLIPS_WHEN_DIFFERENT)
    while len(repeated := _repeated(items)):
        items[repeated] = _flipped(rng, class_codes[labels[repeated]], FLIPS_WHEN_DIFFERENT)
    return queries, query_labels, items, labels


def untied_codes(bits: int = 48, seed: int = 0) -> Data:
    """Draw an item at each distance from either of two queries, in random order."""
    rng = np.random.default_rng(seed)
    distances = rng.permutation(bits + 1)
    items = np.where(np.arange(bits) < distances[:, None], -1, 1).astype(np.float32)
    queries = np.stack([np.ones(bits), -np.ones(bits)]).astype(np.float32)
    return queries, np.array([0, 1]), items, rng.integers(3, size=bits + 1)


def _classes(size: Size, seed: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    class_codes = rng.choice(np.array([-1, 1], np.float32), (size.classes, size.bits))
    # Items are sorted by class, as in CUB and VegFru.
    return (
        rng,
        class_codes,
        np.sort(np.arange(size.queries) % size.classes),
        np.sort(np.arange(size.items) % size.classes),
    )


def _flipped(rng: np.random.Generator, codes: np.ndarray, share: float) -> np.ndarray:
    return np.where(rng.random(codes.shape, np.float32) < share, -codes, codes)


def _repeated(codes: np.ndarray) -> np.ndarray:
    first = np.unique(codes, axis=0, return_index=True)[1]
    return np.setdiff1d(np.arange(len(codes)), first)


def argsort_loop(
    query_codes: np.ndarray, query_labels: np.ndarray, codes: np.ndarray, labels: np.ndarray, kind: Any = None
) -> float:
    """Compute mAP in the usual way: sort each query's list, with ties in the order that the sort leaves.

    Args:
        query_codes: (m, c) in {-1, +1}.
        query_labels: (m,).
        codes: (n, c) in {-1, +1}.
        labels: (n,).
        kind: the sort of `np.argsort`.
    """
    bits = codes.shape[1]
    total = 0.0
    for code, label in zip(query_codes, query_labels, strict=True):
        distance = 0.5 * (bits - codes @ code)
        relevant = (labels == label)[np.argsort(distance, kind=kind)]
        ranks = np.flatnonzero(relevant) + 1
        if len(ranks):
            total += float(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return total / len(query_codes)


def check(name: str, data: Data, loop: float) -> dict[str, float]:
    """Compute mAP for each treatment of ties; exit if the loop's figure does not fit them."""
    value = {ties: mean_average_precision(*data, ties=ties) for ties in ("expected", "index", "best", "worst")}
    sample = slice(None, None, max(1, len(data[0]) // 500))
    sampled = data[0][sample], data[1][sample], data[2], data[3]
    stable = argsort_loop(*sampled, kind="stable")
    index = mean_average_precision(*sampled, ties="index")
    if not value["worst"] - 1e-9 <= loop <= value["best"] + 1e-9 or abs(stable - index) > 1e-9:
        raise SystemExit(
            f"{name}: the loop's {loop} (stable {stable}) does not fit {value} (index {index}); "
            "compare argsort_loop with mean_average_precision"
        )
    return {"map_argsort": loop, **{f"map_{ties}": mean for ties, mean in value.items()}}


def compare(name: str, data: Data, repeats: int) -> dict[str, Any]:
    """Time both sides in turn, and print a line; return the figures of the JSON line.

    The histograms are fast, so each turn takes the best of five runs of them.
    """
    loops = []
    histograms = []
    spread = []
    loop = 0.0
    for _ in range(repeats):
        seconds, loop = _timed(lambda: argsort_loop(*data))
        turn = min(_timed(lambda: mean_average_precision(*data))[0] for _ in range(5))
        loops.append(seconds)
        histograms.append(turn)
        spread.append(seconds / turn)
    index = min(_timed(lambda: mean_average_precision(*data, ties="index"))[0] for _ in range(repeats))
    figures = check(name, data, loop)
    ratio = min(loops) / min(histograms)
    print(
        f"{name:10} argsort loop {1000 * min(loops):7.1f} ms   tie-aware mAP {1000 * min(histograms):6.1f} ms   "
        f"{ratio:5.1f} times (turns {min(spread):.1f} to {max(spread):.1f})   index order {1000 * index:6.1f} ms   "
        f"mAP {loop:.4f}, {figures['map_expected']:.4f} expected",
        flush=True,
    )
    return {
        "ratio": ratio,
        "ratio_low": min(spread),
        "ratio_high": max(spread),
        "loop_seconds": min(loops),
        "histogram_seconds": min(histograms),
        "index_order_seconds": index,
        **figures,
    }


def at_scale(size: Size) -> None:
    """Rank a data set once, compute every metric, and print the cost as JSON; runs in a process of its own."""
    data = distinct_codes(size)
    before = _peak()
    seconds, ranking = _timed(lambda: Ranking.from_codes(*data))
    mean, value = _timed(lambda: ranking.mean(average_precision(ranking)))
    metrics = r_precision, precision_by_radius
    others, _ = _timed(lambda: [ranking.mean(metric(ranking)) for metric in metrics])
    peak = _peak()
    index, index_value = _timed(lambda: ranking.mean(average_precision(ranking, "index")))
    figures = {
        "seconds": seconds + mean,
        "peak_mib": peak,
        "peak_mib_before": before,
        "other_figures_seconds": others,
        "index_order_seconds": index,
        "peak_mib_with_index_order": _peak(),
        "distinct_codes": len(ranking.database.codes),
        "map_expected": value,
        "map_index": index_value,
    }
    print_figures(figures)


def in_own_process(size: Size) -> dict[str, float]:
    """Run `at_scale` in a process of its own, and return its figures; exit if it fails."""
    return run_again(__file__, ["--at-scale", json.dumps(asdict(size))], "at scale")


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _peak() -> float:
    """Return the peak memory of this process in MiB. Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="a fifth of CUB's size, and a tenth of VegFru's")
    parser.add_argument("--repeats", type=int, default=5, help="turns of both sides")
    parser.add_argument("--at-scale", help=HIDDEN)
    arguments = parser.parse_args()
    if arguments.at_scale:
        at_scale(Size(**json.loads(arguments.at_scale)))
        return
    small, large = (QUICK_CUB, QUICK_VEGFRU) if arguments.quick else (CUB, VEGFRU)
    load = os.getloadavg()[0]
    print(f"{small}, numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}")
    equal = untied_codes()
    loop = argsort_loop(*equal)
    if any(abs(mean_average_precision(*equal, ties=ties) - loop) > 1e-9 for ties in ("expected", "best", "worst")):
        raise SystemExit("the sides differ without ties; compare argsort_loop with mean_average_precision")
    trained = compare("trained", trained_codes(small), arguments.repeats)
    different = compare("different", distinct_codes(small), arguments.repeats)
    scale = in_own_process(large)
    print(
        f"{large}\n  tie-aware mAP {scale['seconds']:.1f} s, peak {scale['peak_mib']:.0f} MiB resident "
        f"({scale['peak_mib_before']:.0f} before it), index order {scale['index_order_seconds']:.1f} s more"
    )
    ratios = {
        "trained_ratio_loop_over_histograms": trained["ratio"],
        "different_ratio_loop_over_histograms": different["ratio"],
        "scale_seconds": scale["seconds"],
        "scale_peak_gib": scale["peak_mib"] / 1024,
    }
    print_figures({**ratios, "load": load, "trained": trained, "different": different, "scale": scale})


if __name__ == "__main__":
    main()
