"""Landing: a source's files become immutable Parquet files with a ledger beside them.

A file is taken as it is, under a name made of its content's hash, so landing it twice changes nothing and a
changed file supersedes its predecessor. The ledger says which files are in force; everything downstream can be
rebuilt from it. What the rows mean is not decided here but in dbt's staging.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from zoneinfo import ZoneInfo

import duckdb

from orchestration.content_hash import quote_identifier
from orchestration.files import replace_durably, sha256_of
from orchestration.sources import RawTable, Source

LEDGER_NAME = "ledger.jsonl"
AUDIT_COLUMNS = ("_source_file", "_row_number", "_load_id", "_loaded_at")
RESERVED_COLUMNS = ("file_row_number", *AUDIT_COLUMNS)


class LandingError(Exception):
    """A file that cannot be landed: which, why, and what to do. Nothing of the load has been recorded."""


@dataclass(frozen=True)
class LedgerEntry:
    """One landed file. The newest entry of a table and source file is the one in force."""

    table: str
    source_file: str
    load_id: str
    sha256: str
    bytes: int
    rows: int
    rejects: int
    loaded_at: str  # ISO 8601, UTC
    raw_file: str  # relative to the raw folder of the source


@dataclass(frozen=True)
class LoadReport:
    """What landing a table came to."""

    table: str
    source_file: str
    rows: int
    bytes: int
    rejects: int
    seconds: float
    is_new: bool


def _whole_lines(raw_dir: Path) -> str:
    """The ledger up to its last line end; what stands behind it was cut short and is no entry."""
    path = raw_dir / LEDGER_NAME
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return text[: text.rfind("\n") + 1]


def read_ledger(raw_dir: Path) -> list[LedgerEntry]:
    """All entries, oldest first.

    Raises:
        LandingError: A line is damaged.
    """
    entries = []
    for number, line in enumerate(_whole_lines(raw_dir).splitlines(), start=1):
        try:
            entries.append(LedgerEntry(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise LandingError(
                f"{raw_dir / LEDGER_NAME}, line {number} is damaged. Restore the file from a backup, or remove"
                f" {raw_dir} and land the files again"
            ) from error
    return entries


def in_force(entries: Iterable[LedgerEntry]) -> dict[str, list[LedgerEntry]]:
    """The entries in force by table: of every source file the newest."""
    newest = {(entry.table, entry.source_file): entry for entry in entries}
    tables: dict[str, list[LedgerEntry]] = {}
    for entry in sorted(newest.values(), key=lambda entry: (entry.table, entry.source_file)):
        tables.setdefault(entry.table, []).append(entry)
    return tables


def _append(raw_dir: Path, entries: list[LedgerEntry]) -> None:
    """Adds all entries of a load by one rename: it is recorded altogether or not at all."""
    path = raw_dir / LEDGER_NAME
    building = path.with_suffix(".building")
    building.write_text(
        _whole_lines(raw_dir) + "".join(json.dumps(asdict(entry)) + "\n" for entry in entries), encoding="utf-8"
    )
    replace_durably(building, path)


def _find(table: RawTable, input_dir: Path) -> Path:
    if not input_dir.is_dir():
        raise LandingError(f"INPUT {input_dir} is not a folder. Give the folder that holds the source's files")
    path = input_dir / f"{table.name}.parquet"
    if not path.is_file():
        there = ", ".join(sorted(entry.name for entry in input_dir.iterdir())) or "nothing"
        raise LandingError(
            f"{table.name}: {path} is missing; the folder holds {there}. Put the file there, or point INPUT"
            " at the folder that has it"
        )
    if path.stat().st_size == 0:
        raise LandingError(f"{table.name}: {path} is empty (0 bytes). Deliver the file again")
    return path


def _count_rows(table: RawTable, path: Path) -> int:
    """Rows of a Parquet file, each column of which has been looked at: a file that is cut short raises here."""
    try:
        with duckdb.connect(":memory:") as connection:
            names = connection.read_parquet(str(path)).columns
            columns = ", ".join(f"count({quote_identifier(name)})" for name in names)
            row = connection.execute(f"select count(*), {columns} from read_parquet(?)", [str(path)]).fetchone()
    except duckdb.Error as error:
        raise LandingError(
            f"{table.name}: {path} is not a whole Parquet file ({str(error).splitlines()[0]}). It was cut short"
            " or is of another format; deliver the file again"
        ) from error
    reserved = [name for name in names if name in RESERVED_COLUMNS]
    if reserved:
        raise LandingError(
            f"{table.name}: {path} has the columns {', '.join(reserved)}, names that landing gives itself. Rename them"
        )
    assert row is not None
    if row[0] == 0:
        raise LandingError(f"{table.name}: {path} has no rows. Deliver the file again")
    return int(row[0])


def _store(path: Path, sha256: str, target: Path) -> None:
    """Copies a file into the raw folder, whole or not at all. A damaged copy of the same content is mended."""
    if target.exists() and sha256_of(target) == sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_suffix(".building")
    shutil.copyfile(path, building)
    if sha256_of(building) != sha256:
        building.unlink()
        raise LandingError(f"{path} changed while it was read. Land it again once it is complete")
    replace_durably(building, target)


def land(source: Source, input_dir: Path, raw_dir: Path, now: datetime | None = None) -> list[LoadReport]:
    """Lands every table of a source.

    Args:
        source: What lands.
        input_dir: Folder with one Parquet file per table, named as the table.
        raw_dir: Where raw files and ledger of the source live.
        now: Time of the load (aware); the clock's by default.

    Returns:
        A report per table, in the source's order. Files already in force are reported with `is_new` false.

    Raises:
        LandingError: A file is missing, empty, cut short, of another format, or the disk refused it. No file of
            this call is in force then.
    """
    loaded_at = (now or datetime.now(UTC)).astimezone(UTC)
    known = {(entry.table, entry.source_file): entry for entry in read_ledger(raw_dir)}
    files = [(table, _find(table, input_dir)) for table in source.tables]

    reports, entries = [], []
    try:
        for table, path in files:
            started = perf_counter()
            sha256 = sha256_of(path)
            current = known.get((table.name, path.name))
            is_new = current is None or current.sha256 != sha256
            raw_file = f"{table.name}/{sha256[:16]}.parquet"
            if current is not None and not is_new:
                rows = current.rows
            else:
                rows = _count_rows(table, path)
                entries.append(
                    LedgerEntry(
                        table=table.name,
                        source_file=path.name,
                        load_id=f"{loaded_at:%Y%m%dT%H%M%SZ}-{sha256[:8]}",
                        sha256=sha256,
                        bytes=path.stat().st_size,
                        rows=rows,
                        rejects=0,
                        loaded_at=loaded_at.isoformat(),
                        raw_file=raw_file,
                    )
                )
            _store(path, sha256, raw_dir / raw_file)
            reports.append(
                LoadReport(table.name, path.name, rows, path.stat().st_size, 0, perf_counter() - started, is_new)
            )
        if entries:
            _append(raw_dir, entries)
    except OSError as error:
        raise LandingError(
            f"cannot land into {raw_dir}: {error.strerror or error}."
            " Free some space or mend the folder, then refresh again"
        ) from error
    return reports


def verify_raw(raw_dir: Path) -> list[str]:
    """Raw files in force that are missing or damaged, as messages; none where all is well."""
    problems = []
    for entries in in_force(read_ledger(raw_dir)).values():
        for entry in entries:
            path = raw_dir / entry.raw_file
            if not path.exists():
                problems.append(f"{path} is missing; land {entry.source_file} again")
            elif sha256_of(path) != entry.sha256:
                problems.append(f"{path} is damaged; land {entry.source_file} again")
    return problems


def raw_view_sql(table: RawTable, entries: list[LedgerEntry], raw_dir: Path) -> str:
    """The view that reads a table's files in force in place, with the audit columns."""
    parts = []
    for entry in entries:
        path, source_file = (text.replace("'", "''") for text in (str(raw_dir / entry.raw_file), entry.source_file))
        loaded_at = datetime.fromisoformat(entry.loaded_at).replace(tzinfo=None)
        parts.append(
            f"select * exclude (file_row_number), '{source_file}' as _source_file, file_row_number + 1 as _row_number,"
            f" '{entry.load_id}' as _load_id, timestamp '{loaded_at}' as _loaded_at"
            f" from read_parquet('{path}', file_row_number = true)"
        )
    return f"create or replace view {table.view} as " + " union all by name ".join(parts)


