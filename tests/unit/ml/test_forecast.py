"""The demand forecast: known answers, sums, time, artefact, and inputs that are not as they should be."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml import forecast_members as members
from ml.artefact import ArtefactError
from ml.forecast import DemandModel, preflight
from ml.forecast_calendar import US_RETAIL, Holiday, easter, learn_calendar
from ml.forecast_contest import Rolling, reconcile
from ml.forecast_history import NONE, REST, History, read_history
from ml.forecast_specification import ForecastParameters, ForecastSpecification
from ml.specification import TooLittleDataError

START = pd.Timestamp("2023-01-02")
SHARES = {"grocery": 0.6, "meat": 0.3, "toys": 0.1}
SMALL = ForecastSpecification(
    contest_origins=6,
    calibration_origins=10,
    members=("naive", "window_average", "calendar_level", "lightgbm"),
    parameters=ForecastParameters(rounds=20, min_rows_in_leaf=10),
)
QUICK = ForecastSpecification(
    contest_origins=6, calibration_origins=10, members=("naive", "window_average", "calendar_level")
)


def make_daily(weeks: int = 60, noise: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """A total with a weekday pattern and pay days on the first three of the month, around 1000 a day."""
    generator = np.random.default_rng(seed)
    days = pd.date_range(START, periods=7 * weeks, freq="D")
    factor = np.where(days.dayofweek >= 5, 1.5, 0.8) * np.where(days.day <= 3, 1.6, 1.0)
    sales = 1000 * factor * np.exp(noise * generator.normal(size=len(days)))
    return pd.DataFrame({"level": "total", "series_id": "total", "business_date": days, "net_sales": sales})


def make_weekly(weeks: int = 60, noise: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Total, three departments, two categories of one, two products of one of these, and two stores."""
    generator = np.random.default_rng(seed + 1)
    total = make_daily(weeks, noise, seed)["net_sales"].to_numpy().reshape(weeks, 7).sum(axis=1)
    departments = np.array(list(SHARES.values())) * np.exp(noise * generator.normal(size=(weeks, 3)))
    departments *= (total / departments.sum(axis=1))[:, None]
    grocery = departments[:, 0]
    series: dict[tuple[str, str, str | None], Any] = {("total", "total", None): total}
    series |= {("department", d, "total"): departments[:, k] for k, d in enumerate(SHARES)}
    series |= {
        ("category", "grocery / milk", "grocery"): grocery * 0.4 * np.exp(noise * generator.normal(size=weeks)),
        ("category", "grocery / bread", "grocery"): grocery * 0.3,
        ("product", "1", "grocery / milk"): grocery * 0.1,
        ("product", "2", "toys"): departments[:, 2] * 0.5,
        ("store", "10", "total"): total * 0.4 * np.exp(noise * generator.normal(size=weeks)),
        ("store", "11", "total"): total * 0.3,
    }
    starts = pd.date_range(START, periods=weeks, freq="7D")
    frames = [
        pd.DataFrame(
            {
                "level": level,
                "series_id": name,
                "parent_id": parent,
                "period_start": starts,
                "net_sales": values,
                "is_complete": True,
            }
        )
        for (level, name, parent), values in series.items()
    ]
    return pd.concat(frames, ignore_index=True)


def make_promotions(weeks: int = 68, seed: int = 5) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    frames = [
        pd.DataFrame(
            {
                "level": level,
                "series_id": name,
                "period_start": pd.date_range(START, periods=weeks, freq="7D"),
                "count_products_on_display": generator.poisson(5, weeks),
                "count_products_in_mailer": generator.poisson(5, weeks),
            }
        )
        for level, name in (("department", "grocery"), ("category", "grocery / milk"), ("product", "1"))
    ]
    return pd.concat(frames, ignore_index=True)


END = START + pd.Timedelta(weeks=60)
WEEKLY, DAILY, PROMOTIONS = make_weekly(), make_daily(), make_promotions()


@pytest.fixture(scope="module")
def model() -> DemandModel:
    return DemandModel(SMALL).fit(WEEKLY, END, PROMOTIONS, DAILY)


