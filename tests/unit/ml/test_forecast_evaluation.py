"""Backtest, metrics, gate 3, picture and card of the demand forecast."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.evaluation import Interval
from ml.forecast import DemandModel
from ml.forecast_evaluation import (
    ForecastBacktest,
    ForecastRule,
    decide_forecast,
    forecast_backtest,
)
from ml.forecast_report import forecast_card, forecast_plot
from ml.forecast_specification import ForecastParameters, ForecastSpecification
from ml.specification import TooLittleDataError

START = pd.Timestamp("2023-01-02")
SPEC = ForecastSpecification(
    contest_origins=6,
    calibration_origins=12,
    members=("naive", "window_average", "calendar_level", "lightgbm"),
    parameters=ForecastParameters(rounds=20),
)
BETTER, EVEN, WORSE = Interval(0.02, 0.01, 0.03), Interval(0.0, -0.01, 0.01), Interval(-0.02, -0.03, -0.01)


def make_weekly(weeks: int = 50, departments: int = 5, noise: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Departments whose weeks scatter around a constant, independently and alike, and their total."""
    generator = np.random.default_rng(seed)
    starts = pd.date_range(START, periods=weeks, freq="7D")
    names = [f"department {k}" for k in range(departments)]
    sales = pd.DataFrame(1000 * np.exp(noise * generator.normal(size=(weeks, departments))), starts, names)
    sales["total"] = sales.sum(axis=1)
    rows = (
        sales.rename_axis("period_start")
        .reset_index()
        .melt("period_start", var_name="series_id", value_name="net_sales")
    )
    return rows.assign(level=np.where(rows["series_id"] == "total", "total", "department"))


def end(weeks: int = 50) -> pd.Timestamp:
    return START + pd.Timedelta(weeks=weeks)


@pytest.fixture(scope="module")
def backtest() -> ForecastBacktest:
    return forecast_backtest(SPEC, make_weekly(), end(), origins=8)


# The backtest.


def test_each_row_is_a_week_that_has_closed(backtest: ForecastBacktest) -> None:
    rows = backtest.predictions
    assert rows["origin"].nunique() == 8 and rows["origin"].max() == end(46)
    assert (rows["period_start"] == rows["origin"] + pd.to_timedelta(7 * (rows["horizon"] - 1), unit="D")).all()
    assert rows["period_start"].max() == end(49) and rows["horizon"].between(1, 8).all()
    sold = make_weekly().set_index(["level", "series_id", "period_start"])["net_sales"]
    keys = pd.MultiIndex.from_frame(rows[["level", "series_id", "period_start"]])
    np.testing.assert_allclose(rows["actual"], sold.loc[keys])
    naive = pd.MultiIndex.from_arrays(
        [rows["level"], rows["series_id"], rows["origin"] - pd.Timedelta(weeks=1)], names=keys.names
    )
    np.testing.assert_allclose(rows["naive"], sold.loc[naive])


def test_intervals_cover_what_they_say_on_exchangeable_noise() -> None:
    weekly = make_weekly(weeks=90, departments=12, noise=0.15, seed=4)
    changes = {"members": ("naive", "window_average", "calendar_level"), "calibration_origins": 40}
    spec = SPEC.model_copy(update=changes | {"statistical_levels": ()})
    metrics = forecast_backtest(spec, weekly, end(90), origins=30).metrics("department")
    assert metrics.n == 30 * 12 * 4
    assert 0.75 <= metrics.coverage[80] <= 0.87
    assert 0.92 <= metrics.coverage[95] <= 0.99


def test_an_origin_does_not_see_what_follows(backtest: ForecastBacktest) -> None:
    weekly = make_weekly()
    cut = end(43)
    weekly.loc[weekly["period_start"] >= cut, "net_sales"] *= 3
    others = forecast_backtest(SPEC, weekly, end(), origins=8).predictions
    before, same = backtest.predictions["origin"] <= cut, ["forecast", "lower_80", "upper_95", "naive", "auto_ets"]
    pd.testing.assert_frame_equal(backtest.predictions.loc[before, same], others.loc[before, same])
    assert before.sum() > 0 and not np.allclose(backtest.predictions["forecast"], others["forecast"])


def test_an_origin_is_what_the_model_fitted_then_forecasts(backtest: ForecastBacktest) -> None:
    weekly = make_weekly()
    made = DemandModel(SPEC).fit(weekly, end(44)).predict(weekly, end(44))
    rows = backtest.predictions[backtest.predictions["origin"] == end(44)]
    both = rows.merge(made, on=["level", "series_id", "period_start"], suffixes=("", "_then"))
    assert len(both) == len(rows)
    for column in ("forecast", "lower_80", "upper_95"):
        np.testing.assert_allclose(both[column], both[f"{column}_then"], rtol=1e-9)


