"""Customer value: forward in time, to the last bit the same, at the right level, with an interval that holds."""

import json

import numpy as np
import pandas as pd
import pytest

from ml import artefact
from ml.artefact import ArtefactError, sha256_of
from ml.specification import TooLittleDataError
from ml.value import ValueModel
from ml.value_specification import ValueSpecification, apart, value_specification
from tests.unit.ml.value_frames import FIRST, make_days, make_value_rows, make_value_specification

AS_OF = FIRST + pd.Timedelta(days=168)
SCORES = ["predicted_clv", "lower_80", "upper_80", "key_account_probability"]


@pytest.fixture(scope="module")
def spec() -> ValueSpecification:
    return make_value_specification()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_value_rows(*make_days())


@pytest.fixture(scope="module")
def model(spec: ValueSpecification, rows: pd.DataFrame) -> ValueModel:
    return ValueModel(spec, 1).fit(rows, AS_OF)


def of_day(rows: pd.DataFrame, day: pd.Timestamp = AS_OF) -> pd.DataFrame:
    return rows[rows["as_of_date"] == day]


def test_what_is_predicted_has_the_form_that_is_asked_for(model: ValueModel, rows: pd.DataFrame) -> None:
    due = of_day(rows).sample(frac=1, random_state=1)
    scored = model.predict(due)
    assert list(scored.columns) == ["customer_id", "as_of_date", *SCORES]
    pd.testing.assert_frame_equal(scored[["customer_id", "as_of_date"]], due[["customer_id", "as_of_date"]])
    assert np.isfinite(scored[SCORES]).all(axis=None) and (scored[SCORES] >= 0).all(axis=None)
    assert (scored["lower_80"] <= scored["predicted_clv"]).all()
    assert (scored["predicted_clv"] <= scored["upper_80"]).all()
    assert np.corrcoef(scored["predicted_clv"], due["hint"])[0, 1] > 0.8
    assert model.predict(due.iloc[:0]).empty


def test_nothing_from_the_day_on_changes_the_fit(
    spec: ValueSpecification, rows: pd.DataFrame, model: ValueModel
) -> None:
    changed = rows.copy()
    not_closed = changed["as_of_date"] + pd.Timedelta(days=spec.window_days) > AS_OF
    changed.loc[not_closed, spec.label] = 1e9
    later = changed["as_of_date"] > AS_OF
    changed.loc[later, [*spec.features]] = -7.0
    assert ValueModel(spec, 1).fit(changed, AS_OF).text() == model.text()
    assert ValueModel(spec, 1).fit(changed[~later], AS_OF).text() == model.text()
    # What was closed does.
    changed.loc[~not_closed, spec.label] *= 2
    assert ValueModel(spec, 1).fit(changed, AS_OF).text() != model.text()


def test_threads_order_and_columns_make_no_difference(
    spec: ValueSpecification, rows: pd.DataFrame, model: ValueModel
) -> None:
    shuffled = rows.sample(frac=1, random_state=2)[sorted(rows.columns)]
    assert ValueModel(spec, 2).fit(shuffled, AS_OF).text() == model.text()


def test_a_row_alone_is_the_row_in_a_batch_and_after_a_round_trip(model: ValueModel, rows: pd.DataFrame) -> None:
    due = of_day(rows)
    together = model.predict(due)
    alone = pd.concat([model.predict(due.iloc[[place]]) for place in range(0, len(due), 9)])
    pd.testing.assert_frame_equal(alone, together.iloc[::9], check_exact=True)
    text = model.text()
    read = ValueModel.from_text(text, sha256_of(text), 2)
    pd.testing.assert_frame_equal(read.predict(due), together, check_exact=True)
    assert read.text() == text and read.specification == model.specification