@pytest.fixture(scope="module")
def forecast(model: DemandModel) -> pd.DataFrame:
    return model.predict(WEEKLY, END, PROMOTIONS)


def wide(forecast: pd.DataFrame, value: str = "forecast") -> pd.DataFrame:
    return forecast.pivot(index="period_start", columns=["level", "series_id"], values=value)


# Known answers.


@pytest.mark.parametrize(
    ("year", "day"), [(2016, "03-27"), (2017, "04-16"), (2018, "04-01"), (2024, "03-31"), (2025, "04-20")]
)
def test_easter(year: int, day: str) -> None:
    assert easter(year) == date.fromisoformat(f"{year}-{day}")


def test_holidays_of_a_year() -> None:
    found = {holiday.name: str(holiday.on(2017)) for holiday in US_RETAIL}
    assert found == {
        "Easter": "2017-04-16",
        "Thanksgiving": "2017-11-23",
        "Christmas": "2017-12-25",
        "Memorial Day": "2017-05-29",
        "Independence Day": "2017-07-04",
        "Labor Day": "2017-09-04",
    }
    leap = Holiday(name="leap", group="g", month=2, day=29)
    assert leap.on(2023) is None and leap.on(2024) == date(2024, 2, 29)
    assert Holiday(name="last", group="g", month=12, weekday=6, nth=-1).on(2023) == date(2023, 12, 31)
    assert Holiday(name="fifth", group="g", month=2, weekday=0, nth=5).on(2023) is None
    with pytest.raises(ValueError, match="give month and day"):
        Holiday(name="none", group="g", month=2)


def test_the_calendar_that_made_the_days_is_found() -> None:
    daily = make_daily(noise=0.01).set_index("business_date")["net_sales"]
    index = learn_calendar(daily, END, (), ridge=0.3, min_days=56)
    assert index.coefficients["month_1"] == pytest.approx(np.log(1.6), abs=0.1)
    assert index.coefficients["weekday_5"] == pytest.approx(np.log(1.5 / 0.8), abs=0.05)
    starts = pd.date_range(END, periods=8, freq="7D")
    days = pd.date_range(END, periods=56, freq="D")
    truth = (np.where(days.dayofweek >= 5, 1.5, 0.8) * np.where(days.day <= 3, 1.6, 1.0)).reshape(8, 7).sum(axis=1)
    ratio = index.weekly(starts) / truth
    assert ratio.std() / ratio.mean() < 0.02


def test_a_closed_day_is_closed_until_history_shows_otherwise() -> None:
    daily = make_daily(48, 0.01).set_index("business_date")["net_sales"]  # up to 3 December
    christmas = (Holiday(name="Christmas", group="feast", month=12, day=25, closed=True),)
    unseen = learn_calendar(daily, END, christmas, 0.3, 56)
    assert unseen.closed == ("Christmas",)
    longer = make_daily(60, 0.01).set_index("business_date")["net_sales"]
    assert learn_calendar(longer, END, christmas, 0.3, 56).closed == ()
    week = pd.DatetimeIndex([pd.Timestamp("2023-12-25")])
    assert unseen.weekly(week)[0] < 0.95 * learn_calendar(longer, END, christmas, 0.3, 56).weekly(week)[0]


def test_without_noise_level_and_calendar_are_foretold() -> None:
    weekly, daily = make_weekly(noise=0.0), make_daily(noise=0.0)
    cut = START + pd.Timedelta(weeks=52)
    made = DemandModel(QUICK).fit(weekly, cut, None, daily)
    assert set(made.winners_["total"]) & {"calendar_level"}
    found = wide(made.predict(weekly, cut))["total", "total"]
    truth = weekly[weekly["level"] == "total"].set_index("period_start")["net_sales"].reindex(found.index)
    assert float((found - truth).abs().sum() / truth.sum()) < 0.03


