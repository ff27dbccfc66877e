"""Gate 1: is what landed what the source declares? Profiles of the raw tables, judged before staging reads a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise

import duckdb
import pandas as pd

from orchestration.checks.expectations import SHOWN_KEYS, Rule, Suite
from orchestration.checks.raw_counts import count_values, keep
from orchestration.checks.records import CheckResult
from orchestration.content_hash import quote_identifier
from orchestration.landing import AUDIT_COLUMNS, LedgerEntry, business_days, raw_content_hash
from orchestration.settings import Settings
from orchestration.sources import RawTable, Source, type_family

GATE = "landing"
DAYS_LOOKED_AT = 10
NEVER_DAYS = 10**6


@dataclass(frozen=True)
class LandingProfile:
    """A raw table in figures.

    Attributes:
        row_count: Its rows.
        table: One row: `row_count`, `previous_row_count` (of the last good load, or its own where there is none),
            `volume_ratio`, `conflicting_keys` and some of them in `conflicts`, `days_without_orders` (0 where the
            table has no events).
        columns: One row per declared or found column: `column_name`, `is_declared`, `is_present`, `type_fits`,
            `found_type`, `null_share`, `max_null_share`, `not_finite` (NaN and ±inf values). Undeclared columns that
            the source keeps are not found: no view shows them.
    """

    row_count: int
    table: pd.DataFrame
    columns: pd.DataFrame


def profile_raw_table(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    table: RawTable,
    settings: Settings,
    as_of_date: date,
    entries: Sequence[LedgerEntry] = (),
) -> LandingProfile:
    """Profiles a raw table through its view; every figure is computed by DuckDB, in place.

    Args:
        connection: With the view.
        source: Whose table.
        table: The table.
        settings: How many NULLs are too many.
        as_of_date: The day to refresh.
        entries: The files that the view shows, whose counts are kept from run to run; none to keep nothing.
    """
    found = {
        name: dtype
        for name, dtype, *_ in connection.execute(f"describe {table.view}").fetchall()
        if name not in AUDIT_COLUMNS
    }
    counts = count_values(connection, table, found, entries)
    row_count = counts.row_count

    declared = {column.name: column for column in table.columns}
    columns = []
    for name in dict.fromkeys([*declared, *found]):
        column = declared.get(name)
        is_present = name in found
        max_null_share = 1.0  # an absent or undeclared column breaks another rule
        if column is not None and is_present:
            max_null_share = settings.max_null_share if column.max_null_share is None else column.max_null_share
        columns.append(
            {
                "column_name": name,
                "is_declared": column is not None,
                "is_present": is_present,
                "type_fits": column is None or not is_present or column.accepts(found[name]),
                "found_type": found.get(name, "missing"),
                "null_share": 1 - counts.filled.get(name, 0) / row_count if row_count else 1.0,
                "max_null_share": max_null_share,
                "not_finite": counts.not_finite.get(name, 0),
            }
        )

    previous_row_count = _last_good_row_count(connection, table) or row_count
    conflicting_keys, conflicts = _conflicting_keys(connection, table, list(found), counts.of_new)
    if entries and not conflicting_keys:
        keep(connection, table, counts)
    figures = {
        "row_count": row_count,
        "previous_row_count": previous_row_count,
        "volume_ratio": row_count / previous_row_count if previous_row_count else 1.0,
        "conflicting_keys": conflicting_keys,
        "conflicts": conflicts,
        "days_without_orders": _days_without_orders(connection, source, table, found, as_of_date),
    }
    return LandingProfile(row_count, table=pd.DataFrame([figures]), columns=pd.DataFrame(columns))


def _conflicting_keys(
    connection: duckdb.DuckDBPyConnection, table: RawTable, found: list[str], of_new: str | None
) -> tuple[int, str]:
    """How many keys stand for rows that differ, and some of them.

    Args:
        connection: With the table's view.
        table: The table.
        found: Columns of the view.
        of_new: Condition on rows without which no keys conflict; None where any may.
    """
    if not table.key or not set(table.key) <= set(found):
        return 0, ""
    key = ", ".join(quote_identifier(name) for name in table.key)
    is_whole = " and ".join(f"{quote_identifier(name)} is not null" for name in table.key)  # others go to quarantine
    row = "hash(" + ", ".join(quote_identifier(name) for name in found) + ")"
    rows = table.view
    if of_new is not None:
        rows = f"{rows} semi join (select {key} from {rows} where {of_new}) as new_rows using ({key})"
    conflicts = connection.execute(
        f"select {key} from {rows} where {is_whole} group by {key} having min({row}) != max({row}) order by all"
    ).fetchall()
    shown = "; ".join(
        ", ".join(f"{name}={value}" for name, value in zip(table.key, values, strict=True))
        for values in conflicts[:SHOWN_KEYS]
    )
    return len(conflicts), shown


def _last_good_row_count(connection: duckdb.DuckDBPyConnection, table: RawTable) -> int | None:
    """Rows of the table when it last passed the whole gate."""
    row = connection.execute(
        "select max(row_count) from control.check_results where gate = ? and table_name = ?"
        " group by run_id having bool_and(passed) order by max(result_id) desc limit 1",
        [GATE, table.view],
    ).fetchone()
    return None if row is None else row[0]


def _days_without_orders(
    connection: duckdb.DuckDBPyConnection, source: Source, table: RawTable, found: Mapping[str, str], as_of_date: date
) -> int:
    """The longest pause between the newest ten days with orders, and from the newest of them to the day itself.

    A pause before the day means that data is late; a pause behind the newest days means that their date is wrong.
    """
    if table.event_at is None or not (table.takes_text or type_family(found.get(table.event_at, "")) == "time"):
        return 0
    event_at = f"try_cast({quote_identifier(table.event_at)} as timestamp)"
    days = [day for day, _ in business_days(connection, table.view, event_at, source.time_zone) if day < as_of_date]
    newest = [*days[-DAYS_LOOKED_AT:], as_of_date]
    return max(((later - day).days for day, later in pairwise(newest)), default=NEVER_DAYS)


def landing_suites(source: Source, table: RawTable, settings: Settings) -> tuple[Suite, ...]:
    """The suites of a raw table: one for its figures, one for its columns; one that warns of unused ones."""
    where = f"dbt_project/models/staging/{source.name}/_{source.name}__sources.yml"
    table_suite = Suite(
        name="table_profile",
        gate=GATE,
        table_name=table.view,
        key=("row_count", "previous_row_count", "conflicting_keys", "conflicts", "days_without_orders"),
        remedy=f"Mend or deliver {table.name} again, then refresh",
        may_be_empty=("conflicts",),
        rules=(
            Rule(
                "volume_holds",
                f"at least {settings.min_volume_ratio:.0%} of the rows of the last good load"
                " (CUSTOMER360_MIN_VOLUME_RATIO)",
                "ExpectColumnValuesToBeBetween",
                {"column": "volume_ratio", "min_value": settings.min_volume_ratio},
            ),
            Rule(
                "keys_do_not_conflict",
                f"one key ({', '.join(table.key)}), one content",
                "ExpectColumnValuesToBeBetween",
                {"column": "conflicting_keys", "max_value": 0},
            ),
            Rule(
                "orders_are_fresh",
                f"no more than {settings.max_days_without_orders} days without orders before the refreshed day"
                " (CUSTOMER360_MAX_DAYS_WITHOUT_ORDERS)",
                "ExpectColumnValuesToBeBetween",
                {"column": "days_without_orders", "max_value": settings.max_days_without_orders},
            ),
        ),
    )
    declared = Rule(
        "columns_are_declared",
        "no column that is not declared",
        "ExpectColumnValuesToBeInSet",
        {"column": "is_declared", "value_set": [True]},
    )
    column_suite = Suite(
        name="column_profile",
        gate=GATE,
        table_name=table.view,
        key=("column_name", "found_type", "null_share", "not_finite"),
        remedy=f"Deliver {table.name} as {where} declares it, or declare the change there",
        rules=(
            *(() if source.keeps_undeclared else (declared,)),
            Rule(
                "columns_are_present",
                "every declared column",
                "ExpectColumnValuesToBeInSet",
                {"column": "is_present", "value_set": [True]},
            ),
            Rule(
                "types_fit",
                "every column of its declared type",
                "ExpectColumnValuesToBeInSet",
                {"column": "type_fits", "value_set": [True]},
            ),
            Rule(
                "nulls_are_few",
                "no more NULLs than declared",
                "ExpectColumnPairValuesAToBeGreaterThanB",
                {"column_A": "max_null_share", "column_B": "null_share", "or_equal": True},
            ),
            Rule(
                "values_are_finite",
                "no NaN and no infinity",
                "ExpectColumnValuesToBeBetween",
                {"column": "not_finite", "max_value": 0},
            ),
        ),
    )
    if not source.keeps_undeclared:
        return table_suite, column_suite
    unused_suite = Suite(
        name="unused_columns",
        gate=GATE,
        table_name=table.view,
        key=("column_name",),
        remedy=f"They stay in the raw files and are not used; name them as {where} does if they should be",
        rules=(declared,),
        severity="warn",
    )
    return table_suite, column_suite, unused_suite


def check_raw_table(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    table: RawTable,
    settings: Settings,
    as_of_date: date,
    entries: Sequence[LedgerEntry],
) -> list[CheckResult]:
    """Profiles a raw table, of these files, and judges the profile; an optional table that is absent passes."""
    content_hash = raw_content_hash(entries)
    suites = landing_suites(source, table, settings)
    if _is_absent(connection, table):
        return [
            CheckResult(
                gate=GATE,
                check_name=name,
                table_name=table.view,
                passed=True,
                severity=suite.severity,
                row_count=0,
                unexpected_rows=0,
                message="skipped: there is no such table, and there need not be one",
                content_hash=content_hash,
            )
            for suite in suites
            for name in suite.check_names
        ]
    profile = profile_raw_table(connection, source, table, settings, as_of_date, entries)
    frames = {
        "table_profile": profile.table,
        "column_profile": profile.columns,
        "unused_columns": _declared_columns(connection, table),
    }
    return [
        replace(result, row_count=profile.row_count)
        for suite in suites
        for result in suite.validate(frames[suite.name], content_hash)
    ]


def _is_absent(connection: duckdb.DuckDBPyConnection, table: RawTable) -> bool:
    """Whether an optional table has no file in force; a required one is never excused."""
    found = connection.execute("select 1 from control.absent_tables where table_name = ?", [table.name]).fetchone()
    return not table.is_required and found is not None


def _declared_columns(connection: duckdb.DuckDBPyConnection, table: RawTable) -> pd.DataFrame:
    """One row per declared column, and per column of the files that is not declared: `column_name`, `is_declared`."""
    undeclared = connection.execute(
        "select column_name from control.undeclared_columns where table_name = ? order by all", [table.name]
    ).fetchall()
    rows = [(column.name, True) for column in table.columns] + [(name, False) for (name,) in undeclared]
    return pd.DataFrame(rows, columns=["column_name", "is_declared"])
