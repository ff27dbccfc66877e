"""What the gates found: the record that publication trusts, and nothing else.

A check that passed is worth something only for the content that it saw. So each result carries the content hash of
the table it looked at, and publication asks for the newest result of every check that must exist, on exactly the
content that it is about to publish. A check that failed, raised, never ran, or ran on other content all block.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import duckdb

from orchestration.content_hash import TableContent, table_content

# What nothing but dbt writes.
DBT_SCHEMAS = ("staging", "core", "features", "marts")


@dataclass(frozen=True)
class CheckResult:
    """One rule on one table."""

    gate: str
    check_name: str
    table_name: str
    passed: bool
    severity: str = "error"  # "error" blocks, "warn" reports
    row_count: int | None = None
    unexpected_rows: int | None = None
    message: str | None = None
    content_hash: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether this result stops what comes after."""
        return not self.passed and self.severity == "error"

    def describe_failure(self) -> str:
        """The failed rule in one line: gate, rule, table, rows, what was found and what to do."""
        rows = "" if self.unexpected_rows is None else f" ({self.unexpected_rows} rows)"
        return f"gate {self.gate}: {self.check_name} on {self.table_name} failed{rows}: {self.message}"


def record(
    connection: duckdb.DuckDBPyConnection, results: Iterable[CheckResult], *, run_id: str, as_of_date: date | None
) -> None:
    """Appends results, all or none."""
    checked_at = datetime.now(UTC).replace(tzinfo=None)
    rows = [
        (
            run_id,
            as_of_date,
            result.gate,
            result.check_name,
            result.table_name,
            result.severity,
            result.passed,
            result.row_count,
            result.unexpected_rows,
            result.message,
            result.content_hash,
            checked_at,
        )
        for result in results
    ]
    if rows:
        connection.execute("begin")
        connection.executemany(
            "insert into control.check_results (run_id, as_of_date, gate, check_name, table_name, severity, passed,"
            " row_count, unexpected_rows, message, content_hash, checked_at)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        connection.execute("commit")


def relation_contents(
    connection: duckdb.DuckDBPyConnection,
    relations: Iterable[str],
    raw_hashes: Mapping[str, str],
    known: MutableMapping[str, TableContent] | None = None,
) -> dict[str, TableContent]:
    """Content of each relation (`schema.table`) that exists.

    Args:
        connection: The warehouse.
        relations: What to look at.
        raw_hashes: Content hash of each raw table, from the ledger. A view of staging or core reads raw files in place
            and is known by its definition and theirs: it is not read through for a hash.
        known: Content of tables of dbt's as it was read before and still is; what is read of them now is added. Not of
            views, which change with what they read.
    """
    known = {} if known is None else known
    views = {
        f"{schema}.{name}": sql
        for schema, name, sql in connection.execute(
            "select schema_name, view_name, sql from duckdb_views() where not internal"
        ).fetchall()
    }
    tables = {
        f"{schema}.{name}"
        for schema, name in connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
    }
    contents = {}
    for relation in relations:
        schema = relation.split(".")[0]
        if relation in raw_hashes:
            contents[relation] = TableContent(None, raw_hashes[relation])
        elif relation in views and schema in ("staging", "core"):
            definition = json.dumps([views[relation], sorted(raw_hashes.items())])
            contents[relation] = TableContent(None, hashlib.sha256(definition.encode()).hexdigest())
        elif relation in tables and schema in DBT_SCHEMAS:
            contents[relation] = known[relation] = known.get(relation) or table_content(connection, relation)
        elif relation in views or relation in tables:
            contents[relation] = table_content(connection, relation)
    return contents


def reasons_not_to_publish(
    connection: duckdb.DuckDBPyConnection,
    expected: Iterable[tuple[str, str]],
    contents: Mapping[str, TableContent],
) -> list[str]:
    """Why publication must not happen; none where every check passed on exactly these tables.

    Args:
        connection: The warehouse.
        expected: Every blocking check that must have passed, as (check_name, table_name).
        contents: The content of the tables now.
    """
    newest = {
        (check_name, table_name): (passed, severity, content_hash, gate, message)
        for check_name, table_name, passed, severity, content_hash, gate, message in connection.execute(
            "select check_name, table_name, passed, severity, content_hash, gate, message from control.check_results"
            " qualify row_number() over (partition by check_name, table_name order by result_id desc) = 1"
        ).fetchall()
    }
    reasons = []
    for check_name, table_name in sorted(set(expected)):
        found = newest.get((check_name, table_name))
        content = contents.get(table_name)
        if found is None:
            reasons.append(f"{check_name} on {table_name} never ran. Run the whole refresh")
        elif not found[0]:
            reasons.append(f"{check_name} on {table_name} failed (gate {found[3]}). {found[4] or ''}".rstrip())
        elif content is None:
            reasons.append(f"{table_name} does not exist. Run the whole refresh")
        elif found[2] != content.content_hash:
            reasons.append(f"{table_name} is not what {check_name} passed: it has changed since. Run the whole refresh")
    return reasons