def test_a_season_of_a_year_is_found() -> None:
    weeks = 3 * 52
    starts = pd.date_range(START, periods=weeks + 8, freq="7D")
    season = 1000 * (1 + 0.5 * np.sin(2 * np.pi * np.arange(weeks + 8) / 52))
    weekly = pd.DataFrame({"level": "total", "series_id": "total", "period_start": starts, "net_sales": season})
    spec = QUICK.model_copy(
        update={"members": ("naive", "window_average", "seasonal_naive", "calendar_level", "seasonal_level")}
    )
    made = DemandModel(spec).fit(weekly, starts[weeks])
    assert set(made.winners_["total"]) <= {"seasonal_naive", "seasonal_level"}
    found = made.predict(weekly, starts[weeks])["forecast"].to_numpy()
    assert np.abs(found - season[weeks:]).max() / 1000 < 0.02


def test_promotions_move_the_products_they_are_for() -> None:
    weeks, generator = 80, np.random.default_rng(3)
    starts = pd.date_range(START, periods=weeks + 8, freq="7D")
    frames, promotions = [], []
    for k in range(8):
        display = generator.integers(0, 2, weeks + 8) * 10
        sales = 100 * (k + 1) * np.where(display > 0, 2.0, 1.0) * np.exp(0.03 * generator.normal(size=weeks + 8))
        frames.append(
            pd.DataFrame({"level": "product", "series_id": str(k), "period_start": starts, "net_sales": sales})
        )
        promotions.append(
            pd.DataFrame(
                {
                    "level": "product",
                    "series_id": str(k),
                    "period_start": starts,
                    "count_products_on_display": display,
                    "count_products_in_mailer": 0,
                }
            )
        )
    products = pd.concat(frames)
    summed = products.groupby("period_start")["net_sales"].sum().reset_index()
    summed["net_sales"] *= 2
    weekly = pd.concat([products, summed.assign(level="total", series_id="total")], ignore_index=True)
    spec = SMALL.model_copy(update={"parameters": ForecastParameters(rounds=150, min_rows_in_leaf=10)})
    made = DemandModel(spec).fit(weekly, starts[weeks], pd.concat(promotions))
    assert made.winners_["product"] == ("lightgbm",)

    def wrong(promoted: pd.DataFrame | None) -> float:
        found = wide(made.predict(weekly, starts[weeks], promoted))["product"]
        truth = products.pivot(index="period_start", columns="series_id", values="net_sales").loc[found.index]
        return float((found - truth).abs().to_numpy().sum() / truth.to_numpy().sum())

    assert wrong(pd.concat(promotions)) < 0.15 < 0.25 < wrong(None)


def test_smoothing_is_the_weighted_mean() -> None:
    values = np.array([[np.nan], [1.0], [2.0], [4.0]])
    found = members.smoothed(values, 0.25)[:, 0]
    assert np.isnan(found[0]) and found[1] == 1.0
    assert found[3] == pytest.approx((4 + 2 * 0.75 + 1 * 0.75**2) / (1 + 0.75 + 0.75**2))


# Shape, sums and bounds.


def test_one_row_per_series_and_coming_week(forecast: pd.DataFrame) -> None:
    assert list(forecast) == [
        *("level", "series_id", "period_start", "forecast", "lower_80", "upper_80", "lower_95", "upper_95")
    ]
    assert len(forecast) == 10 * 8 and not forecast.duplicated(["level", "series_id", "period_start"]).any()
    assert list(wide(forecast).index) == list(pd.date_range(END, periods=8, freq="7D"))
    numbers = forecast[["lower_95", "lower_80", "forecast", "upper_80", "upper_95"]].to_numpy()
    assert np.isfinite(numbers).all() and (numbers >= 0).all() and (np.diff(numbers, axis=1) >= 0).all()


def test_levels_add_up(forecast: pd.DataFrame) -> None:
    table = wide(forecast)
    total = table["total", "total"]
    np.testing.assert_allclose(table["department"].to_numpy().sum(axis=1), total, rtol=1e-9)
    assert (table["category"].to_numpy().sum(axis=1) < table["department", "grocery"]).all()
    assert (table["product", "1"] < table["category", "grocery / milk"]).all()
    assert (table["product", "2"] < table["department", "toys"]).all()
    assert (table["store"].to_numpy().sum(axis=1) < total).all()


