"""Drift and decay against pandas and by hand, and what is asked of them where there is little or nothing to see."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.monitoring import Bins, Limits, as_numbers, drift, limits_of_decay, wape
from ml.plots import drifts, skill_over_time


def psi_of_pandas(reference: "pd.Series[float]", current: "pd.Series[float]", bins: int = 10) -> float:
    """The index by pandas' own quantiles and cut, half a row in each bin."""
    inner = reference.quantile([step / bins for step in range(1, bins)]).drop_duplicates()
    edges = [-math.inf, *inner, math.inf]

    def shares(values: "pd.Series[float]") -> list[float]:
        counts = pd.cut(values, edges, labels=False).value_counts().reindex(range(len(edges) - 1), fill_value=0)
        filled = [float(count) + 0.5 for count in (*counts, values.isna().sum())]
        return [count / sum(filled) for count in filled]

    return sum((q - p) * math.log(q / p) for p, q in zip(shares(reference), shares(current), strict=True))


@pytest.fixture
def reference() -> "pd.Series[float]":
    values = pd.Series(np.random.default_rng(1).gamma(2, 30, 5000)).round(1)
    values.iloc[:400] = np.nan
    return values


def test_the_index_is_that_of_pandas(reference: "pd.Series[float]") -> None:
    current = reference.sample(2000, random_state=3) * 1.2
    expected = psi_of_pandas(reference, current)
    found = Bins.of(as_numbers(reference), 10).psi(as_numbers(current))
    assert found == pytest.approx(expected) and expected > 0.03
    # Eleven bins with the one of NULL.
    assert drift(reference, current) == pytest.approx(expected - 3 * 10 * (1 / 5000 + 1 / 2000))


def test_two_samples_of_one_population_do_not_drift(reference: "pd.Series[float]") -> None:
    for seed in range(20):
        assert drift(reference, reference.sample(300, random_state=seed)) == 0


@pytest.mark.parametrize(
    "change, least",
    [
        (lambda values: values * 0, 1),
        (lambda values: values * np.nan, 1),
        (lambda values: values.where(values.index % 2 == 0), 0.25),
        (lambda values: values * 2, 0.25),
        (lambda values: values.mask(values.index % 2 == 0, np.inf), 0.25),
    ],
)
def test_a_feature_that_breaks_drifts(reference: "pd.Series[float]", change: object, least: float) -> None:
    found = drift(reference, change(reference))  # type: ignore[operator]
    assert found is not None and found > least


def test_a_constant_feature_does_not_drift_until_it_changes() -> None:
    constant = pd.Series([7.0] * 500)
    assert drift(constant, constant.head(300)) == pytest.approx(0, abs=0.001)  # half a row weighs more among fewer
    changed = drift(constant, pd.Series([8.0] * 300))
    assert changed is not None and changed > 5
    assert drift(pd.Series([np.nan] * 500), pd.Series([np.nan] * 300)) == pytest.approx(0, abs=0.01)


def test_yes_and_no_are_numbers_and_a_share_that_doubles_drifts() -> None:
    reference = pd.Series([True] * 100 + [False] * 900)
    assert drift(reference, pd.Series([True] * 50 + [False] * 450)) == 0
    doubled = drift(reference, pd.Series([True] * 150 + [False] * 350))
    assert doubled is not None and doubled > 0.2


def test_a_group_that_was_not_there_before_drifts() -> None:
    """Such as a segment of a new number, beyond all that were."""
    reference = pd.Series(np.repeat([1, 2, 3], 300))
    assert drift(reference, pd.Series(np.repeat([1, 2, 3], 100))) == 0
    found = drift(reference, pd.Series(np.repeat([1, 2, 3, 4], [100, 100, 50, 50])))
    assert found is not None and found > 0.25