def test_a_damaged_text_is_not_loaded(model: ValueModel) -> None:
    text = model.text()
    with pytest.raises(ArtefactError, match="damaged or replaced"):
        ValueModel.from_text(text[:-5], sha256_of(text))
    with pytest.raises(ArtefactError, match="expected is"):
        other = artefact.to_text("propensity", {})
        ValueModel.from_text(other, sha256_of(other))
    for lost in ("blend", "bounds_", "factor_", "specification"):
        state = json.loads(text)["state"]
        state[lost] = {} if lost != "factor_" else "much"
        broken = artefact.to_text("value", state)
        with pytest.raises(ArtefactError, match="Train anew"):
            ValueModel.from_text(broken, sha256_of(broken))


def test_the_total_is_that_of_the_last_window_where_the_level_is_steady(
    spec: ValueSpecification, rows: pd.DataFrame, model: ValueModel
) -> None:
    due = of_day(rows)
    assert model.level_["basis"] == "last_window" and model.level_["cut_offs"] == 17
    total = due["net_sales_28d"].sum() * model.level_["ratio"]
    assert model.predict(due)["predicted_clv"].sum() == pytest.approx(total, rel=1e-9)
    # The shrunk mean log ratio, by hand.
    closed = rows[(rows["as_of_date"] + pd.Timedelta(days=28) <= AS_OF) & (rows["as_of_date"] >= "2024-01-29")]
    totals = closed.groupby("as_of_date")[["net_sales_value_window", "net_sales_28d"]].sum()
    logs = np.log(totals["net_sales_value_window"] / totals["net_sales_28d"])
    kept = max(0.0, 1 - logs.var() / logs.mean() ** 2)
    assert model.level_["ratio"] == pytest.approx(np.exp(kept * logs.mean()), rel=1e-9)


def test_where_most_buy_once_the_learned_change_of_level_wins(spec: ValueSpecification) -> None:
    """The last window holds all first purchases; one customer in ten comes back within eight weeks, once."""
    generator = np.random.default_rng(3)
    sales, customers = np.zeros((4000, 260)), np.arange(4000)
    first = generator.integers(0, 200, 4000)
    sales[customers, first] = generator.gamma(4.0, 5.0, 4000)
    back = customers[generator.random(4000) < 0.1]
    sales[back, first[back] + generator.integers(1, 57, len(back))] = generator.gamma(4.0, 5.0, len(back))
    rows = make_value_rows(sales[:, :196])
    model = ValueModel(spec, 1).fit(rows, AS_OF)
    due = of_day(rows)
    actual, predicted = due["net_sales_value_window"].sum(), model.predict(due)["predicted_clv"].sum()
    assert due["net_sales_28d"].sum() > 5 * actual, "the shop is of that kind"
    assert model.level_["kept"] > 0.9 and abs(predicted / actual - 1) < 0.3