def test_sharing_out_agrees_with_hierarchicalforecast() -> None:
    from hierarchicalforecast.methods import TopDown

    levels = ("total", "category", "category", REST, "product", "product", REST, "product", "product")
    history = History(
        *(END, pd.date_range(START, periods=2, freq="7D"), END, levels, tuple("tabrcdewv")),
        parent=(-1, 0, 0, 0, 1, 1, 1, 2, 2),
        sales=np.ones((2, 9)),
        promotions=None,
        daily=None,
    )
    base = np.random.default_rng(0).random((4, 9))
    ours = reconcile(history, base)
    # The library wants all leaves on one level, so the rest stands for itself below.
    sums = np.zeros((10, 6))
    sums[0] = 1
    sums[1, :3] = sums[2, 3:5] = sums[3, 5] = 1
    sums[4:] = np.eye(6)
    order = [0, 1, 2, 3, 4, 5, 6, 7, 8, 3]
    theirs = TopDown("forecast_proportions").fit_predict(
        S=sums,
        y_hat=base[:, order].T,
        tags={"total": np.array([0]), "middle": np.arange(1, 4), "bottom": np.arange(4, 10)},
    )["mean"]
    np.testing.assert_allclose(ours[:, order], theirs.T, rtol=1e-9)


def test_parts_of_nothing_are_nothing() -> None:
    levels = ("total", "department", "department", "category", "category", "store")
    history = History(
        *(END, pd.date_range(START, periods=2, freq="7D"), END, levels, tuple("tabcds")),
        parent=(-1, 0, 0, 1, 1, 0),
        sales=np.ones((2, 6)),
        promotions=None,
        daily=None,
    )
    found = reconcile(history, np.array([[9.0, 0.0, 4.0, 3.0, 0.0, 0.0], [9.0, 6.0, 0.0, 0.0, 0.0, 7.0]]))
    np.testing.assert_allclose(found, [[4.0, 0.0, 4.0, 0.0, 0.0, 4.0], [6.0, 6.0, 0.0, 3.0, 3.0, 6.0]])


# Time.


def test_nothing_from_the_day_on_is_read(model: DemandModel, forecast: pd.DataFrame) -> None:
    longer, daily = make_weekly(66), make_daily(66)
    past = longer["period_start"] < END
    weekly = pd.concat([WEEKLY, longer[~past].assign(net_sales=np.nan)])
    weekly.loc[weekly["period_start"] == END, "net_sales"] = 1e9
    later = daily["business_date"] >= END
    days = pd.concat([DAILY, daily[later].assign(net_sales=np.inf)])
    again = DemandModel(SMALL).fit(weekly, END, PROMOTIONS, days)
    assert again.text() == model.text()
    pd.testing.assert_frame_equal(again.predict(weekly, END, PROMOTIONS), forecast)


def test_a_week_not_over_is_forecast() -> None:
    made = DemandModel(QUICK).fit(WEEKLY, END - pd.Timedelta(days=4), None, DAILY)
    assert made.weeks_ == 59
    assert made.predict(WEEKLY, END - pd.Timedelta(days=4))["period_start"].min() == END - pd.Timedelta(days=7)


def test_late_data_is_forecast_further_but_not_too_far(model: DemandModel) -> None:
    late = model.predict(WEEKLY, END + pd.Timedelta(weeks=2), PROMOTIONS)
    assert late["period_start"].min() == END + pd.Timedelta(weeks=2) and len(late) == 80
    assert late["forecast"].notna().all()
    with pytest.raises(TooLittleDataError, match="Load newer sales"):
        model.predict(WEEKLY, END + pd.Timedelta(weeks=5))