def raw_content_hash(entries: list[LedgerEntry]) -> str:
    """What a raw table holds, as one hash: its files' names and contents."""
    files = sorted((entry.source_file, entry.sha256, entry.loaded_at) for entry in entries)
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def business_day(time_zone: str, at: datetime) -> date:
    """The day that it is in the business's time zone at an instant (aware)."""
    return at.astimezone(ZoneInfo(time_zone)).date()


def order_days(source: Source, input_dir: Path, now: datetime) -> tuple[date, date]:
    """First and newest business day with an order in the files of `input_dir`, orders later than `now` left out.

    Raises:
        LandingError: The file is missing, unreadable, or has no time of an order.
    """
    table = source.orders
    assert table.event_at is not None
    path = _find(table, input_dir)
    column = quote_identifier(table.event_at)
    try:
        with duckdb.connect(":memory:") as connection:
            row = connection.execute(
                f"select min({column})::timestamp, max({column})::timestamp from read_parquet(?) where {column} <= ?",
                [str(path), now.astimezone(UTC).replace(tzinfo=None)],
            ).fetchone()
    except duckdb.Error as error:
        raise LandingError(
            f"cannot read the time of the orders ({table.name}.{table.event_at}) from {path}:"
            f" {str(error).splitlines()[0]}. Deliver the file as the source declares it"
        ) from error
    if row is None or row[0] is None:
        raise LandingError(f"{path} has no order up to now. Deliver the file again")
    first, newest = (business_day(source.time_zone, at.replace(tzinfo=UTC)) for at in row)
    return first, newest


def resolve_as_of(source: Source, input_dir: Path, as_of: date | None, now: datetime | None = None) -> date:
    """The day to refresh: the one asked for, or the day after the newest order, but never one that is not over.

    Raises:
        LandingError: The day has no order before it or has not begun, or the orders cannot be read.
    """
    now = now or datetime.now(UTC)
    first, newest = order_days(source, input_dir, now)
    today = business_day(source.time_zone, now)
    if as_of is None:
        return min(newest + timedelta(days=1), today)
    if as_of <= first:
        raise LandingError(f"AS_OF {as_of} has no order before it: the first order is of {first}. Give a later day")
    if as_of > today:
        raise LandingError(f"AS_OF {as_of} has not begun: today is {today}. Give an earlier day")
    return as_of
