"""What gate 1 counts in a raw table, file by file: a file's counts are kept, so that a day costs what its files cost.

Files are kept together: among all that stand here for a table no key stands for rows that differ, so that with a file
more only its keys can.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.content_hash import quote_identifier
from orchestration.file_format import literal
from orchestration.landing import LedgerEntry, raw_view_sql
from orchestration.sources import RawTable, type_family


@dataclass(frozen=True)
class RawCounts:
    """A raw table in counts.

    Attributes:
        row_count: Its rows.
        filled: By column the values that are not NULL.
        not_finite: By column NaN and ±inf values; 0 of what is no number.
        of_new: Condition on the view's rows that they are of files not kept before; None where all are.
        by_file: What was counted of each file in force, by its fingerprint.
    """

    row_count: int
    filled: Mapping[str, int]
    not_finite: Mapping[str, int]
    of_new: str | None
    by_file: Mapping[str, list[int]]


def count_values(
    connection: duckdb.DuckDBPyConnection, table: RawTable, found: Mapping[str, str], entries: Sequence[LedgerEntry]
) -> RawCounts:
    """Counts the values of a table's view; of files that are kept it says what was counted before.

    Args:
        connection: With the view.
        table: The table.
        found: Type of each column of the view.
        entries: The files that the view shows; none where nothing is kept.
    """
    counted = ", ".join(["count(*)", *(_counts(name, dtype) for name, dtype in found.items())])
    fingerprints = {entry.source_file: _fingerprint(table, entry, found, counted) for entry in entries}
    kept = _kept(connection, table, list(fingerprints.values()))
    new = [literal(name) for name, fingerprint in fingerprints.items() if fingerprint not in kept]
    of_new = f"_source_file in ({', '.join(new)})" if new else "false"
    if kept:
        # Whatever else the view shows is looked at as if nothing were kept.
        ((shown,),) = connection.execute(f"select count(*) from {table.view} where not ({of_new})").fetchall()
        kept = kept if shown == sum(counts[0] for counts in kept.values()) else {}
    where = f"where {of_new}" if kept else ""
    rows = connection.execute(
        f"select _source_file, {counted} from {table.view} {where} group by _source_file"
    ).fetchall()
    nothing = [0] * (1 + 2 * len(found))  # a file without rows
    by_file = dict.fromkeys(fingerprints.values(), nothing) | kept
    by_file |= {fingerprints.get(name, name): list(counts) for name, *counts in rows}
    row_count, *values = map(sum, zip(*(by_file.values() or [nothing]), strict=True))
    filled, not_finite = (dict(zip(found, values[start::2], strict=True)) for start in (0, 1))
    return RawCounts(row_count, filled, not_finite, of_new if kept else None, by_file)


def keep(connection: duckdb.DuckDBPyConnection, table: RawTable, counts: RawCounts) -> None:
    """Keeps what was counted of the files in force, between which no keys conflict; of others nothing is kept."""
    connection.execute("begin")
    connection.execute("delete from control.raw_counts where table_name = ?", [table.view])
    connection.execute(
        "insert into control.raw_counts select ?, unnest(?), unnest(?)",
        [table.view, list(counts.by_file), list(counts.by_file.values())],
    )
    connection.execute("commit")


def _counts(name: str, dtype: str) -> str:
    column = quote_identifier(name)
    is_number = type_family(dtype) == "number"
    return f"count({column}), " + (f"count_if(not isfinite({column}::double))" if is_number else "0")


def _fingerprint(table: RawTable, entry: LedgerEntry, found: Mapping[str, str], counted: str) -> str:
    """A hash over a file, how it is shown, and what is counted of it."""
    told = [raw_view_sql(table, [entry], Path()), list(found.items()), counted]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _kept(
    connection: duckdb.DuckDBPyConnection, table: RawTable, fingerprints: Collection[str]
) -> dict[str, list[int]]:
    if not fingerprints:
        return {}
    return dict(
        connection.execute(
            "select fingerprint, counts from control.raw_counts"
            " where table_name = $table and fingerprint in (select unnest($fingerprints))",
            {"table": table.view, "fingerprints": list(fingerprints)},
        ).fetchall()
    )