def test_the_model_of_the_day_is_the_same_as_fitted_alone(backtest: ForecastBacktest) -> None:
    assert backtest.fit().text() == DemandModel(SPEC).fit(make_weekly(), end()).text()


def test_too_few_weeks_to_test_on_is_a_message() -> None:
    with pytest.raises(TooLittleDataError, match="20 complete weeks, needed are 21 to test 4 weeks ahead"):
        forecast_backtest(SPEC, make_weekly(20), end(20))


def test_a_champion_fitted_later_is_fitted_anew() -> None:
    weekly = make_weekly()
    spec = SPEC.model_copy(update={"statistical_levels": (), "contest_origins": 3, "calibration_origins": 4})
    late = DemandModel(spec).fit(weekly, end())
    rows = forecast_backtest(spec, weekly, end(), origins=3, champion=late).predictions
    np.testing.assert_allclose(rows["champion"], rows["forecast"])
    other = spec.model_copy(update={"members": ("naive", "window_average")})
    cheat = DemandModel(other).fit(weekly, end())
    early = DemandModel(other).fit(weekly, end(30))
    for champion in (cheat, early):
        tested = forecast_backtest(spec, weekly, end(), origins=3, champion=champion)
        assert tested.names[-1] == "champion" and tested.predictions["champion"].notna().all()
        first = tested.predictions[tested.predictions["origin"] == end(44)]
        held = early if champion is early else DemandModel(other).fit(weekly, end(44))
        made = held.predict(weekly, end(44))
        both = first.merge(made, on=["level", "series_id", "period_start"])
        np.testing.assert_allclose(both["champion"], both["forecast_y"], rtol=1e-9)


# Metrics.


def hand_made(**columns: Any) -> ForecastBacktest:
    rows = pd.DataFrame(
        {
            "level": "department",
            "series_id": ["a", "a", "b", "b"],
            "origin": [end(40), end(41)] * 2,
            "period_start": [end(40), end(41)] * 2,
            "horizon": 1,
            "actual": [10.0, 20.0, 30.0, 40.0],
            "scale": [2.0, 2.0, 5.0, 0.0],
            "forecast": [12.0, 19.0, 30.0, 35.0],
            "lower_80": [11.0, 15.0, 30.0, 34.0],
            "upper_80": [13.0, 25.0, 30.0, 36.0],
            "lower_95": [5.0] * 4,
            "upper_95": [50.0] * 4,
            "naive": [10.0, 20.0, 30.0, 50.0],
        }
    ).assign(**columns)
    return ForecastBacktest(SPEC, rows, {}, None)  # type: ignore[arg-type]


def test_metrics_by_hand() -> None:
    found = hand_made().metrics("department")
    assert found.n == 4
    assert found.wape == pytest.approx((2 + 1 + 0 + 5) / 100)
    assert found.bias == pytest.approx((2 - 1 + 0 - 5) / 100)
    assert found.mase == pytest.approx((2 / 2 + 1 / 2 + 0 / 5) / 3)
    assert found.coverage == {80: 0.5, 95: 1.0}
    naive = hand_made().metrics("department", name="naive")
    assert naive.wape == pytest.approx(0.1) and naive.coverage == {}
    assert hand_made().metrics("store").wape is None
    assert hand_made(naive=np.nan).metrics("department", name="naive").wape is None
    assert hand_made(actual=0.0).metrics("department").wape is None


def test_performance_is_tidy(backtest: ForecastBacktest) -> None:
    table = backtest.performance()
    assert list(table) == ["level", "name", "metric", "value", "split_start", "split_end"]
    assert not table.duplicated(["level", "name", "metric"]).any() and np.isfinite(table["value"]).all()
    assert set(table["name"]) == {"model", "naive", "window_average", "auto_ets", "auto_theta"}
    assert set(table["metric"]) == {"wape", "mase", "bias", "coverage_80", "coverage_95"}
    assert table["split_start"].min() == end(39) and table["split_end"].max() == end() - pd.Timedelta(days=1)


