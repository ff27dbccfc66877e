"""How many customers change class, beside earlier pairs of days about as far apart."""

from collections.abc import Iterator
from datetime import date, timedelta

import duckdb
import pytest

from orchestration.checks.marts import marts_suites, read_frame
from orchestration.settings import load_settings

SUITE = marts_suites(load_settings())[-1]
DAY = date(2018, 1, 1)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute(
            "create schema control; create schema marts; create table control.refresh as select ? as as_of_date", [DAY]
        )
        made.execute(
            "create table marts.segment_transitions (as_of_date date, previous_as_of_date date, classification varchar,"
            " from_label varchar, to_label varchar, customers bigint)"
        )
        yield made


def move(connection: duckdb.DuckDBPyConnection, day: date, days: int | None, changed: int) -> None:
    """A hundred customers, of whom so many change from gold to silver; ten more are new, and never count."""
    before = None if days is None else day - timedelta(days=days)
    rows = (
        [("not_known", "gold", 100)]
        if before is None
        else [("gold", "gold", 100 - changed), ("gold", "silver", changed)]
    )
    for from_label, to_label, customers in [*rows, ("not_known", "silver", 10)]:
        connection.execute(
            "insert into marts.segment_transitions values (?, ?, 'value_tier', ?, ?, ?)",
            [day, before, from_label, to_label, customers],
        )


def history(connection: duckdb.DuckDBPyConnection, days: int, changed: int, pairs: int) -> None:
    for pair in range(1, pairs + 1):
        move(connection, DAY - timedelta(days=days * pair), days, changed)


def found(connection: duckdb.DuckDBPyConnection) -> tuple[float, set[str]]:
    """Times the usual, to a thousandth, and the rules that are broken."""
    frame = read_frame(connection, SUITE)
    results = SUITE.validate(frame, "hash")
    assert not any(result.blocks for result in results)
    broken = {result.check_name for result in results if not result.passed}
    return round(float(frame["times_the_usual"].iloc[0]), 3), broken


@pytest.mark.parametrize(
    "changed, times, broken",
    [(10, 1.0, set()), (30, 3.0, set()), (31, 3.1, {"class_changes_are_as_usual"}), (0, 0.1, set())],
)
def test_a_jump_against_its_own_history_warns(
    connection: duckdb.DuckDBPyConnection, changed: int, times: float, broken: set[str]
) -> None:
    history(connection, days=28, changed=10, pairs=5)
    move(connection, DAY, 28, changed)
    assert found(connection) == (times, broken)


def test_days_further_apart_are_not_compared(connection: duckdb.DuckDBPyConnection) -> None:
    """In four weeks more change than in a day: yesterday's share says nothing of it."""
    history(connection, days=1, changed=1, pairs=9)
    move(connection, DAY, 28, 40)
    assert found(connection) == (1.0, set())


def test_few_pairs_of_days_and_the_first_day_have_nothing_usual(connection: duckdb.DuckDBPyConnection) -> None:
    history(connection, days=28, changed=1, pairs=3)
    move(connection, DAY, 28, 90)
    assert found(connection) == (1.0, set())
    connection.execute("delete from marts.segment_transitions")
    move(connection, DAY, None, 0)
    assert found(connection) == (1.0, set())


def test_a_few_customers_more_are_no_jump(connection: duckdb.DuckDBPyConnection) -> None:
    history(connection, days=28, changed=0, pairs=5)
    move(connection, DAY, 28, 3)
    assert found(connection) == (3.0, set())
    move(connection, DAY - timedelta(days=400), 28, 50)
    assert found(connection) == (3.0, set()), "one odd month is not the usual"
