"""Skewed differences: scipy's tests as a second opinion, and the error rates of both tests by simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from raysearch.studies.analysis import skewness


def test_skewness_is_scipys_and_its_p_value_is_close_to_dagostinos():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.gamma(2.0, size=20)
        tested = skewness.check({"a": values})["a"]
        assert tested.skewness == pytest.approx(stats.skew(values))
        expected = stats.skewtest(values).pvalue
        assert tested.p == pytest.approx(expected, abs=0.015)
        assert skewness.check({"a": -values})["a"].p == tested.p


def test_holm_corrects_over_the_comparisons():
    values = np.random.default_rng(1).gamma(1.0, size=(3, 12))
    single = sorted(skewness.skewness_p(list(sample)) for sample in values)
    together = sorted(row.p for row in skewness.check(dict(enumerate(values))).values())
    assert together[0] == pytest.approx(min(1.0, 3 * single[0]))


@pytest.mark.parametrize("seeds", [5, 12])
def test_normal_differences_warn_in_one_study_of_twenty(seeds: int):
    rng = np.random.default_rng(2)
    warned = 0
    for _ in range(400):
        differences = rng.normal(size=(7, seeds)) - rng.normal(size=seeds)  # a common reference
        warned += any(row.is_skewed for row in skewness.check(dict(enumerate(differences)), 10**9).values())
    assert warned <= stats.binom.ppf(0.999, 400, 0.05)
    assert warned >= stats.binom.ppf(0.001, 400, 0.025)


def test_a_long_tail_is_found_with_twenty_seeds():
    rng = np.random.default_rng(3)
    warned = [
        any(row.is_skewed for row in skewness.check(dict(enumerate(rng.exponential(size=(7, 20)))), 10**9).values())
        for _ in range(100)
    ]
    assert np.mean(warned) > 0.85


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_sign_flips_are_counted(seeds: int):
    values = np.random.default_rng(seeds).normal(0.4, 1.0, seeds)
    sums = [np.dot(signs, values) for signs in itertools.product([-1, 1], repeat=seeds)]
    expected = np.mean(np.abs(sums) >= abs(values.sum()) - 1e-12)
    assert skewness.sign_flip_p(values) == expected
    exact = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert skewness.sign_flip_p(values) == pytest.approx(exact.pvalue)


def test_flips_that_differ_by_rounding_alone_count_as_equal():
    assert skewness.sign_flip_p([0.1, 0.2, -0.3, 0.0]) == 1.0
    assert skewness.sign_flip_p([0.1] * 10) == 2 / 1024  # ten times 0.1 adds up to less than 1


def test_many_seeds_draw_their_flips_and_agree_with_the_t_test():
    values = np.random.default_rng(4).normal(0.3, 1.0, 40)
    assert skewness.sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue, abs=0.01)
    assert skewness.sign_flip_p(values) == skewness.sign_flip_p(values)


def test_no_verdict_is_offered_that_the_seeds_do_not_allow():
    values = {"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    assert skewness.check(values)["a"].sign_flip_p == 2 / 64
    assert skewness.check(values, comparisons=2)["a"].sign_flip_p is None
    assert skewness.check({"a": [1.0, 2.0, 3.0]})["a"] == skewness.Skewness(None, None, None)
    assert skewness.check({"a": [1.0] * 6})["a"].p is None
    assert skewness.check({}) == {}
