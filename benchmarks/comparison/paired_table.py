"""The table that the other programs need: paired differences to the reference, intervals, and Holm's correction."""

import statistics

from scipy import stats


def print_table(accuracies, reference):
    """Print a row for each variant; `accuracies` is variant -> seed -> accuracy."""
    base = accuracies[reference]
    rows = []
    for variant, of_seed in accuracies.items():
        seeds = sorted(of_seed.keys() & base.keys())
        if variant != reference and len(seeds) > 1:
            test = stats.ttest_rel([of_seed[seed] for seed in seeds], [base[seed] for seed in seeds])
            interval = test.confidence_interval(0.95)
            difference = statistics.mean(of_seed[seed] - base[seed] for seed in seeds)
            rows.append((test.pvalue, variant, difference, interval.low, interval.high, len(seeds)))
    rows.sort()
    adjusted = 0.0
    print(f"{'variant':12} {'difference':>10} {'95% interval':>20} {'p (Holm)':>8} {'seeds':>5}")
    for rank, (p, variant, difference, low, high, seeds) in enumerate(rows):
        adjusted = max(adjusted, min(1.0, p * (len(rows) - rank)))
        print(f"{variant:12} {difference:+10.4f} {f'{low:+.4f} to {high:+.4f}':>20} {adjusted:8.4f} {seeds:5}")