def test_forecasts_of_the_members_do_not_see_what_follows() -> None:
    longer = read_history(WEEKLY, END, PROMOTIONS, DAILY)
    rolling = Rolling(ForecastSpecification(), longer)
    cut = START + pd.Timedelta(weeks=40)
    shorter = Rolling(ForecastSpecification(), read_history(WEEKLY, cut, PROMOTIONS, DAILY))
    for name in ("naive", "window_average", "auto_ets", "auto_theta", "calendar_level", "lightgbm"):
        longer_table, shorter_table = rolling.at(40, name), shorter.at(40, name)
        assert longer_table is not None and shorter_table is not None
        np.testing.assert_allclose(longer_table, shorter_table, rtol=1e-9, err_msg=name)
    assert rolling.at(40, "seasonal_level") is None and rolling.at(40, "seasonal_naive") is None


# Artefact.


def test_the_order_of_rows_does_not_matter(model: DemandModel) -> None:
    shuffled = [frame.sample(frac=1, random_state=k) for k, frame in enumerate((WEEKLY, PROMOTIONS, DAILY))]
    assert DemandModel(SMALL).fit(shuffled[0], END, *shuffled[1:]).text() == model.text()


def test_a_loaded_model_forecasts_the_same(tmp_path: Path, model: DemandModel, forecast: pd.DataFrame) -> None:
    assert any("lightgbm" in names for names in model.winners_.values())
    sha256 = model.save(tmp_path / "model.json")
    loaded = DemandModel.load(tmp_path / "model.json", sha256)
    assert loaded.text() == model.text() and loaded.contest_ == model.contest_
    pd.testing.assert_frame_equal(loaded.predict(WEEKLY, END, PROMOTIONS), forecast)
    newer = make_weekly(64)
    pd.testing.assert_frame_equal(
        loaded.predict(newer, END + pd.Timedelta(weeks=4), PROMOTIONS),
        model.predict(newer, END + pd.Timedelta(weeks=4), PROMOTIONS),
    )


def test_scoring_newer_days_learns_nothing(monkeypatch: pytest.MonkeyPatch, model: DemandModel) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("fitted while forecasting")

    monkeypatch.setattr(members.Boost, "fit", fail)
    monkeypatch.setattr("ml.forecast_contest.learn_calendar", fail)
    assert len(model.predict(make_weekly(64), END + pd.Timedelta(weeks=4), PROMOTIONS)) == 80


def test_a_damaged_file_is_refused(tmp_path: Path, model: DemandModel) -> None:
    path = tmp_path / "model.json"
    sha256 = model.save(path)
    path.write_bytes(path.read_bytes().replace(b"demand", b"demanD", 1))
    with pytest.raises(ArtefactError, match="not what was recorded"):
        DemandModel.load(path, sha256)


def test_forecasting_needs_a_fitted_model() -> None:
    with pytest.raises(ValueError, match="fit or load"):
        DemandModel().predict(WEEKLY, END)


# Inputs that are not as they should be.


def changed(**columns: Any) -> pd.DataFrame:
    return WEEKLY.assign(**columns)


def at(level: str, name: str) -> "pd.Series[bool]":
    return (WEEKLY["level"] == level) & (WEEKLY["series_id"] == name)


