"""mAP@k as most published programs compute it: the sum of precisions is divided by the relevant items found.

`hamming_metrics` describes ties and rankings, and divides by the relevant items that the best list would have there.
"""

import numpy as np
from scipy.special import gammaln

from raysearch.tasks.metrics import hamming_metrics
from raysearch.tasks.metrics.hamming_metrics import Values
from raysearch.tasks.metrics.ranking import Histograms, Integers, Ranking, blocks


def found_average_precision(ranking: Ranking, k: int) -> Values:
    """Return the average precision (u,) over the first k items, divided by the relevant ones among them.

    Most published programs compute mAP@k so; `average_precision` divides by min(k, relevant items). A query without a
    relevant item among the first k counts as 0. The mean over all orders of tied items is exact. The
    cut may divide a bucket of tied items. The number h of its relevant items before the cut is hypergeometric, and h
    decides the divisor.

    Raises:
        ValueError: k below 1.
    """
    if k < 1:
        raise ValueError(f"k={k} leaves no items; use 1 or more")
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, ranking.database.counts.sum() + 1))])
    values = np.empty(len(ranking.items))
    for rows in blocks(len(values), ranking.bits + 1):
        values[rows] = _found_precision(ranking.items[rows], ranking.relevant[rows], k, harmonic)
    return values


def _found_precision(item_counts: Histograms, relevant_counts: Histograms, k: int, harmonic: Values) -> Values:
    """Return `found_average_precision` of some queries, from their histograms and the harmonic numbers."""
    items = item_counts.astype(np.int64)
    relevant = relevant_counts.astype(np.int64)
    items_before = items.cumsum(1) - items
    buckets = hamming_metrics.Buckets(items, relevant, items_before, relevant.cumsum(1) - relevant, relevant.sum(1))
    whole = items_before + items <= k  # buckets whose items are all among the first k
    span = harmonic[items_before + items] - harmonic[items_before]
    sums = np.where(whole, hamming_metrics.expected_precisions(buckets, items, span), 0.0).sum(1)
    hits = np.where(whole, relevant, 0).sum(1)
    values = sums / np.maximum(hits, 1)
    divided = np.flatnonzero(~whole.all(1))
    first = np.argmax(~whole[divided], axis=1)
    bucket = hamming_metrics.Buckets(
        items=items[divided, first],
        relevant=relevant[divided, first],
        items_before=items_before[divided, first],
        relevant_before=buckets.relevant_before[divided, first],
        total=buckets.total[divided],
    )
    within = k - bucket.items_before
    span = harmonic[bucket.items_before + within] - harmonic[bucket.items_before]
    least = np.maximum(within - (bucket.items - bucket.relevant), 0)
    most = np.minimum(bucket.relevant, within)
    # A row for each query and each number of relevant items that may be before the cut: most buckets allow one.
    query = np.repeat(np.arange(len(divided)), most - least + 1)
    found = np.arange(len(query)) - np.searchsorted(query, query) + least[query]
    # `found` relevant items at random among `within` ranks are a bucket that ends at the cut.
    at_cut = hamming_metrics.Buckets(
        items=within[query],
        relevant=found,
        items_before=bucket.items_before[query],
        relevant_before=bucket.relevant_before[query],
        total=bucket.total[query],
    )
    precisions = sums[divided][query] + hamming_metrics.expected_precisions(at_cut, at_cut.items, span[query])
    probability = _hypergeometric(found, bucket.items[query], bucket.relevant[query], at_cut.items)
    share = probability * precisions / np.maximum(hits[divided][query] + found, 1)
    values[divided] = np.bincount(query, share, minlength=len(divided))
    return values


def _hypergeometric(found: Integers, items: Integers, relevant: Integers, drawn: Integers) -> Values:
    """Return the probability of `found` relevant items among `drawn` ones: `scipy.stats.hypergeom`, 15 times faster."""
    log = _log_choose(relevant, found) + _log_choose(items - relevant, drawn - found) - _log_choose(items, drawn)
    return np.exp(log)


def _log_choose(total: Integers, chosen: Integers) -> Values:
    return gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)
