"""The challenge in customer value: metrics against hand-made cases, the gate and its mutants, what comes out."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ml.artefact import sha256_of
from ml.decision import PERFORMANCE_COLUMNS
from ml.evaluation import Interval
from ml.value import ValueModel
from ml.value_challenge import (
    backtest_value,
    challenge_value,
    decide_value,
    measure_value,
    value_advantage,
    value_holdout_times,
)
from ml.value_specification import ValueRule, ValueSpecification
from tests.unit.ml.value_frames import FIRST, SMALL, make_days, make_value_rows, make_value_specification

AS_OF = FIRST + pd.Timedelta(days=196)


@pytest.fixture(scope="module")
def spec() -> ValueSpecification:
    return make_value_specification()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_value_rows(*make_days(400, seed=7))


def test_metrics_of_a_case_by_hand() -> None:
    """Four customers; the forecast confuses the first two.

    Captured shares are 1/10, 6/10, 9/10 and 10/10 against 5/10, 6/10, 9/10, 10/10 at best (values 1, 5, 3, 1): areas
    by trapezoid less one half.
    """
    found = measure_value([1, 5, 3, 1], [9, 6, 4, 1], [0, 0, 4, 0], [2, 6, 9, 1], draws=0)
    gini = (0.1 / 2 + 0.35 + 0.75 + 0.95) / 4 - 0.5
    best = (0.5 / 2 + 0.65 + 0.85 + 0.95) / 4 - 0.5
    assert found["normalised_gini"].estimate == pytest.approx(gini / best)
    assert found["spearman"].estimate == pytest.approx(spearmanr([1, 5, 3, 1], [9, 6, 4, 1])[0])
    assert found["bias"].estimate == pytest.approx(20 / 10 - 1)
    assert found["mae"].estimate == pytest.approx((8 + 1 + 1 + 0) / 4)
    assert found["coverage_80"].estimate == 0.75


def test_ties_count_as_their_mean_order() -> None:
    generator = np.random.default_rng(0)
    actual, predicted = generator.integers(0, 6, 200), generator.integers(0, 4, 200)
    found = measure_value(actual, predicted, draws=0)
    assert found["spearman"].estimate == pytest.approx(spearmanr(actual, predicted)[0])
    # The same in any order of the rows, and nothing from a forecast that tells nobody from anybody.
    order = generator.permutation(200)
    assert measure_value(actual[order], predicted[order], draws=0)["normalised_gini"].estimate == pytest.approx(
        found["normalised_gini"].estimate
    )
    flat = measure_value(actual, np.ones(200), draws=0)
    assert flat["normalised_gini"].estimate == pytest.approx(0) and math.isnan(flat["spearman"].estimate)
    assert measure_value(actual, actual, draws=0)["normalised_gini"].estimate == pytest.approx(1)
    assert measure_value(actual, -actual, draws=0)["normalised_gini"].estimate == pytest.approx(-1)


def test_customers_are_resampled_as_a_whole() -> None:
    """Every row twice, once more: the interval of the doubled rows is that of the single ones."""
    generator = np.random.default_rng(1)
    actual = generator.gamma(1, 10, 150)
    predicted = actual * generator.gamma(2, 0.5, 150)
    once = measure_value(actual, predicted, groups=np.arange(150), seed=3)["spearman"]
    twice = measure_value(np.tile(actual, 2), np.tile(predicted, 2), groups=np.tile(np.arange(150), 2), seed=3)
    assert (once.lower, once.upper) == pytest.approx((twice["spearman"].lower, twice["spearman"].upper))
    apart = measure_value(np.tile(actual, 2), np.tile(predicted, 2), groups=np.arange(300), seed=3)["spearman"]
    assert apart.upper - apart.lower < 0.85 * (once.upper - once.lower)


def test_where_nothing_is_defined_it_is_not_a_number() -> None:
    for actual in ([0.0, 0.0, 0.0], [-3.0, 1.0, 1.0]):
        found = measure_value(actual, [1.0, 2.0, 3.0])
        assert math.isnan(found["bias"].estimate) and math.isnan(found["normalised_gini"].estimate)
        assert not found["normalised_gini"].is_finite and math.isfinite(found["mae"].estimate)
    with pytest.raises(ValueError, match="1 of 2 values are not finite"):
        measure_value([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(ValueError, match="one length"):
        value_advantage([1.0, 2.0], [1.0], [1.0, 2.0])


def test_an_advantage_has_its_sign() -> None:
    generator = np.random.default_rng(2)
    actual = generator.gamma(1, 10, 300)
    good, bad = actual * generator.gamma(8, 1 / 8, 300), actual * generator.gamma(1, 1, 300)
    better = value_advantage(actual, good, bad)
    assert 0 < better.lower < better.estimate < better.upper
    assert value_advantage(actual, bad, good).upper < 0
    same = value_advantage(actual, good, good)
    assert (same.estimate, same.lower, same.upper) == (0, 0, 0)


def good(bias: float = 0.02) -> dict[str, Interval]:
    return {"bias": Interval(bias, bias, bias)}


BETTER, NAN = Interval(0.02, 0.01, 0.03), Interval(math.nan, math.nan, math.nan)


def test_a_better_one_is_promoted() -> None:
    made = decide_value(make_value_specification(), 600, good(), "last_period", BETTER)
    assert made.promote and made.scores == "challenger"
    assert any("better than that of the baseline last_period beyond noise: 0.0200" in text for text in made.reasons)
    with_champion = decide_value(
        make_value_specification(), 600, good(), "last_period", BETTER, True, Interval(-0.01, -0.02, 0.0)
    )
    assert with_champion.promote


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"rows": 499}, "499 rows; needed are 500"),
        ({"over_baseline": Interval(0.02, -0.0001, 0.03)}, "not better"),
        ({"over_baseline": NAN}, "advantage over the baseline last_period could not be measured"),
        ({"over_baseline": None}, "could not be measured"),
        ({"metrics": good(0.151)}, "the total is wrong: bias +15.1%, allowed is ±15%"),
        ({"metrics": good(-0.2)}, "the total is wrong: bias -20.0%"),
        ({"metrics": good(math.nan)}, "the bias could not be measured"),
        ({"metrics": {}}, "the bias could not be measured"),
        ({"has_champion": True, "over_champion": Interval(-0.02, -0.03, -0.01)}, "worse than the champion"),
        ({"has_champion": True, "over_champion": None}, "difference to the champion could not be measured"),
        ({"has_champion": True, "over_champion": NAN}, "difference to the champion could not be measured"),
    ],
)
def test_each_limit_alone_stops_it(changes: dict[str, Any], words: str) -> None:
    case: dict[str, Any] = {"rows": 600, "metrics": good(), "baseline": "last_period", "over_baseline": BETTER}
    made = decide_value(make_value_specification(), **case | changes)
    assert not made.promote and len(made.reasons) == 2 and words in made.reasons[0], made.reasons
    assert made.scores == ("champion" if changes.get("has_champion") else "nobody")


def test_the_hold_out_is_the_newest_that_can_be_forecast(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    def after(days: int) -> list[int]:
        times = value_holdout_times(spec, rows, FIRST + pd.Timedelta(days=days))
        return [(time - FIRST).days for time in times]

    assert after(196) == [140, 168]
    assert after(195) == [133, 161]
    # Before day 42 there are not two closed cut-offs; before day 35 not one, so that nothing is tested.
    assert after(77) == [49] and after(69) == [] and after(20) == []


def test_a_challenge_brings_all_that_is_asked_of_it(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    made = challenge_value(spec, rows, AS_OF, threads=1)
    assert made.decision.promote and made.decision.scores == "challenger", made.decision.reasons
    assert made.artefact is not None
    assert made.artefact == ValueModel(spec, 1).fit(rows, AS_OF).text()
    assert set(made.pictures) == {"deciles", "captured"}
    assert all(picture.startswith(b"\x89PNG") for picture in made.pictures.values())
    assert sha256_of(made.artefact) in made.card and "## Gate: promoted" in made.card and "factor" in made.card
    assert made.parameters["kernel_points"] == 40 and made.parameters["seed"] == 360

    performance = made.performance
    assert list(performance.columns) == list(PERFORMANCE_COLUMNS)
    assert not performance.duplicated(["name", "split", "metric"]).any()
    assert set(zip(performance["name"], performance["role"], strict=True)) == {
        ("challenger", "challenger"),
        ("last_period", "baseline"),
        ("bg_nbd", "baseline"),
    }
    assert {str(day) for day in performance["split_start"]} == {"2024-05-20"}
    assert {str(day) for day in performance["split_end"]} == {"2024-07-14"}
    assert set(performance["split"]) == {"hold_out"}
    ours = performance[performance["name"] == "challenger"].set_index("metric")
    measured = ["spearman", "normalised_gini", "bias", "mae", "coverage_80"]
    assert (ours["lower"] < ours["value"]).loc[measured].all() and (ours["value"] < ours["upper"]).loc[measured].all()
    assert 0.7 < ours["value"]["coverage_80"] < 0.9


def test_noise_is_not_promoted(spec: ValueSpecification) -> None:
    rows = make_value_rows(*make_days(300, seed=8, same=True))
    made = challenge_value(spec, rows.assign(hint=np.random.default_rng(0).random(len(rows))), AS_OF, threads=1)
    assert not made.decision.promote and made.decision.scores == "nobody" and made.artefact is not None
    assert any("not better than that of the baseline" in reason for reason in made.decision.reasons)
    assert "## Gate: not promoted" in made.card


def test_a_champion_is_tested_by_its_recipe_on_the_same_rows(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    same = challenge_value(spec, rows, AS_OF, ValueModel(spec, 1).fit(rows, AS_OF), threads=1)
    assert same.decision.promote
    assert any("not worse than the champion beyond noise: 0.0000" in reason for reason in same.decision.reasons)
    by_name = same.performance.set_index(["name", "metric"])["value"]
    assert by_name["champion", "spearman"] == by_name["challenger", "spearman"]

    # A challenger that lost its best feature is worse than the champion that has it.
    poor = make_value_specification(features=("recency_days", "net_sales_28d"), money_features=("net_sales_28d",))
    made = challenge_value(poor, rows, AS_OF, ValueModel(spec, 1).fit(rows, AS_OF), threads=1)
    assert not made.decision.promote and made.decision.scores == "champion"
    assert any("worse than the champion beyond noise" in reason for reason in made.decision.reasons)

    # One that has seen the hold-out has no advantage: its recipe is fitted anew.
    tested = backtest_value(spec, rows, [AS_OF - pd.Timedelta(days=28)], ValueModel(poor, 1).fit(rows, AS_OF), 1)
    anew = ValueModel(poor, 1).fit(rows, AS_OF - pd.Timedelta(days=28))
    day = rows[rows["as_of_date"] == AS_OF - pd.Timedelta(days=28)]
    np.testing.assert_array_equal(tested.predictions["champion"], anew.predict(day)["predicted_clv"])


def test_a_champion_of_another_window_is_not_compared(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    other = make_value_specification(window_days=14, last_window_column="net_sales_14d")
    made = challenge_value(spec, rows, AS_OF, ValueModel(other, 1).fit(rows, AS_OF), threads=1)
    assert "the champion forecasts 14 days, not 28: not comparable" in made.decision.reasons
    assert "champion" not in set(made.performance["name"]) and made.decision.promote


def test_nothing_from_the_day_on_changes_the_challenge(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    day = FIRST + pd.Timedelta(days=140)
    changed = rows.copy()
    changed.loc[changed["as_of_date"] + pd.Timedelta(days=28) > day, spec.label] = 1e6
    changed.loc[changed["as_of_date"] > day, list(spec.features)] = -1.0
    made = [challenge_value(spec, frame, day, threads=1) for frame in (rows, changed)]
    assert made[0].artefact is not None and made[0].artefact == made[1].artefact
    assert made[0].decision == made[1].decision and made[0].card == made[1].card
    pd.testing.assert_frame_equal(made[0].performance, made[1].performance)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda rows: rows.iloc[:0], ["0 labelled rows", "needed are"]),
        (lambda rows: rows.assign(net_sales_value_window=0.0), ["0 of them", "above 0"]),
        (lambda rows: rows.assign(net_sales_value_window=-1.0), ["0 of them", "above 0"]),
        (lambda rows: rows[rows["as_of_date"] < "2024-02-10"], ["no closed cut-off", "to test on"]),
        (lambda rows: rows.assign(hint=np.inf), ["hint is infinite"]),
        (lambda rows: rows.drop(columns="hint"), ["no column hint"]),
        (lambda rows: rows.drop(columns="net_sales_value_window"), ["no column net_sales_value_window"]),
        (lambda rows: pd.concat([rows, rows.head(1)]), ["must name one row"]),
        (lambda rows: rows.assign(**dict.fromkeys(make_value_specification().features, 1.0)), ["varies"]),
    ],
)
@pytest.mark.parametrize("has_champion", [False, True])
def test_what_cannot_be_learned_from_is_said_and_leaves_the_champion(
    spec: ValueSpecification, rows: pd.DataFrame, change: object, words: list[str], has_champion: bool
) -> None:
    assert callable(change)
    champion = ValueModel(spec, 1).fit(rows, AS_OF) if has_champion else None
    made = challenge_value(spec, change(rows), AS_OF, champion, threads=1)
    assert made.artefact is None and made.performance.empty and not made.decision.promote
    assert made.decision.scores == ("champion" if has_champion else "nobody")
    assert all(word in made.decision.reasons[0] for word in words), made.decision.reasons


def test_too_few_rows_to_judge_by_is_not_promoted(rows: pd.DataFrame) -> None:
    strict = make_value_specification(promotion=ValueRule(min_rows=5000))
    made = challenge_value(strict, rows, AS_OF, threads=1)
    assert not made.decision.promote and "needed are 5000" in made.decision.reasons[0]


@pytest.mark.parametrize(
    "change", [lambda rows: rows.drop(columns="mean_visit_net_sales"), lambda rows: rows.assign(count_visits=1)]
)
def test_a_baseline_that_cannot_be_fitted_is_left_out_with_a_note(
    spec: ValueSpecification, rows: pd.DataFrame, change: object
) -> None:
    assert callable(change)
    made = challenge_value(spec, change(rows), AS_OF, threads=1)
    assert made.artefact is not None
    assert set(made.performance["name"]) == {"challenger", "last_period"}
    assert "the baseline bg_nbd is left out" in made.card


def test_returns_beyond_sales_are_judged_without_a_crash(spec: ValueSpecification) -> None:
    sales, rates = make_days(300, seed=9)
    generator = np.random.default_rng(9)
    rows = make_value_rows(np.where(generator.random(sales.shape) < 0.45, -1.5 * sales, sales), rates)
    made = challenge_value(spec, rows, AS_OF, threads=1)
    assert not made.decision.promote and made.artefact is not None and set(made.pictures) == {"deciles", "captured"}


def test_parameters_of_a_challenge_are_plain_numbers(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    made = challenge_value(spec, rows, AS_OF, threads=1)
    assert set(SMALL.model_dump()) < set(made.parameters)
    assert all(isinstance(value, (int, float)) for value in made.parameters.values())
