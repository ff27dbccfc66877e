"""Content hashes of tables: order-free, over exact types.

Two tables have the same hash exactly when they have the same columns (names, order and types) and the
same multiset of rows. Gates record it for the table that they saw; publication compares it with the table
that it is about to publish. File bytes are never compared: DuckDB lays out equal tables differently.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

# By which column, where a table has it as a date, it is told what changed.
DAY_COLUMNS = ("order_date", "as_of_date")


@dataclass(frozen=True)
class TableContent:
    """What a table holds, in short.

    Attributes:
        row_count: How many rows; None where nobody counted.
        content_hash: Of its columns and rows.
        day_hashes: The same of the rows of each day alone, by the day in ISO's form ("" of those without one); nothing
            where the table has no column of days. It follows from the rows, so it is no part of what is compared.
    """

    row_count: int | None
    content_hash: str
    day_hashes: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


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
    day = day_column(columns)
    names = ", ".join(quote_identifier(name) for name, _ in columns)
    query = f"select {day or 'null'}::varchar, count(*), coalesce(sum(hash({names})::hugeint), 0) from {relation}"
    sums = connection.execute(query if day is None else f"{query} group by {day}").fetchall()

    def digest(row_count: int, hash_sum: int) -> str:
        return hashlib.sha256(json.dumps([columns, row_count, str(hash_sum)]).encode()).hexdigest()

    row_count = sum(rows for _, rows, _ in sums)
    content_hash = digest(row_count, sum(hash_sum for *_, hash_sum in sums))
    day_hashes = {} if day is None else {value or "": digest(*found) for value, *found in sums}
    return TableContent(row_count, content_hash, day_hashes)


def day_column(columns: list[tuple[str, str]]) -> str | None:
    """The column of days among columns with their types, if there is one."""
    return next((name for name, dtype in columns if name in DAY_COLUMNS and dtype == "DATE"), None)


def columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> list[tuple[str, str]]:
    """Names and types of the columns of `relation`, in their order."""
    return [(name, dtype) for name, dtype, *_ in connection.execute(f"describe {relation}").fetchall()]