def test_the_advantage_is_the_difference_of_wapes_with_its_noise(backtest: ForecastBacktest) -> None:
    found = backtest.advantage("naive", "department")
    assert found is not None
    ours, theirs = backtest.metrics("department").wape, backtest.metrics("department", name="naive").wape
    assert ours is not None and theirs is not None
    assert found.estimate == pytest.approx(theirs - ours)
    assert 0 < found.lower < found.estimate < found.upper
    assert hand_made().advantage("naive", "department") is None  # two origins
    assert backtest.advantage("champion", "department") is None


# Gate 3.


@pytest.mark.parametrize(
    ("baseline", "guarded", "coverage", "champion"),
    itertools.product(
        [BETTER, EVEN, WORSE], [BETTER, EVEN, WORSE], [0.69, 0.70, 0.80, 0.90, 0.91], [None, BETTER, EVEN, WORSE]
    ),
)
def test_truth_table(baseline: Interval, guarded: Interval, coverage: float, champion: Interval | None) -> None:
    decision = decide_forecast(10, "naive", baseline, guarded, coverage, champion is not None, champion)
    expected = baseline is BETTER and guarded is not WORSE and 0.7 <= coverage <= 0.9 and champion is not WORSE
    assert decision.promote == expected
    assert decision.scores == ("challenger" if expected else "nobody" if champion is None else "champion")
    if not expected:
        last = "there is no champion either: nothing is scored" if champion is None else "the champion stays"
        assert decision.reasons[-1] == last


@pytest.mark.parametrize("broken", [None, Interval(math.nan, 0.1, 0.2), Interval(0.1, math.inf, math.inf)])
def test_what_was_not_measured_speaks_against(broken: Interval | None) -> None:
    assert not decide_forecast(10, "naive", broken, BETTER, 0.8).promote
    assert not decide_forecast(10, "naive", BETTER, broken, 0.8).promote
    assert not decide_forecast(10, "naive", BETTER, BETTER, 0.8, True, broken).promote
    for coverage in (None, math.nan):
        assert not decide_forecast(10, "naive", BETTER, BETTER, coverage).promote
    few = decide_forecast(5, "naive", BETTER, BETTER, 0.8)
    assert few.reasons[0] == "the hold-out has 5 origins; needed are 6" and few.scores == "nobody"


def test_noise_alone_does_not_beat_the_best_baseline() -> None:
    decision = forecast_backtest(SPEC, make_weekly(seed=7), end(), origins=8).judge(ForecastRule(min_advantage=0.01))
    assert not decision.promote and decision.scores == "nobody"
    assert "not better than window_average" in decision.reasons[0] or "auto" in decision.reasons[0]


def test_a_calendar_that_moves_sales_is_promoted() -> None:
    weeks, generator = 60, np.random.default_rng(1)
    days = pd.date_range(START, periods=7 * weeks, freq="D")
    factor = np.where(days.day <= 3, 2.0, 1.0) * np.exp(0.05 * generator.normal(size=len(days)))
    daily = pd.DataFrame({"level": "total", "series_id": "total", "business_date": days, "net_sales": 500 * factor})
    weekly = make_weekly(weeks, 6, 0.05).pivot(index="period_start", columns="series_id", values="net_sales")
    weekly = weekly.drop(columns="total")
    weekly = weekly.mul(daily["net_sales"].to_numpy().reshape(weeks, 7).sum(axis=1) / weekly.sum(axis=1), axis=0)
    weekly["total"] = weekly.sum(axis=1)
    rows = weekly.reset_index().melt("period_start", var_name="series_id", value_name="net_sales")
    rows["level"] = np.where(rows["series_id"] == "total", "total", "department")
    decision = forecast_backtest(SPEC, rows, end(weeks), None, daily, origins=10).judge()
    assert decision.promote, decision.reasons


# Picture and card.


def test_the_picture_is_a_png_and_the_same_again(backtest: ForecastBacktest) -> None:
    weekly = make_weekly()
    history = weekly[weekly["level"] == "total"]
    made = DemandModel(SPEC).fit(weekly, end(46)).predict(weekly, end(46))
    made = made[made["level"] == "total"]
    picture = forecast_plot("total", history, made)
    assert picture.startswith(b"\x89PNG") and picture == forecast_plot("total", history, made)


def test_the_card_names_what_was_measured(backtest: ForecastBacktest) -> None:
    card = forecast_card(backtest.fit(), backtest, backtest.judge(), "abc")
    for said in (
        "# Model card: demand",
        backtest.specification.purpose,
        "`abc`",
        "| department | auto_theta |",
        "## Gate:",
        "level_alpha",
    ):
        assert said in card
    assert "## Measured" not in forecast_card(backtest.fit())
