"""Extraction: what a database holds becomes Parquet files in the inbox, which land like any other folder.

The inbox is the whole state: a table with a watermark is read from the newest one in its file on. All files get their
names only when all tables were read, so that a reading that fails leaves the earlier ones as they were.
"""

import fcntl
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from orchestration.content_hash import quote_identifier, table_content
from orchestration.databases import Database, DatabaseError, open_database, wrapped
from orchestration.files import replace_durably
from orchestration.landing import resolve_as_of
from orchestration.settings import Settings, SettingsError
from orchestration.sources import RawTable, Source

FINGERPRINT = b"customer360.read_from"
SHOWN_NAMES = 20


class TableMapping(BaseModel):
    """How a table of the source is read.

    Attributes:
        select: The SELECT that gives its columns; without one, the database's table of the same name.
        watermark: Column that grows with every change of a row (a time, a day, a whole number).
        key: Columns that identify a row, so that a changed row takes its earlier one's place; without them, as the
            source declares.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    select: str | None = None
    watermark: str | None = None
    key: Annotated[tuple[str, ...], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)] = ()


@dataclass(frozen=True)
class ExtractedTable:
    """What reading a table came to.

    Attributes:
        table: Its name in the source.
        rows_read: Rows that the database sent.
        rows: Rows that the inbox now has.
        since: The watermark that reading began at; None where everything was read.
        is_changed: Whether the file in the inbox is a new one.
        seconds: How long it took.
    """

    table: str
    rows_read: int
    rows: int
    since: str | None
    is_changed: bool
    seconds: float


@dataclass(frozen=True)
class _Reading:
    """A table of the source as it stands in the database."""

    table: RawTable
    mapping: TableMapping
    query: str
    schema: pa.Schema
    key: tuple[str, ...]
    watermark: pa.Field | None
    fingerprint: bytes


def read_mapping(path: Path | None, source: Source) -> dict[str, TableMapping]:
    """The mapping file: for each table of the source that it names, how it is read.

    Raises:
        SettingsError: The file is missing, is no YAML, or says something that is not known.
    """
    if path is None:
        return {}
    named = f"CUSTOMER360_INPUT_MAPPING {path}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{named} cannot be read: {error.strerror}. Give the path of a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{named} is not YAML in UTF-8: {' '.join(str(error).split())}") from error
    try:
        mapping = TypeAdapter(dict[str, TableMapping]).validate_python(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors())
        raise SettingsError(
            f"{named} cannot be used: {problems}. For each table give select, and if it has one watermark and key"
        ) from error
    known = [table.name for table in source.tables]
    unknown = sorted(set(mapping) - set(known))
    if unknown:
        raise SettingsError(
            f"{named} names {', '.join(unknown)}; the tables of source {source.name} are {', '.join(known)}"
        )
    return mapping


def order_day(settings: Settings, source: Source, as_of: date | None, now: datetime | None = None) -> date:
    """The day to refresh, as `landing.resolve_as_of` tells it; of a database, the orders' times alone are asked for.

    Raises:
        LandingError: As there, or the database cannot be read.
    """
    if settings.database is None:
        return resolve_as_of(source, source.input_dir(settings.input), as_of, now)
    now = now or datetime.now(UTC)
    table = source.orders
    assert table.event_at is not None
    with _database(settings) as database, TemporaryDirectory() as temporary:
        reading = _prepare(database, table, read_mapping(settings.input_mapping, source), settings)
        assert reading is not None
        event_at = reading.schema.field(_found(reading.schema, table.event_at) or table.event_at)
        column = database.quote(event_at.name)
        query = wrapped(reading.query, f"{column} as {database.quote(table.event_at)}")
        if pa.types.is_temporal(event_at.type):  # the first and the newest will do
            until = now.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
            query = " union all ".join(
                wrapped(query, f"{which}({database.quote(table.event_at)}) as {database.quote(table.event_at)}", where)
                for which, where in (("min", ""), ("max", f"{database.quote(table.event_at)} <= '{until}'"))
            )
        asked = pa.schema([pa.field(table.event_at, event_at.type)])
        others = [column.name for column in table.columns if column.is_required and column.name != table.event_at]
        schema = pa.schema([*asked, *(pa.field(name, pa.string()) for name in others)])
        with _about(table):
            batches = (
                pa.record_batch([*batch.columns, *[pa.nulls(batch.num_rows, pa.string())] * len(others)], schema=schema)
                for batch in database.batches(query, asked)
            )
            _write(batches, schema, Path(temporary) / f"{table.name}.parquet")
        return resolve_as_of(source, Path(temporary), as_of, now)


def extract(settings: Settings, source: Source) -> list[ExtractedTable]:
    """Reads the database that INPUT names into the inbox; does nothing where INPUT is a folder.

    Returns:
        A report per table that is there, in the source's order.

    Raises:
        SettingsError: The mapping file cannot be used.
        DatabaseError: The database cannot be read, or a table lacks what the source requires. The inbox is as it was.
    """
    if settings.database is None:
        return []
    assert settings.input is not None
    inbox = settings.input
    mapping = read_mapping(settings.input_mapping, source)
    building = inbox.parent / f".{inbox.name}.building"
    try:
        for folder in (inbox, settings.temp_dir):
            folder.mkdir(parents=True, exist_ok=True)
        with _alone(inbox.parent):
            return _extract(settings, source, mapping, building, inbox)
    except OSError as error:
        raise DatabaseError(
            f"cannot write to {inbox}: {error.strerror or error}. Free some space or mend the folder, then refresh"
            " again"
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until nobody else reads into the inbox; who is killed blocks nobody."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _extract(
    settings: Settings, source: Source, mapping: dict[str, TableMapping], building: Path, inbox: Path
) -> list[ExtractedTable]:
    shutil.rmtree(building, ignore_errors=True)  # of one that was killed
    building.mkdir()
    try:
        with _database(settings) as database:
            readings = [_prepare(database, table, mapping, settings) for table in source.tables]
            reports = [
                _read(database, reading, building, inbox / f"{reading.table.name}.parquet", settings)
                for reading in readings
                if reading is not None
            ]
        reports = [report for report in reports if report.rows]
        for report in reports:
            if report.is_changed:
                replace_durably(building / f"{report.table}.parquet", inbox / f"{report.table}.parquet")
        for absent in {table.name for table in source.tables} - {report.table for report in reports}:
            (inbox / f"{absent}.parquet").unlink(missing_ok=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return reports


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    assert settings.database is not None
    url = settings.database.get_secret_value()
    password = settings.input_password.get_secret_value() if settings.input_password else None
    try:
        with open_database(url, password) as database:
            yield database
    except DatabaseError as error:
        text = str(error)
        for secret in (password, urlsplit(url).password):
            for spelling in {secret, unquote(secret), quote(secret, safe="")} if secret else ():
                text = text.replace(spelling, "***")
        raise DatabaseError(text) from None


@contextmanager
def _about(table: RawTable) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise DatabaseError(f"{table.name}: {error}") from None


def _found(schema: pa.Schema, name: str) -> str | None:
    """The column of this name, whatever its case: DuckDB tells none apart."""
    return next((given for given in schema.names if given.lower() == name.lower()), None)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return (", ".join(names[:SHOWN_NAMES]) or "nothing") + more


def _prepare(
    database: Database, table: RawTable, mapping: dict[str, TableMapping], settings: Settings
) -> _Reading | None:
    """How a table is read; None where it is optional and not there."""
    given = mapping.get(table.name, TableMapping())
    select = given.select
    if select is None:
        there = {name.lower(): name for name in database.tables()}
        if table.name not in there:
            if not table.is_required:
                return None
            raise DatabaseError(
                f"{table.name}: the database has no such table; it has {_names(sorted(there.values()))}. Give the"
                f" SELECT that makes it: a file named in CUSTOMER360_INPUT_MAPPING, with select: below {table.name}:"
            )
        select = f"select * from {database.quote(there[table.name])}"
    with _about(table):
        query, schema = database.prepare(select)
        _check_columns(table, schema)
        watermark = _watermark(given, schema)
        key = tuple(_key_column(name, schema) for name in (given.key or table.key)) if watermark else ()
        if watermark and not key:
            raise DatabaseError("it has a watermark and no key. Name the columns that identify a row: key: [...]")
    assert settings.database is not None
    url = urlsplit(settings.database.get_secret_value())
    read_from = [url.scheme, url.hostname, url.port, url.path, url.query, select, given.watermark, key]
    columns = [(field.name, str(field.type)) for field in schema]
    fingerprint = hashlib.sha256(json.dumps([read_from, columns]).encode()).hexdigest().encode()
    return _Reading(table, given, query, schema, key, watermark, fingerprint)


def _check_columns(table: RawTable, schema: pa.Schema) -> None:
    lower = [name.lower() for name in schema.names]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice:
        raise DatabaseError(f"its SELECT gives {', '.join(twice)} more than once. Give every column a name of its own")
    missing = [column.name for column in table.columns if column.is_required and column.name.lower() not in lower]
    if missing:
        raise DatabaseError(
            f"its columns {', '.join(missing)} are missing; there are {_names(schema.names)}. Name them in a SELECT of"
            " CUSTOMER360_INPUT_MAPPING"
        )


def _watermark(mapping: TableMapping, schema: pa.Schema) -> pa.Field | None:
    if mapping.watermark is None:
        return None
    found = _found(schema, mapping.watermark)
    if found is None:
        raise DatabaseError(
            f"its watermark {mapping.watermark} is no column of what is read; there are {_names(schema.names)}"
        )
    return schema.field(found)


def _key_column(name: str, schema: pa.Schema) -> str:
    found = _found(schema, name)
    if found is None:
        raise DatabaseError(
            f"{name} of its key is no column of what is read; there are {_names(schema.names)}. Name others: key: [...]"
        )
    return found


def _write(batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    """Writes batches as they come; the number of rows."""
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for batch in batches:
            columns = [pc.cast(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            rows += batch.num_rows
    return rows


def _booleans(table: RawTable, schema: pa.Schema) -> pa.Schema:
    """The columns as they are kept: MySQL and SQLite spell yes and no as whole numbers."""
    yes_or_no = {column.name.lower() for column in table.columns if column.data_type == "boolean"}
    return pa.schema(
        [
            pa.field(field.name, pa.bool_())
            if field.name.lower() in yes_or_no and pa.types.is_integer(field.type)
            else field
            for field in schema
        ]
    )


def _read(database: Database, reading: _Reading, building: Path, current: Path, settings: Settings) -> ExtractedTable:
    """Reads a table into the building folder: all of it, or what has changed beside what the inbox has."""
    started = perf_counter()
    table, built, changes = reading.table, building / current.name, building / f"{current.stem}.read"
    schema = _booleans(table, reading.schema).with_metadata({FINGERPRINT: reading.fingerprint})
    with _about(table), _scratch(settings) as connection:
        is_known = _fingerprint(current) == reading.fingerprint
        since = None
        if reading.watermark is not None and is_known and settings.input_read == "changes":
            since = _since(connection, reading.watermark, current, settings.input_overlap_minutes)
        query = reading.query
        if reading.watermark is not None and since is not None:
            column = database.quote(reading.watermark.name)
            query = wrapped(query, where=f"{column} >= {since} or {column} is null")
        rows_read = _write(database.batches(query, reading.schema), schema, changes)
        if since is None and not rows_read:
            if table.is_required:
                raise DatabaseError("it has no rows. See that the SELECT finds them, and that the user may read them")
            return ExtractedTable(table.name, 0, 0, None, False, perf_counter() - started)
        if reading.watermark is None:
            changes.rename(built)
        else:
            _merge(connection, reading, current if since is not None else None, changes, built)
        is_changed = not (is_known and _same_rows(connection, current, built))
    rows = pq.read_metadata(built).num_rows
    return ExtractedTable(table.name, rows_read, rows, since, is_changed, perf_counter() - started)


@contextmanager
def _scratch(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    config: dict[str, Any] = {**settings.duckdb_config(), "preserve_insertion_order": "true"}
    with duckdb.connect(":memory:", config=config) as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


def _fingerprint(path: Path) -> bytes | None:
    """What a file of the inbox was read from; None where it is not there, or not as extraction left it."""
    try:
        metadata: dict[bytes, bytes] = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    return metadata.get(FINGERPRINT)


def _since(connection: duckdb.DuckDBPyConnection, watermark: pa.Field, path: Path, overlap: float) -> str | None:
    """Where reading begins, as SQL: a little before the newest watermark that is not in the future."""
    name, kind = quote_identifier(watermark.name), watermark.type
    newest, where = f"max({name})", "true"
    if pa.types.is_temporal(kind):
        as_type = "date" if pa.types.is_date(kind) else "timestamp"
        newest = f"(max({name}) - interval '{round(overlap * 60)} seconds')::{as_type}"
        where = f"{name} <= now()::timestamp"
    elif pa.types.is_string(kind):  # its day alone: a T between day and time sorts after a space
        newest, where = f"max({name})[:10]", f"try_cast({name} as timestamp) <= now()::timestamp"
    elif not (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise DatabaseError(f"its watermark {watermark.name} is of type {kind}; take a time, a day or a whole number")
    row = connection.execute(f"select ({newest})::varchar from read_parquet(?) where {where}", [str(path)]).fetchone()
    if row is None or row[0] is None:
        return None
    return str(row[0]) if re.fullmatch(r"-?[\d.]+", row[0]) else f"'{row[0]}'"


def _merge(
    connection: duckdb.DuckDBPyConnection, reading: _Reading, current: Path | None, changes: Path, built: Path
) -> None:
    """One row per key, the newest: what was read, and of what the inbox had the rows whose key was not read.

    Sorted by key, so that equal rows make an equal file whatever the readings were.
    """
    assert reading.watermark is not None
    key = ", ".join(map(quote_identifier, reading.key))
    connection.execute(f"create or replace view changes as from read_parquet('{_quoted(changes)}')")
    nulls = " or ".join(f"{quote_identifier(name)} is null" for name in reading.key)
    row = connection.execute(f"select count(*) from changes where {nulls}").fetchone()
    if row and row[0]:
        raise DatabaseError(
            f"its key ({', '.join(reading.key)}) is empty in {row[0]:,} of the rows read. Name columns that identify"
            " every row: key: [...], or leave such rows out of the SELECT"
        )
    kept = f"union all by name select * from read_parquet('{_quoted(current)}') anti join changes using ({key})"
    connection.execute(
        f"copy (select * from (select * from changes qualify row_number() over (partition by {key} order by"
        f" {quote_identifier(reading.watermark.name)} desc nulls last, hash(changes)) = 1"
        f" {kept if current else ''}) order by {key}) to '{_quoted(built)}'"
        " (format parquet, compression zstd,"
        f" kv_metadata {{'{FINGERPRINT.decode()}': '{reading.fingerprint.decode()}'}})"
    )


def _quoted(path: Path | None) -> str:
    return str(path).replace("'", "''")


def _same_rows(connection: duckdb.DuckDBPyConnection, current: Path, built: Path) -> bool:
    """Whether two files hold the same rows; the earlier one then stays, and is in force already."""
    if pq.read_metadata(current).num_rows != pq.read_metadata(built).num_rows:
        return False
    for name, path in (("earlier", current), ("later", built)):
        connection.execute(f"create or replace view {name} as from read_parquet('{_quoted(path)}')")
    return table_content(connection, "earlier") == table_content(connection, "later")


def in_words(report: ExtractedTable) -> str:
    """A line about a table, for people."""
    read = f"{report.rows_read:,} rows read" + (f" since {report.since}" if report.since else "")
    return f"{report.table}: {read}, {report.rows:,} in all, {'new' if report.is_changed else 'as before'}"