def test_a_young_shop_has_the_total_of_the_model_and_says_so(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    model = ValueModel(spec, 1).fit(rows, FIRST + pd.Timedelta(days=63))
    assert model.level_["basis"] == "own_total"
    assert any("2 closed cut-offs with a full last window, needed are 4" in note for note in model.notes_)
    taught = rows[rows["as_of_date"].isin([FIRST + pd.Timedelta(days=day) for day in (7, 21, 35)])]
    assert model.cut_offs_ == 3
    assert model.predict(taught)["predicted_clv"].sum() == pytest.approx(taught["net_sales_value_window"].sum())


def test_the_first_interval_is_measured_on_other_customers_and_says_so(
    spec: ValueSpecification, rows: pd.DataFrame
) -> None:
    model = ValueModel(spec, 1).fit(rows, FIRST + pd.Timedelta(days=49))
    assert any("may be too narrow" in note for note in model.notes_)
    due = of_day(rows, FIRST + pd.Timedelta(days=49))
    scored = model.predict(due)
    inside = due["net_sales_value_window"].between(scored["lower_80"], scored["upper_80"]).mean()
    assert 0.65 < inside < 0.95


def test_the_interval_holds_about_eight_times_in_ten(spec: ValueSpecification) -> None:
    rows = make_value_rows(*make_days(800, seed=4))
    model = ValueModel(spec, 1).fit(rows, AS_OF)
    due = of_day(rows)
    scored, actual = model.predict(due), due["net_sales_value_window"]
    assert 0.75 < actual.between(scored["lower_80"], scored["upper_80"]).mean() < 0.88
    # Not wide for all: it follows the customer.
    width = scored["upper_80"] - scored["lower_80"]
    assert width[scored["predicted_clv"].rank(pct=True) < 0.2].mean() < 0.6 * width.mean()
    ordered = scored.sort_values("predicted_clv")
    assert (np.diff(ordered["lower_80"]) >= -1e-9).all() and (np.diff(ordered["upper_80"]) >= -1e-9).all()


def test_the_interval_is_not_that_of_a_model_that_knows_the_answers(rows: pd.DataFrame) -> None:
    """A model that learns its rows by heart is certain of them; forward in time it is not."""
    by_heart = {"kernel_weight": 0.0, "num_leaves": 31, "rounds": 150, "min_rows_in_leaf": 5, "l2": 0.0}
    spec = make_value_specification(parameters=make_value_specification().parameters.model_copy(update=by_heart))
    model, due = ValueModel(spec, 1).fit(rows, AS_OF), of_day(rows)
    scored = model.predict(due)
    assert due["net_sales_value_window"].between(scored["lower_80"], scored["upper_80"]).mean() > 0.7
    taught = of_day(rows, AS_OF - pd.Timedelta(days=28))
    scored = model.predict(taught)
    assert taught["net_sales_value_window"].between(scored["lower_80"], scored["upper_80"]).mean() > 0.9


@pytest.mark.parametrize(
    "day, change, words",
    [
        (168, lambda rows: rows.iloc[:0], ["0 labelled rows", "needed are 200"]),
        (35, lambda rows: rows, ["1 cut-offs whose window has closed", "needed are 2"]),
        (168, lambda rows: rows.assign(net_sales_value_window=0.0), ["0 of them with net_sales_value_window above 0"]),
        (168, lambda rows: rows.assign(net_sales_value_window=np.nan), ["0 labelled rows"]),
        (168, lambda rows: rows.assign(net_sales_value_window=-5.0), ["0 of them with net_sales_value_window above"]),
    ],
)
def test_too_little_says_what_is_there_and_what_is_needed(
    spec: ValueSpecification, rows: pd.DataFrame, day: int, change: object, words: list[str]
) -> None:
    assert callable(change)
    with pytest.raises(TooLittleDataError) as caught:
        ValueModel(spec, 1).fit(change(rows), FIRST + pd.Timedelta(days=day))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("column", ["hint", "net_sales_28d", "net_sales_value_window", "tenure_days"])
def test_infinite_values_and_missing_columns_are_named(
    spec: ValueSpecification, rows: pd.DataFrame, model: ValueModel, column: str
) -> None:
    newest_closed = of_day(rows, FIRST + pd.Timedelta(days=140)).index[0]
    broken = rows.assign(**{column: rows[column].astype(float).where(rows.index != newest_closed, np.inf)})
    with pytest.raises(ValueError, match=f"{column} is infinite in 1 of"):
        ValueModel(spec, 1).fit(broken, AS_OF)
    with pytest.raises(ValueError, match=f"no column {column}"):
        ValueModel(spec, 1).fit(rows.drop(columns=column), AS_OF)
    if column in spec.features:
        with pytest.raises(ValueError, match=f"no column {column}"):
            model.predict(rows.drop(columns=column))
    else:
        model.predict(rows.drop(columns=column))


def test_text_and_twice_the_same_customer_are_refused(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="must name one row"):
        ValueModel(spec, 1).fit(pd.concat([rows, rows.head(1)]), AS_OF)
    with pytest.raises(ValueError, match="must name one row"):
        ValueModel(spec, 1).fit(pd.concat([rows, of_day(rows).head(1)]), AS_OF)
    with pytest.raises(ValueError, match="net_sales_value_window holds something that is no number"):
        ValueModel(spec, 1).fit(rows.assign(net_sales_value_window="much"), AS_OF)


def test_constant_and_empty_features_are_left_out_and_said(spec: ValueSpecification, rows: pd.DataFrame) -> None:
    model = ValueModel(spec, 1).fit(rows.assign(hint=np.nan, net_sales_14d=3.0), AS_OF)
    assert any("hint left out: it is NULL" in note for note in model.notes_)
    assert any("net_sales_14d left out: it is 3" in note for note in model.notes_)
    nothing = rows.assign(**dict.fromkeys(spec.features, 1.0))
    with pytest.raises(ValueError, match="none of the 7 features varies"):
        ValueModel(spec, 1).fit(nothing, AS_OF)
    trees_only = make_value_specification(money_features=("hint",))
    model = ValueModel(trees_only, 1).fit(rows.assign(hint=1.0), AS_OF)
    assert any("no kernel regression" in note for note in model.notes_)
    assert np.isfinite(model.predict(of_day(rows))[SCORES]).all(axis=None)


def test_returns_beyond_sales_stay_finite_and_above_zero(spec: ValueSpecification) -> None:
    sales, rates = make_days(seed=5)
    generator = np.random.default_rng(5)
    sales = np.where(generator.random(sales.shape) < 0.4, -1.5 * sales, sales)
    rows = make_value_rows(sales, rates)
    assert (rows["net_sales_value_window"] < 0).mean() > 0.2 and of_day(rows)["net_sales_28d"].sum() < 0.3 * 300 * 60
    scored = ValueModel(spec, 1).fit(rows, AS_OF).predict(of_day(rows))
    assert np.isfinite(scored[SCORES[:3]]).all(axis=None) and (scored[SCORES[:3]] >= 0).all(axis=None)
    # More returned than sold in all: the model's own total, and a note.
    worse = rows.assign(net_sales_28d=-rows["net_sales_28d"].abs())
    model = ValueModel(spec, 1).fit(worse, AS_OF)
    assert model.level_["basis"] == "own_total" and any("model's own" in note for note in model.notes_)
    assert (model.predict(of_day(worse))[SCORES[:3]] >= 0).all(axis=None)


def test_unknown_values_are_scored(model: ValueModel, rows: pd.DataFrame) -> None:
    unknown = of_day(rows).assign(**dict.fromkeys(("hint", "recency_days", "net_sales_28d"), np.nan))
    assert np.isfinite(model.predict(unknown)[SCORES]).all(axis=None)


def test_rows_beyond_the_limit_are_drawn_by_customer(rows: pd.DataFrame) -> None:
    small = make_value_specification(
        parameters=make_value_specification().parameters.model_copy(update={"max_rows": 1000})
    )
    model = ValueModel(small, 1).fit(rows, AS_OF)
    assert 900 < model.rows_ <= 1000 and model.cut_offs_ > 3
    assert model.text() == ValueModel(small, 1).fit(rows.sample(frac=1, random_state=1), AS_OF).text()


def test_cut_offs_apart_are_counted_from_the_newest() -> None:
    times = pd.Series(pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-10", "2024-01-22", "2024-01-22"]))
    assert [str(time.date()) for time in apart(times, 14)] == ["2024-01-22", "2024-01-08"]


def test_a_specification_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="money_features but no features"):
        make_value_specification(money_features=("age",))
    with pytest.raises(ValueError, match="would tell the label"):
        make_value_specification(features=("net_sales_value_window",), money_features=())
    with pytest.raises(ValueError, match="net_sales_85d"):
        value_specification(85)


def test_the_committed_one_takes_its_last_window_from_its_length() -> None:
    committed = value_specification()
    assert (committed.window_days, committed.last_window_column) == (84, "net_sales_84d")
    assert value_specification(56).last_window_column == "net_sales_56d"
    assert len(set(committed.features)) == len(committed.features) == 114
    assert len(set(committed.money_features)) == len(committed.money_features) == 46
    assert not set(committed.features) & {"age_band", "income_band", "kids_count"}
    assert ValueSpecification.model_validate(committed.model_dump(mode="json")) == committed