def test_an_empty_bin_counts_the_same_however_many_rows_there_are() -> None:
    """A day on which all shops are closed empties a bin of a small company and of a large one."""

    def found(customers: int) -> float:
        days_since = np.arange(20.0).repeat(customers // 20)
        return Bins.of(days_since, 20).psi(np.where(days_since == 7, 8, days_since))

    assert found(2_000_000) == pytest.approx(found(20_000), rel=0.02)
    assert found(2_000_000) > 0.25


def test_a_day_without_rows_says_nothing(reference: "pd.Series[float]") -> None:
    assert drift(reference, reference.head(0)) is None
    assert drift(reference.head(0), reference) is None


def test_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="high"):
        drift(pd.Series([1.0, 2.0]), pd.Series(["high", "low"]))


@given(
    st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=1, max_size=60),
    st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=1, max_size=60),
)
def test_the_index_is_never_negative_and_the_order_of_rows_makes_no_difference(
    reference: list[float | None], current: list[float | None]
) -> None:
    first, second = pd.Series(reference, dtype="float64"), pd.Series(current, dtype="float64")
    bins, values = Bins.of(as_numbers(first), 10), as_numbers(second)
    assert bins.psi(values) >= 0 and math.isfinite(bins.psi(values))
    assert drift(first, second) == drift(first[::-1], second[::-1])


@pytest.mark.parametrize(
    "limits, value, status",
    [
        (Limits(0.25, 1), 0.25, "ok"),
        (Limits(0.25, 1), 0.26, "warn"),
        (Limits(0.25, 1), 1.0, "warn"),
        (Limits(0.25, 1), 1.01, "block"),
        (Limits(0.25, 1), math.nan, "block"),
        (Limits(0.76, 0.58, is_lower=True), 0.8, "ok"),
        (Limits(0.76, 0.58, is_lower=True), 0.75, "warn"),
        (Limits(0.76, 0.58, is_lower=True), 0.5, "block"),
        (Limits(0.76, 0.58, is_lower=True), math.nan, "block"),
    ],
)
def test_beyond_one_limit_it_warns_and_beyond_the_other_it_blocks(limits: Limits, value: float, status: str) -> None:
    assert limits.status(value) == status


def test_limits_of_decay_are_shares_of_the_skill() -> None:
    # An area of .9 is .4 above chance: a quarter of that gone leaves .8, three quarters .6.
    for metric, expected, warn, block in (
        ("roc_auc", 0.9, 0.8, 0.6),
        ("spearman", 0.8, 0.6, 0.2),
        ("wape", 0.06, 0.08, 0.24),
    ):
        limits = limits_of_decay(metric, expected, 0.25, 0.75)
        assert limits is not None and limits.is_lower == (metric != "wape")
        assert limits.warn == pytest.approx(warn) and limits.block == pytest.approx(block)
    assert limits_of_decay("roc_auc", 0.5, 0.25, 0.75) is None, "no skill, nothing to lose"


def test_wape_is_the_one_by_hand() -> None:
    assert wape(pd.Series([10.0, 20.0, 0.0]), pd.Series([12.0, 15.0, 2.0])) == pytest.approx(9 / 30)
    assert wape(pd.Series([0.0]), pd.Series([1.0])) is None


# Pictures -----------------------------------------------------------------------------------------


def test_pictures_are_drawn_the_same_each_time() -> None:
    found = pd.DataFrame(
        [
            (model, kind, metric, value, 0.25, 1.0)
            for model in ("churn", "value")
            for kind, metric, value in (("score_drift", "score", 0.4), ("feature_drift", "recency_days", 0.05))
        ],
        columns=["model", "kind", "metric", "value", "warn_limit", "block_limit"],
    )
    days = pd.to_datetime(["2017-11-05", "2017-11-12", "2017-11-19"])
    matured = pd.DataFrame({"model": "churn", "metric": "roc_auc", "compared_with": days, "value": [0.85, 0.84, 0.7]})
    matured = matured.assign(expected=0.85, warn_limit=0.76, block_limit=0.59)
    pictures = [(drifts("What drifts most", found), skill_over_time("What became", matured)) for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures[0])
