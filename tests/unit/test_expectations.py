"""The suites fail closed: every rule has a mutant that trips it, and what they say holds keys and counts, no values."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from dagster import AssetCheckExecutionContext, AssetCheckSeverity, AssetKey

from orchestration.checks import expectations
from orchestration.checks.asset_checks import asset_check_result
from orchestration.checks.expectations import GUARDS, Rule, Suite
from orchestration.checks.marts import CUSTOMER_360, KPI_DAILY, marts_suites
from orchestration.checks.records import CheckResult
from orchestration.settings import load_settings

CANARY = "CANARY-7f3a"
SUITES = marts_suites(load_settings())
CLASS_CHANGES = SUITES[-1]
HASH = "content"


def suite(*rules: Rule, key: tuple[str, ...] = ("id",)) -> Suite:
    return Suite("sample", "marts", "marts.sample", key, "Mend the rows", rules)


def between(column: str, least: float, most: float) -> Rule:
    limits = {"column": column, "min_value": least, "max_value": most}
    return Rule("is_in_range", f"{column} in range", "ExpectColumnValuesToBeBetween", limits)


SCORES = suite(between("score", 1, 5))


def good_scores() -> pd.DataFrame:
    return pd.DataFrame({"id": [f"c{number}" for number in range(8)], "score": [1.0, 2, 3, 4, 5, 1, 2, 3]})


def failed(results: list[CheckResult]) -> set[str]:
    return {result.check_name for result in results if not result.passed}


def validate(suite: Suite, frame: pd.DataFrame) -> list[CheckResult]:
    """The results, which are one per check of the suite, in its order."""
    results = suite.validate(frame, HASH)
    assert [result.check_name for result in results] == suite.check_names
    assert all(result.row_count == len(frame) and result.content_hash == HASH for result in results)
    return results


# The adapter --------------------------------------------------------------------------------------


def test_a_good_frame_passes() -> None:
    results = validate(SCORES, good_scores())
    assert failed(results) == set()
    assert all(result.message is None for result in results)


def test_an_empty_frame_fails_every_rule() -> None:
    for frame in good_scores().iloc[:0], pd.DataFrame():
        results = SCORES.validate(frame, HASH)
        assert failed(results) == {"sample_has_rows", "sample_is_in_range"}
        assert "the table has no rows. Mend the rows" in {result.message for result in results}


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
def test_a_column_without_any_value_fails(nothing: Any) -> None:
    results = validate(SCORES, good_scores().assign(score=nothing))
    assert "sample_columns_have_values" in failed(results)
    assert "no value at all in score" in str(results)


def test_a_column_that_may_be_empty_may() -> None:
    lenient = Suite("sample", "marts", "marts.sample", ("id",), "Mend", SCORES.rules, may_be_empty=("score",))
    assert failed(validate(lenient, good_scores().assign(score=np.nan))) == set()


@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64"])
def test_an_infinity_fails_in_a_column_that_no_rule_looks_at(infinity: float, dtype: str) -> None:
    frame = good_scores().assign(other=pd.Series([1.0] * 7 + [infinity], dtype=dtype))
    results = validate(SCORES, frame)
    assert failed(results) == {"sample_numbers_are_finite"}
    assert "infinite values in other" in str(results)


def test_not_a_number_is_a_missing_value() -> None:
    """A frame from DuckDB shows NULL in a number as NaN: the two cannot be told apart, and neither passes."""
    required = suite(Rule("is_given", "a score", "ExpectColumnValuesToNotBeNull", {"column": "score"}))
    frame = good_scores()
    frame.loc[3, "score"] = np.nan
    (result,) = [result for result in validate(required, frame) if not result.passed]
    assert (result.check_name, result.unexpected_rows, result.message) == (
        "sample_is_given",
        1,
        "a score: id=c3. Mend the rows",
    )


def test_a_missing_column_fails_the_rules_on_it() -> None:
    results = validate(SCORES, good_scores().drop(columns="score"))
    assert failed(results) == {"sample_is_in_range"}
    assert "it could not be decided" in str(results)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.assign(extra=1),
        lambda frame: frame[["score", "id"]],
        lambda frame: frame.drop(columns="score"),
        lambda frame: frame.rename(columns={"score": "points"}),
    ],
    ids=["extra", "re-ordered", "missing", "renamed"],
)
def test_columns_that_are_not_the_listed_ones_in_order_fail(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    columns = {"column_list": ["id", "score"]}
    listed = suite(Rule("columns_match", "these columns", "ExpectTableColumnsToMatchOrderedList", columns))
    assert failed(validate(listed, good_scores())) == set()
    assert failed(validate(listed, change(good_scores()))) == {"sample_columns_match"}


def test_a_column_of_another_type_fails() -> None:
    results = validate(SCORES, good_scores().assign(score=list("abcdefgh")))
    assert failed(results) == {"sample_is_in_range"}
    assert "it could not be decided" in str(results)


def test_a_rule_that_raises_fails_and_the_others_are_still_decided() -> None:
    invalid = Rule("is_named", "a name", "ExpectColumnValuesToMatchRegex", {"column": "id", "regex": "("})
    results = validate(suite(invalid, between("score", 1, 4)), good_scores())
    assert failed(results) == {"sample_is_named", "sample_is_in_range"}
    by_name = {result.check_name: result for result in results}
    assert "it could not be decided" in str(by_name["sample_is_named"].message)
    assert by_name["sample_is_in_range"].unexpected_rows == 1


def test_a_rule_without_a_result_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectations, "_run", lambda *_: {})
    results = validate(SCORES, good_scores())
    assert failed(results) == {"sample_is_in_range"}
    assert "the rule did not run" in str(results)


def test_a_suite_without_rules_or_with_two_alike_is_refused() -> None:
    with pytest.raises(ValueError, match="suite sample has no rules; a gate without rules would pass anything"):
        suite()
    with pytest.raises(ValueError, match="suite sample names two rules alike"):
        suite(between("score", 1, 5), between("id", 0, 1))
    with pytest.raises(ValueError, match="suite sample names two rules alike"):
        suite(Rule(GUARDS[0], "rows", "ExpectColumnValuesToNotBeNull", {"column": "id"}))


def test_a_message_holds_some_keys_the_count_and_what_to_do() -> None:
    frame = pd.concat([good_scores()] * 2, ignore_index=True).assign(id=[f"c{number}" for number in range(16)])
    (result,) = [result for result in validate(SCORES, frame.assign(score=9.0).sort_values("id")) if not result.passed]
    assert result.unexpected_rows == 16
    assert result.message == "score in range: id=c0; id=c1; id=c10; id=c11; id=c12; and 11 more. Mend the rows"
    assert result.describe_failure().startswith("gate marts: sample_is_in_range on marts.sample failed (16 rows): ")


# No values ----------------------------------------------------------------------------------------

ON_TEXT: dict[str, dict[str, Any]] = {
    "ExpectColumnValuesToBeBetween": {"min_value": 1, "max_value": 5},
    "ExpectColumnValuesToBeInSet": {"value_set": ["a", "b"]},
    "ExpectColumnValuesToMatchRegex": {"regex": "^[a-z]$"},
    "ExpectColumnValuesToBeOfType": {"type_": "int64"},
    "ExpectColumnValueLengthsToBeBetween": {"max_value": 1},
    "ExpectColumnValuesToBeUnique": {},
    "ExpectColumnDistinctValuesToBeInSet": {"value_set": ["a", "b"]},
    "ExpectColumnMostCommonValueToBeInSet": {"value_set": ["a"]},
    "ExpectColumnMaxToBeBetween": {"max_value": 1},
    "ExpectColumnMedianToBeBetween": {"max_value": 1},
    "ExpectColumnStdevToBeBetween": {"max_value": 1},
    "ExpectColumnValueZScoresToBeLessThan": {"threshold": 3, "double_sided": True},
    "ExpectColumnMeanToBeBetween": {"min_value": 0},
    "ExpectColumnSumToBeBetween": {"min_value": 0},
}


@pytest.mark.parametrize("others", [list("ababa"), [1, 2, 1, 2, 1]], ids=["among text", "among numbers"])
@pytest.mark.parametrize("expectation", ON_TEXT)
def test_no_expectation_tells_a_value(expectation: str, others: list[object]) -> None:
    rule = Rule("holds", "it holds", expectation, {"column": "email", **ON_TEXT[expectation]})
    frame = good_scores().assign(email=pd.Series([CANARY] * 3 + others))
    results = validate(suite(rule), frame)
    assert failed(results) == {"sample_holds"}
    assert CANARY not in repr(results)


def customers() -> pd.DataFrame:
    """A good customer_360, in the columns that the rules look at and one that they do not."""
    frame = pd.DataFrame({"customer_id": [f"c{number}" for number in range(6)]})
    return frame.assign(
        as_of_date=pd.Timestamp("2018-01-01"),
        age_band=["19-24", "25-34", "unknown", "35-44", "45-54", "65+"],
        lifetime_count_orders=[0, 1, 5, 20, 80, 3],
        lifetime_net_sales=[0.0, 10.5, 99.9, 512.25, 4000.0, 33.0],
        average_days_between_orders=[np.nan, np.nan, 7.5, 3.25, 1.0, 30.0],
        tenure_days=[np.nan, 1, 90, 300, 360, 200],
        recency_days=[np.nan, 1, 7, 2, 1, 90],
        frequency=[0, 1, 5, 18, 80, 3],
        monetary=[0.0, 10.5, 99.9, 500.0, 4000.0, 33.0],
        r_score=[np.nan, 5, 2, 3, 5, 1],
        f_score=[np.nan, 1, 3, 4, 5, 2],
        m_score=[np.nan, 1, 3, 4, 5, 2],
        rfm_segment=["prospects", "new", "active", "loyal", "champions", "dormant"],
        lifecycle_stage=["prospect", "new", "mature", "growing", "mature", "dormant"],
        predicted_clv=[np.nan, 10.0, 25.5, 150.0, 900.0, 0.0],
        predicted_clv_upper_80=[np.nan, 30.0, 60.0, 220.0, 1200.0, 5.0],
        key_account_probability=[np.nan, 0.01, 0.02, 0.2, 0.9, 0.0],
    )


def days() -> pd.DataFrame:
    """A good kpi_daily."""
    frame = pd.DataFrame({"business_date": pd.date_range("2017-01-01", periods=4)})
    return frame.assign(
        orders=[4, 0, 2, 9],
        gross_sales=[50.0, 0.0, 12.5, 120.0],
        discounts=[5.0, 0.0, 12.5, 20.0],
        net_sales=[45.0, 0.0, 0.0, 100.0],
        active_customers=[3, 0, 2, 9],
        new_customers=[3, 0, 0, 2],
    )


def class_changes() -> pd.DataFrame:
    """Shares of customers who changed class, one classification on its first days."""
    frame = pd.DataFrame({"classification": ["rfm_segment", "value_tier", "lifecycle_stage"]})
    return frame.assign(
        share=[0.2, 0.05, 0.3],
        count_earlier=[6, 6, 0],
        usual_share=[0.19, 0.02, np.nan],
        times_the_usual=[1.05, 2.5, 1.0],
    )


GOOD: dict[str, Callable[[], pd.DataFrame]] = {
    CUSTOMER_360.name: customers,
    KPI_DAILY.name: days,
    CLASS_CHANGES.name: class_changes,
}


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_good_marts_pass(suite: Suite) -> None:
    assert failed(validate(suite, GOOD[suite.name]())) == set()


@pytest.mark.parametrize(
    "suite, column", [(suite, column) for suite in SUITES for column in GOOD[suite.name]() if column not in suite.key]
)
def test_neither_the_record_nor_dagster_is_told_a_value(suite: Suite, column: str) -> None:
    frame = GOOD[suite.name]().astype({column: object})
    frame.loc[[1, 2], column] = CANARY
    results = validate(suite, frame)

    log: list[str] = []
    context = cast(AssetCheckExecutionContext, SimpleNamespace(log=SimpleNamespace(error=log.append)))
    shown = asset_check_result(context, results, AssetKey(suite.table_name.split(".")), "marts_gate")

    assert CANARY not in repr([results, log, shown])
    assert shown.passed is not bool(failed(results))
    assert (shown.severity == AssetCheckSeverity.ERROR) == any(result.blocks for result in results)
    assert len(log) == len(failed(results))


def test_a_suite_that_warns_does_not_block() -> None:
    results = validate(CLASS_CHANGES, class_changes().assign(times_the_usual=9.0))
    assert [result.check_name for result in results if not result.passed] == ["class_changes_are_as_usual"]
    assert not any(result.blocks for result in results)


def test_dagster_is_told_the_rule_the_count_and_the_keys_and_blocks() -> None:
    frame = customers()
    frame.loc[3, "r_score"] = 9
    context = cast(AssetCheckExecutionContext, SimpleNamespace(log=SimpleNamespace(error=lambda _: None)))
    shown = asset_check_result(context, validate(CUSTOMER_360, frame), AssetKey(["marts", "customer_360"]), "gate")
    assert (shown.passed, shown.severity) == (False, AssetCheckSeverity.ERROR)
    assert shown.description == (
        "gate marts: customer_360_r_score_is_1_to_5 on marts.customer_360 failed (1 rows):"
        f" r_score from 1 to 5: customer_id=c3. {CUSTOMER_360.remedy}"
    )


# Mutants ------------------------------------------------------------------------------------------

Mutation = Callable[[pd.DataFrame], pd.DataFrame]


def put(row: int, **values: Any) -> Mutation:
    """One row with other values."""

    def mutate(frame: pd.DataFrame) -> pd.DataFrame:
        for column, value in values.items():
            frame.loc[row, column] = value
        return frame

    return mutate


def no_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:0]


MUTANTS: dict[str, list[Mutation]] = {
    "customer_360_has_rows": [no_rows],
    "customer_360_columns_have_values": [lambda frame: frame.assign(age_band=None)],
    "customer_360_numbers_are_finite": [put(4, lifetime_net_sales=np.inf), put(4, monetary=-np.inf)],
    "customer_360_is_of_one_day": [put(0, as_of_date=pd.Timestamp("2017-12-31"))],
    "customer_360_customers_are_named": [put(2, customer_id=None)],
    "customer_360_recency_is_positive": [put(1, recency_days=0)],
    "customer_360_tenure_covers_recency": [put(5, tenure_days=89)],
    "customer_360_frequency_is_within_lifetime": [put(4, frequency=81)],
    "customer_360_r_score_is_1_to_5": [put(1, r_score=0), put(1, r_score=6)],
    "customer_360_f_score_is_1_to_5": [put(1, f_score=0), put(1, f_score=6)],
    "customer_360_m_score_is_1_to_5": [put(1, m_score=0), put(1, m_score=6)],
    "customer_360_segments_are_given": [put(3, rfm_segment=None)],
    "customer_360_stages_are_given": [put(3, lifecycle_stage=None)],
    "customer_360_values_are_positive": [put(5, predicted_clv=-0.01)],
    "customer_360_intervals_hold": [put(3, predicted_clv_upper_80=149.99)],
    "customer_360_key_account_is_likely_or_not": [
        put(3, key_account_probability=-0.1),
        put(3, key_account_probability=1.1),
    ],
    "kpi_daily_has_rows": [no_rows],
    "kpi_daily_columns_have_values": [lambda frame: frame.assign(net_sales_per_head=np.nan)],
    "kpi_daily_numbers_are_finite": [put(0, gross_sales=np.inf), put(0, net_sales=-np.inf)],
    "kpi_daily_days_are_unique": [put(1, business_date=pd.Timestamp("2017-01-01"))],
    "kpi_daily_orders_are_counted": [put(1, orders=-1, active_customers=-1, new_customers=-1)],
    "kpi_daily_customers_have_orders": [put(2, active_customers=3)],
    "kpi_daily_newcomers_are_active": [put(3, new_customers=10)],
    "kpi_daily_gross_covers_discounts": [put(2, discounts=12.51)],
    "kpi_daily_some_day_has_sales": [lambda frame: frame.assign(net_sales=0.0)],
    "class_changes_has_rows": [no_rows],
    "class_changes_columns_have_values": [lambda frame: frame.assign(share=np.nan)],
    "class_changes_numbers_are_finite": [put(0, share=np.inf)],
    "class_changes_are_as_usual": [put(1, times_the_usual=3.1)],
}


def test_every_check_has_a_mutant_and_every_mutant_a_check() -> None:
    assert [name for suite in SUITES for name in suite.check_names] == list(MUTANTS)


def mutants() -> Iterator[tuple[Suite, str, Mutation]]:
    for suite in SUITES:
        for name in suite.check_names:
            for mutate in MUTANTS.get(name, []):
                yield suite, name, mutate


@pytest.mark.parametrize("suite, check_name, mutate", mutants())
def test_a_mutant_trips_its_check_alone(suite: Suite, check_name: str, mutate: Mutation) -> None:
    results = validate(suite, mutate(GOOD[suite.name]()))
    if check_name.endswith("_has_rows"):
        # Without rows no rule can be decided, and none passes; the other guards have nothing to say.
        assert failed(results) == {name for name in suite.check_names if not name.endswith(GUARDS[1:])}
    else:
        assert failed(results) == {check_name}