TOYS = at("department", "toys")
FIRST = WEEKLY["period_start"] == START + pd.Timedelta(weeks=20)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (WEEKLY.iloc[:0], "weekly sales are empty"),
        (WEEKLY.drop(columns="net_sales"), "no column net_sales"),
        (WEEKLY[~(TOYS & FIRST)], r"1 series have gaps: department toys \(1 weeks\)"),
        (changed(net_sales=WEEKLY["net_sales"].where(~(TOYS & FIRST))), "missing or infinite in 1 of 600"),
        (changed(net_sales=WEEKLY["net_sales"].where(~(TOYS & FIRST), np.inf)), "missing or infinite in 1 of 600"),
        (changed(net_sales="a lot"), "net_sales must be a number"),
        (pd.concat([WEEKLY, WEEKLY[TOYS & FIRST]]), "department toys has two rows for 2023-05-22"),
        (changed(level=WEEKLY["level"].replace("store", "region")), "unknown level region"),
        (
            changed(period_start=WEEKLY["period_start"] + pd.to_timedelta(TOYS.astype(int), unit="D")),
            "weeks start on Monday and Tuesday",
        ),
        (WEEKLY[WEEKLY["level"] != "total"], "level total must have one series"),
        (changed(is_complete=False), "no complete week before"),
        (changed(net_sales=WEEKLY["net_sales"] * np.where(TOYS, 5, 1)), "sum to more than it"),
        (WEEKLY[WEEKLY["period_start"] < START + pd.Timedelta(weeks=40)], "Load newer sales"),
    ],
)
def test_what_cannot_be_read_is_said(frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DemandModel(QUICK).fit(frame, END)


def test_promotions_and_days_that_cannot_be_read() -> None:
    for frame, said in (
        (PROMOTIONS.assign(period_start=PROMOTIONS["period_start"] + pd.Timedelta(days=1)), "on the weekday"),
        (PROMOTIONS.drop(columns="level"), "no column level"),
        (PROMOTIONS.assign(count_products_on_display=np.nan), "missing or infinite"),
    ):
        with pytest.raises(ValueError, match=said):
            read_history(WEEKLY, END, frame)
    for frame, said in (
        (pd.concat([DAILY, DAILY]), "two rows"),
        (DAILY.assign(net_sales=np.nan), "missing or infinite on 420 days"),
    ):
        with pytest.raises(ValueError, match=said):
            read_history(WEEKLY, END, None, frame)


def test_too_few_weeks_is_a_message() -> None:
    early = START + pd.Timedelta(weeks=10)
    assert preflight(QUICK, WEEKLY, END, PROMOTIONS, DAILY) == ()
    (said,) = preflight(QUICK, WEEKLY, early)
    assert said == "demand: 10 complete weeks, needed are 17 (13 to start from, 4 to compare members on)"
    with pytest.raises(TooLittleDataError, match="10 complete weeks, needed are 17"):
        DemandModel(QUICK).fit(WEEKLY, early)
    assert "no complete week" in preflight(QUICK, WEEKLY, START)[0]
    assert "empty" in preflight(QUICK, WEEKLY.iloc[:0], END)[0]


@pytest.mark.parametrize("promotions", [None, PROMOTIONS.iloc[:0]])
@pytest.mark.parametrize("daily", [None, DAILY.iloc[:0], DAILY.iloc[:30]])
def test_without_promotions_or_days_it_forecasts_all_the_same(
    promotions: pd.DataFrame | None, daily: pd.DataFrame | None
) -> None:
    spec = SMALL.model_copy(update={"contest_origins": 2, "calibration_origins": 3})
    made = DemandModel(spec).fit(WEEKLY, END, promotions, daily)
    assert "no calendar was learned" in made.notes_[0]
    assert made.predict(WEEKLY, END, promotions)["forecast"].gt(0).all()


def extra(values: Any, name: str = "new", first: int = 0) -> pd.DataFrame:
    """The weekly frame with one product more."""
    starts = pd.date_range(START, periods=60, freq="7D")[first : first + len(values)]
    row: dict[str, Any] = {"level": "product", "series_id": name, "parent_id": "meat", "is_complete": True}
    return pd.concat([WEEKLY, pd.DataFrame({"period_start": starts, "net_sales": values}).assign(**row)])


@pytest.mark.parametrize(
    ("values", "first", "expected"),
    [
        (np.full(5, 300.0), 55, 300.0),  # five weeks
        (np.full(10, 300.0), 50, 300.0),  # ten weeks
        (np.full(60, 300.0), 0, 300.0),  # constant
        (np.zeros(60), 0, 0.0),  # never sold
        (np.r_[np.full(40, 300.0), np.zeros(20)], 0, 0.0),  # no longer sold
        (np.full(40, 300.0), 0, 0.0),  # ends
        (np.r_[np.full(59, 300.0), 0.0], 0, None),  # one week of none
        (np.where(np.arange(60) % 4 == 0, 300.0, 0.0), 0, None),  # now and then
        (np.where(np.arange(60) % 6 == 0, -200.0, 300.0), 0, None),  # returns
        (np.r_[np.full(59, 30.0), 3000.0], 0, None),  # an outlier
    ],
)
def test_odd_series_get_sane_forecasts(values: Any, first: int, expected: float | None) -> None:
    spec = SMALL.model_copy(update={"contest_origins": 3, "calibration_origins": 4})
    frame = extra(values, first=first)
    made = DemandModel(spec).fit(frame, END, None, DAILY)
    rows = made.predict(frame, END)
    assert np.isfinite(rows.select_dtypes("number").to_numpy()).all()
    found = rows[rows["series_id"] == "new"]["forecast"].to_numpy()
    assert len(found) == 8 and (found >= 0).all() and (found <= 6000).all()
    if expected is not None:
        assert np.abs(found - expected).max() <= 0.35 * expected
    if expected == 0.0 and len(values) == 40:
        assert "1 series end before" in made.notes_[0]


def test_a_series_never_seen_is_forecast_like_the_others_of_its_level(model: DemandModel) -> None:
    rows = model.predict(extra(np.full(30, 300.0), first=30), END, PROMOTIONS)
    found = rows[rows["series_id"] == "new"]
    assert found["forecast"].between(150, 600).all() and (found["upper_80"] > found["forecast"]).all()


def test_weeks_may_start_on_any_day() -> None:
    sunday = changed(period_start=WEEKLY["period_start"] - pd.Timedelta(days=1))
    made = DemandModel(QUICK).fit(sunday, END, None, DAILY).predict(sunday, END)
    assert made["period_start"].min() == END - pd.Timedelta(days=1) and made["forecast"].gt(0).all()


def test_a_level_never_seen_is_refused() -> None:
    made = DemandModel(QUICK).fit(WEEKLY[WEEKLY["level"].isin(["total", "department"])], END, None, DAILY)
    with pytest.raises(ValueError, match="level category, product, store was not there"):
        made.predict(WEEKLY, END)


def test_all_zero_sales_are_forecast_as_zero() -> None:
    frame = changed(net_sales=0.0)
    rows = DemandModel(QUICK).fit(frame, END, None, DAILY.assign(net_sales=0.0)).predict(frame, END)
    assert (rows[["forecast", "lower_95", "upper_95"]] == 0).all().all()


def test_parents_are_known_by_name_without_a_column() -> None:
    plain = read_history(WEEKLY.drop(columns="parent_id"), END)
    named = read_history(WEEKLY, END)
    assert plain.ids[plain.parent[plain.ids.index("grocery / milk")]] == "grocery"
    assert plain.parent[plain.ids.index("1")] == NONE
    assert plain.notes == ("2 series, as 1, name no parent that is a series, and are forecast on their own",)
    assert named.ids[named.parent[named.ids.index("1")]] == "grocery / milk"


def test_decimals_and_dates_are_read(forecast: pd.DataFrame, model: DemandModel) -> None:
    from decimal import Decimal

    frame = changed(
        net_sales=[Decimal(repr(value)) for value in WEEKLY["net_sales"]],
        period_start=[moment.date() for moment in WEEKLY["period_start"]],
    )
    pd.testing.assert_frame_equal(model.predict(frame, END.date(), PROMOTIONS), forecast)


def test_settings_that_do_not_fit_together() -> None:
    for settings, said in (
        ({"horizon": 3}, "judged_horizon 4 is beyond"),
        ({"intervals": (95, 80)}, "percentages from 50 to 99, rising"),
        ({"members": ("naive",)}, "window_average must be a member"),
        ({"promoted_levels": ("region",)}, "unknown level region"),
    ):
        with pytest.raises(ValueError, match=said):
            ForecastSpecification.model_validate(settings)


def test_importing_is_quick() -> None:
    import subprocess
    import sys

    code = (
        "import sys, ml.forecast; print([m for m in ('statsforecast', 'mlforecast', 'lightgbm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
