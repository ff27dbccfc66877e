"""Content hashes of tables: order-free, over exact types.

Two tables have the same hash exactly when they have the same columns (names, order and types) and the
same multiset of rows. Gates record it for the table that they saw; publication compares it with the table
that it is about to publish. File bytes are never compared: DuckDB lays out equal tables differently.
"""

import hashlib
import json
from dataclasses import dataclass

import duckdb


@dataclass(frozen=True)
class TableContent:
    """What a table holds, in short: how many rows (None where nobody counted), and the hash of its columns and rows."""

    row_count: int | None
    content_hash: str


def quote_identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def table_content(connection: duckdb.DuckDBPyConnection, relation: str) -> TableContent:
    """Row count and content hash of `relation`.

    Args:
        connection: An open connection; it is only read from.
        relation: A table or view as it stands in SQL, quoted where needed (`marts.orders`).

    Returns:
        The number of rows and a SHA-256 hex digest over the columns' names and types, the number of rows,
        and the sum of the rows' 64-bit hashes: a sum does not depend on the order of the rows, and unlike
        XOR does not cancel equal ones.

    Raises:
        duckdb.CatalogException: `relation` does not exist.
    """
    columns = columns_of(connection, relation)
    row_count, hash_sum = connection.execute(
        f"select count(*), coalesce({_sum_of_hashes(columns)}, 0) from {relation}"
    ).fetchall()[0]
    return _content(columns, row_count, hash_sum)


def content_by_day(
    connection: duckdb.DuckDBPyConnection, relation: str, day_column: str
) -> tuple[TableContent, dict[str, TableContent]]:
    """What `table_content` tells, and the same of the rows of each day alone, in one reading.

    Args:
        connection: An open connection; it is only read from.
        relation: A table or view.
        day_column: Its column of the day, which may be NULL.

    Returns:
        The content of all rows, and that of each day's, by the day in ISO's form; "" is the day of those without one.
    """
    columns = columns_of(connection, relation)
    days = connection.execute(
        f"select coalesce({day_column}::varchar, ''), count(*), {_sum_of_hashes(columns)} from {relation} group by all"
    ).fetchall()
    whole = _content(columns, sum(row_count for _, row_count, _ in days), sum(hash_sum for *_, hash_sum in days))
    return whole, {day: _content(columns, row_count, hash_sum) for day, row_count, hash_sum in days}


def _content(columns: list[tuple[str, str]], row_count: int, hash_sum: int) -> TableContent:
    digest = hashlib.sha256(json.dumps([columns, row_count, str(hash_sum)]).encode()).hexdigest()
    return TableContent(row_count, digest)


def columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> list[tuple[str, str]]:
    """Names and types of the columns of `relation`, in their order."""
    return [(name, dtype) for name, dtype, *_ in connection.execute(f"describe {relation}").fetchall()]


def _sum_of_hashes(columns: list[tuple[str, str]]) -> str:
    """The sum of the hashes of rows with these columns, as SQL; NULL of no rows."""
    return f"sum(hash({', '.join(quote_identifier(name) for name, _ in columns)})::hugeint)"
