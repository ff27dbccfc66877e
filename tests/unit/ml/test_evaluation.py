"""Metrics against scikit-learn and by hand; intervals against known variances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from ml.evaluation import (
    METRICS,
    _chunks,
    _Weighted,
    calibration_noise,
    deciles,
    expected_calibration_error,
    measure,
    paired_difference,
)


def sample(rows: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    p = expit(generator.normal(-1.5, 1.2, rows))
    return (generator.random(rows) < p).astype(int), p


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 4)), min_size=3, max_size=60),
)
def test_weighted_metrics_are_those_of_repeated_rows(rows: list[tuple[int, int, int]]) -> None:
    """What the bootstrap computes with weights is what scikit-learn gives for rows repeated so often; with ties."""
    y, p, w = (np.array(column) for column in zip(*rows, strict=True))
    p = (p + 1) / 14
    repeated_y, repeated_p = np.repeat(y, w), np.repeat(p, w)
    if not 0 < repeated_y.sum() < len(repeated_y):
        return
    found = {name: values[0] for name, values in _Weighted(y, p)(w[None, :].astype(float)).items()}
    assert found["roc_auc"] == pytest.approx(roc_auc_score(repeated_y, repeated_p))
    assert found["average_precision"] == pytest.approx(average_precision_score(repeated_y, repeated_p))
    assert found["log_loss"] == pytest.approx(log_loss(repeated_y, repeated_p))
    assert found["brier"] == pytest.approx(brier_score_loss(repeated_y, repeated_p))
    order = np.argsort(-p, kind="stable")
    top = np.repeat(y[order], w[order])[: math.ceil(len(repeated_y) * 0.1)]
    assert found["capture_10"] == pytest.approx(top.sum() / repeated_y.sum())
    assert found["lift_10"] == pytest.approx(top.mean() / repeated_y.mean())


def test_point_estimates_are_those_of_scikit_learn() -> None:
    y, p = sample()
    measured = measure(y, p, draws=0)
    assert measured.roc_auc == roc_auc_score(y, p)
    assert measured.average_precision == average_precision_score(y, p)
    assert measured.log_loss == log_loss(y, p)
    assert measured.brier == brier_score_loss(y, p)
    assert measured.intervals == {}


def test_calibration_error_and_deciles_by_hand() -> None:
    y = np.array([0, 1, 1, 1])
    p = np.array([0.1, 0.2, 0.6, 0.8])
    # Two bins: (0.8, 0.6): mean .7, rate 1; (0.2, 0.1): mean .15, rate .5.
    assert expected_calibration_error(y, p, bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.35)
    first, second = deciles(y, p, bins=2)
    assert [first.lift, first.capture] == pytest.approx([1 / 0.75, 2 / 3])
    assert [second.lift, second.capture] == pytest.approx([0.5 / 0.75, 1])
    y, p = sample()
    assert measure(y, p, draws=0).lift_10 == pytest.approx(deciles(y, p)[0].lift)
    assert [tenth.rows for tenth in deciles(y, p)] == [100] * 10


def test_intervals_are_as_wide_as_theory_says() -> None:
    """Brier score: standard error of a mean; ROC AUC: Hanley & McNeil 1982."""
    y, p = sample(2000)
    intervals = measure(y, p).intervals
    standard_error = np.std((p - y) ** 2) / np.sqrt(len(y))
    assert (intervals["brier"].upper - intervals["brier"].lower) / 2 / 1.96 == pytest.approx(standard_error, rel=0.1)
    auc, positives, negatives = roc_auc_score(y, p), y.sum(), (1 - y).sum()
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    expected = np.sqrt(variance / positives / negatives)
    assert (intervals["roc_auc"].upper - intervals["roc_auc"].lower) / 2 / 1.96 == pytest.approx(expected, rel=0.15)


def test_rows_of_one_customer_are_resampled_together() -> None:
    y, p = sample(300)
    four_y, four_p, who = (np.tile(column, 4) for column in (y, p, np.arange(300)))
    alone = measure(y, p, seed=3).intervals["brier"]
    together = measure(four_y, four_p, who, seed=3).intervals["brier"]
    apart = measure(four_y, four_p, seed=3).intervals["brier"]
    assert together.upper - together.lower == pytest.approx(alone.upper - alone.lower, rel=0.01)
    assert apart.upper - apart.lower == pytest.approx((alone.upper - alone.lower) / 2, rel=0.15)


def test_the_seed_decides_the_interval_and_nothing_else() -> None:
    y, p = sample(300)
    assert measure(y, p, seed=1) == measure(y, p, seed=1)
    assert measure(y, p, seed=1).intervals != measure(y, p, seed=2).intervals
    assert measure(y, p, seed=1).roc_auc == measure(y, p, seed=2).roc_auc


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_is_measured_as_far_as_it_can_be(value: int) -> None:
    measured = measure([value] * 50, np.linspace(0.1, 0.9, 50))
    assert (measured.roc_auc, measured.average_precision, measured.lift_10, measured.capture_10) == (None,) * 4
    assert measured.brier is not None
    assert measured.log_loss is not None
    assert f"all 50 rows have label {value}" in measured.notes[0]
    assert "roc_auc" not in measured.numbers()
    assert all(math.isfinite(number) for number in measured.numbers().values())
    assert paired_difference([value] * 50, np.linspace(0, 1, 50), np.linspace(0, 1, 50)) is None


def test_no_rows_one_row_and_constant_scores() -> None:
    assert measure([], []).notes == ("no rows to test on",)
    assert math.isnan(expected_calibration_error([], []))
    assert math.isnan(calibration_noise([]))
    assert measure([1], [0.3]).rows == 1
    y, _ = sample(200)
    measured = measure(y, np.full(200, 0.3))
    assert measured.roc_auc == 0.5


def test_scores_that_are_not_finite_or_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        measure([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError, match="one length"):
        measure([0, 1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="unknown metric"):
        paired_difference([0, 1], [0.1, 0.2], [0.1, 0.2], "accuracy")


@pytest.mark.parametrize("metric", METRICS)
def test_the_better_model_has_the_advantage(metric: str) -> None:
    y, p = sample(3000)
    worse = expit(np.random.default_rng(5).normal(size=3000) * 2)
    advantage = paired_difference(y, p, worse, metric)
    assert advantage is not None
    assert advantage.lower > 0
    same = paired_difference(y, p, p, metric)
    assert same is not None
    assert (same.estimate, same.lower, same.upper) == (0, 0, 0)


def test_pairing_makes_small_differences_visible() -> None:
    y, p = sample(3000)
    blurred = expit(np.log(p / (1 - p)) + np.random.default_rng(1).normal(0, 0.6, 3000))
    advantage = paired_difference(y, p, blurred)
    own = measure(y, p).intervals["roc_auc"]
    assert advantage is not None
    assert advantage.lower > 0
    assert advantage.upper - advantage.lower < 0.6 * (own.upper - own.lower)


def test_perfect_probabilities_stay_below_the_noise_and_bad_ones_do_not() -> None:
    below = [
        expected_calibration_error(*sample(1500, seed)) <= calibration_noise(sample(1500, seed)[1])
        for seed in range(40)
    ]
    assert 0.85 <= np.mean(below) <= 1
    y, p = sample(1500)
    assert expected_calibration_error(y, np.clip(p * 1.8, 0, 1)) > calibration_noise(p)


def test_a_large_bootstrap_is_bounded() -> None:
    draws = list(_chunks(10_000_000, 1000))
    assert sum(draws) == 200
    assert set(draws) == {1}
    assert sum(_chunks(1000, 1000)) == 1000
    assert sum(_chunks(10_000_000, 50)) == 50
