"""Landing: a source's files become immutable Parquet files with a ledger beside them.

Parquet is taken as it is, CSV is converted once; both under a name made of the delivered content's hash, so landing a
file twice changes nothing and a changed file supersedes its predecessor. The ledger says which files are in force;
everything downstream can be rebuilt from it. What the rows mean is not decided here but in dbt's staging.

A table comes as one file (`orders.csv`, `orders.parquet`) or as many in a folder of its name (`orders/2024-01.csv`).
A file stays in force until one of the same name supersedes it, also when it is no longer in the folder: years of
daily files need not be delivered every day. What was delivered by mistake is withdrawn by delivering the file with its
header alone. A table that comes as one file supersedes all files it had before, and files in a folder supersede it.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from orchestration.content_hash import quote_identifier
from orchestration.csv_file import LINE, SPANNED, CsvError, convert
from orchestration.file_format import FileFormat, FormatError, clean, literal, nulled, read_formats, shown, typed
from orchestration.files import replace_durably, sha256_of
from orchestration.sources import TYPE_FAMILIES, RawColumn, RawTable, Source, type_family

LEDGER_NAME = "ledger.jsonl"
AUDIT_COLUMNS = ("_source_file", "_row_number", "_load_id", "_loaded_at")
RESERVED_COLUMNS = ("file_row_number", LINE, SPANNED, *AUDIT_COLUMNS)
CSV, PARQUET = ".csv", ".parquet"
# Rows with a wrong date go to quarantine; of more days with orders than this share, rather the clock is wrong.
MAX_LATER_DAYS = 0.005


class LandingError(Exception):
    """A file that cannot be landed: which, why, and what to do. Nothing of the load has been recorded."""


@dataclass(frozen=True)
class LedgerEntry:
    """One landed file. The newest entry of a table and source file is the one in force.

    Attributes:
        table: Its table.
        source_file: Its name in the input folder, with the table's folder if it has one.
        load_id: The load's time, and the beginning of the hash.
        sha256: Of the file as delivered.
        bytes: Of the file as delivered.
        rows: Rows that can be read; with the rejects they are all that landed.
        rejects: Lines of a CSV that cannot be split into fields.
        loaded_at: ISO 8601, UTC.
        raw_file: Parquet with the rows, relative to the raw folder of the source.
        raw_sha256: Of the raw file, where it is not the file as delivered.
        first_line: Number of its first row in the file as delivered; None where its column `_line` says each one.
        rejects_file: Parquet with the rejects (line, reject_reason), where there are any.
        rejects_sha256: Of the file of rejects.
        columns: Name and type of each column, where values may be text.
        format: How the file is written, where that is not the default.
        time_zone: The business's, of times that name none, where values may be text.
        later_from: ISO 8601, UTC: the first order that is later than the load, if one is. From then on the file lands
            anew where it is still delivered: if a clock was behind, what it sent to quarantine comes out of it.
    """

    table: str
    source_file: str
    load_id: str
    sha256: str
    bytes: int
    rows: int
    rejects: int
    loaded_at: str
    raw_file: str
    raw_sha256: str | None = None
    first_line: int | None = 1
    rejects_file: str | None = None
    rejects_sha256: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    format: dict[str, Any] = field(default_factory=dict)
    time_zone: str | None = None
    later_from: str | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each of its files in the raw folder."""
        files = {self.raw_file: self.raw_sha256 or self.sha256}
        if self.rejects_file and self.rejects_sha256:
            files[self.rejects_file] = self.rejects_sha256
        return files


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
    """The entries in force by table: of every source file the newest, of a table's one file or its many the later."""
    tables: dict[str, dict[str, LedgerEntry]] = {}
    for entry in entries:
        files = tables.setdefault(entry.table, {})
        of_many = "/" in entry.source_file
        for name in [
            name for name in files if not (of_many and "/" in name) and _stem(name) != _stem(entry.source_file)
        ]:
            del files[name]
        for name in [name for name in files if _stem(name) == _stem(entry.source_file)]:
            del files[name]  # orders.parquet after orders.csv is the same file in another form
        files[entry.source_file] = entry
    return {table: [files[name] for name in sorted(files)] for table, files in sorted(tables.items())}


def _stem(source_file: str) -> str:
    return str(PurePosixPath(source_file).with_suffix(""))


def tables_in_force(source: Source, raw_dir: Path) -> dict[str, list[LedgerEntry]]:
    """The entries in force of every table of a source; none for an optional table that never landed.

    Raises:
        LandingError: The ledger is damaged.
    """
    tables = in_force(read_ledger(raw_dir))
    return {table.name: tables.get(table.name, []) for table in source.tables}


def _append(raw_dir: Path, entries: list[LedgerEntry]) -> None:
    """Adds all entries of a load by one rename: it is recorded altogether or not at all."""
    path = raw_dir / LEDGER_NAME
    building = path.with_suffix(".building")
    building.write_text(
        _whole_lines(raw_dir) + "".join(json.dumps(asdict(entry)) + "\n" for entry in entries), encoding="utf-8"
    )
    replace_durably(building, path)


@dataclass(frozen=True)
class InputFile:
    """A file of a table in the input folder: its name there, and where it is."""

    name: str
    path: Path

    @property
    def is_csv(self) -> bool:
        """Whether it is a CSV; else it is Parquet."""
        return self.path.suffix.lower() == CSV


def input_files(table: RawTable, input_dir: Path) -> list[InputFile]:
    """The files of a table in the input folder, by name; none of an optional table that is absent.

    Raises:
        LandingError: The folder or a required table is missing, a table comes in two forms, a file is empty, lies
            outside the folder, or is neither CSV nor Parquet.
    """
    if not input_dir.is_dir():
        raise LandingError(f"INPUT {input_dir} is not a folder. Give the folder that holds the source's files")
    suffixes = (CSV, PARQUET) if table.takes_text else (PARQUET,)
    try:
        whole = [InputFile(f"{table.name}{suffix}", input_dir / f"{table.name}{suffix}") for suffix in suffixes]
        found = [file for file in whole if os.path.lexists(file.path)]
        folder = input_dir / table.name
        if table.takes_text and folder.is_dir():
            parts = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "~"))]
            strange = [path.name for path in parts if path.suffix.lower() not in suffixes or not path.stem]
            if strange:
                raise LandingError(
                    f"{table.name}: {folder} holds {', '.join(strange)}, which is neither CSV nor Parquet. Export it as"
                    " one of them, or move it elsewhere"
                )
            found += [InputFile(f"{table.name}/{path.name}", path) for path in parts]
        there = ", ".join(sorted(entry.name for entry in input_dir.iterdir())) or "nothing"
    except OSError as error:
        raise LandingError(f"{table.name}: {input_dir} cannot be read: {error.strerror}") from error
    if not found and table.is_required:
        expected = f"{input_dir / table.name}.parquet is missing"
        if table.takes_text:
            expected = (
                f"neither {table.name}.csv nor {table.name}.parquet is in {input_dir}, nor files in {table.name}/"
            )
        raise LandingError(
            f"{table.name}: {expected}; the folder holds {there}. Put the file there, or point INPUT"
            " at the folder that has it"
        )
    stems = {_stem(file.name) for file in found}
    if len(stems) < len(found) or (len(found) > 1 and table.name in stems):
        names = ", ".join(file.name for file in found)
        raise LandingError(f"{table.name}: it is there twice, as {names}. Leave the one that counts in {input_dir}")
    for file in found:
        _check_input_file(table, file, input_dir)
    return found


def _check_input_file(table: RawTable, file: InputFile, input_dir: Path) -> None:
    # Where a table may come as text, the folder is an inbox that others write to: nothing may lead out of it.
    if table.takes_text and not Path(os.path.realpath(file.path)).is_relative_to(os.path.realpath(input_dir)):
        raise LandingError(
            f"{table.name}: {file.path} is a link that leads out of {input_dir}. Put the file itself there"
        )
    if not file.path.is_file():
        raise LandingError(f"{table.name}: {file.path} is no file, or a link to none. Deliver the file again")
    if file.path.stat().st_size == 0:
        raise LandingError(f"{table.name}: {file.path} is empty (0 bytes). Deliver the file again")


def _profile(table: RawTable, path: Path) -> tuple[int, dict[str, str]]:
    """Rows and columns of a Parquet file, each column looked at: a file that is cut short raises here."""
    try:
        with duckdb.connect(":memory:") as connection:
            relation = connection.read_parquet(str(path))
            names = dict(zip(relation.columns, map(str, relation.types), strict=True))
            columns = ", ".join(f"count({quote_identifier(name)})" for name in names)
            row = connection.execute(f"select count(*), {columns} from read_parquet(?)", [str(path)]).fetchone()
    except duckdb.Error as error:
        raise LandingError(
            f"{table.name}: {path} is not a whole Parquet file ({str(error).splitlines()[0]}). It was cut short"
            " or is of another format; deliver the file again"
        ) from error
    assert row is not None
    return int(row[0]), names


def _check_columns(table: RawTable, file: InputFile, names: Sequence[str]) -> None:
    """Whether a file has the columns that landing itself cannot do without, each once."""
    reserved = [name for name in names if name.lower() in RESERVED_COLUMNS]
    if reserved:
        raise LandingError(
            f"{table.name}: {file.path} has the columns {', '.join(reserved)}, names that landing gives itself."
            " Rename them"
        )
    if not table.takes_text:  # gate 1 compares all columns with the declaration
        return
    lowered = {name.strip().lower() for name in names}
    missing = [column.name for column in table.columns if column.is_required and column.name not in lowered]
    if missing:
        # A first line without any name of the contract may be a row, with a person's data in it.
        words = set(re.split(r"[^a-z0-9_]+", " ".join(lowered)))
        is_header = any(column.name in words for column in table.columns)
        has = ", ".join(names) if is_header else f"{len(names)} columns with none of the contract's names"
        raise LandingError(
            f"{table.name}: {file.path} lacks the column {', '.join(missing)}; it has {has}. Name the columns as the"
            " contract does, in the first line; where they were not told apart, write the delimiter into format.yml"
        )


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


def _land_file(
    source: Source,
    table: RawTable,
    file: InputFile,
    file_format: FileFormat,
    raw_dir: Path,
    loaded_at: datetime,
    current: LedgerEntry | None,
) -> tuple[LedgerEntry, bool]:
    """Puts a file into the raw folder; returns its entry, and whether that is new to the ledger."""
    sha256 = sha256_of(file.path)
    entry = LedgerEntry(
        table=table.name,
        source_file=file.name,
        load_id=f"{loaded_at:%Y%m%dT%H%M%SZ}-{sha256[:8]}",
        sha256=sha256,
        bytes=file.path.stat().st_size,
        rows=0,
        rejects=0,
        loaded_at=loaded_at.isoformat(),
        raw_file=f"{table.name}/{sha256[:16]}.parquet",
        format=file_format.given() if table.takes_text else {},
        time_zone=source.time_zone if table.takes_text else None,
    )
    is_known = current is not None and all(
        getattr(current, name) == getattr(entry, name) for name in ("sha256", "format", "time_zone")
    )
    if current is not None and current.later_from is not None:
        is_known = is_known and datetime.fromisoformat(current.later_from) > loaded_at
    if file.is_csv:
        if is_known and current is not None and not _damage(current, raw_dir):
            return current, False
        entry = _convert(table, file, file_format, entry, raw_dir)
        if is_known and current is not None:  # it was mended, and may not be the same to the byte
            mended = replace(entry, load_id=current.load_id, loaded_at=current.loaded_at, later_from=current.later_from)
            return mended, mended != current
        return entry, True
    if is_known and current is not None:
        _store(file.path, sha256, raw_dir / current.raw_file)
        return current, False
    rows, columns = _profile(table, file.path)
    _check_columns(table, file, list(columns))
    _store(file.path, sha256, raw_dir / entry.raw_file)
    return replace(entry, rows=rows, columns=columns if table.takes_text else {}), True


def _convert(
    table: RawTable, file: InputFile, file_format: FileFormat, entry: LedgerEntry, raw_dir: Path
) -> LedgerEntry:
    """Converts a CSV into the raw folder, whole or not at all."""
    # What splits the text differently gives another file.
    how = json.dumps([file_format.encoding, file_format.delimiter, file_format.quote])
    name = f"{entry.sha256[:16]}-{hashlib.sha256(how.encode()).hexdigest()[:8]}"
    target = raw_dir / table.name / f"{name}.parquet"
    rejects = raw_dir / table.name / f"{name}.rejects.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    built, built_rejects = target.with_suffix(".building"), rejects.with_suffix(".building")
    try:
        converted = convert(file.path, file_format, built, built_rejects, raw_dir)
        if converted.sha256 != entry.sha256:
            raise LandingError(f"{file.path} changed while it was read. Land it again once it is complete")
        _check_columns(table, file, converted.columns)
        entry = replace(
            entry,
            rows=converted.rows,
            first_line=converted.first_line,
            rejects=converted.rejects,
            raw_file=str(target.relative_to(raw_dir)),
            raw_sha256=sha256_of(built),
            columns=dict.fromkeys(converted.columns, "VARCHAR"),
        )
        if converted.rejects:
            entry = replace(
                entry, rejects_file=str(rejects.relative_to(raw_dir)), rejects_sha256=sha256_of(built_rejects)
            )
            replace_durably(built_rejects, rejects)
        replace_durably(built, target)
    except CsvError as error:
        raise LandingError(f"{table.name}: {error}") from error
    except duckdb.Error as error:
        raise LandingError(
            f"{table.name}: {file.path} cannot be split as CSV ({_first_line(error)}). Say in format.yml how it is"
            " written, or export it again"
        ) from error
    finally:
        built.unlink(missing_ok=True)
        built_rejects.unlink(missing_ok=True)
    return entry


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def land(source: Source, input_dir: Path, raw_dir: Path, now: datetime | None = None) -> list[LoadReport]:
    """Lands every table of a source.

    Args:
        source: What lands.
        input_dir: Folder with the files of each table, and `format.yml` if the text in them is not written plainly.
        raw_dir: Where raw files and ledger of the source live.
        now: Time of the load (aware); the clock's by default.

    Returns:
        A report per file, in the source's order. Files already in force are reported with `is_new` false.

    Raises:
        LandingError: A file is missing, empty, cut short, of another format, or the disk refused it. No file of
            this call is in force then.
    """
    loaded_at = (now or datetime.now(UTC)).astimezone(UTC)
    known = {
        table: {entry.source_file: entry for entry in entries}
        for table, entries in tables_in_force(source, raw_dir).items()
    }
    formats = _formats(source, input_dir)
    files = {table: input_files(table, input_dir) for table in source.tables}

    reports, entries = [], []
    try:
        for table, given in files.items():
            landed = []
            for file in given:
                started = perf_counter()
                current = known[table.name].get(file.name)
                entry, is_new = _land_file(source, table, file, formats[table.name], raw_dir, loaded_at, current)
                if is_new:
                    entries.append(replace(entry, later_from=_later_from(table, entry, raw_dir)))
                landed.append(
                    LoadReport(
                        *(table.name, entry.source_file, entry.rows, entry.bytes, entry.rejects),
                        perf_counter() - started,
                        is_new,
                    )
                )
            _check_rows(table, given, landed)
            reports += landed
        if entries:
            _append(raw_dir, entries)
    except OSError as error:
        raise LandingError(
            f"cannot land into {raw_dir}: {error.strerror or error}."
            " Free some space or mend the folder, then refresh again"
        ) from error
    return reports


def _later_from(table: RawTable, entry: LedgerEntry, raw_dir: Path) -> str | None:
    """The first time of an event that is later than the load, as the ledger has it; None where there is none."""
    if table.event_at is None:
        return None
    event_at = quote_identifier(table.event_at)
    with duckdb.connect(":memory:") as connection:
        connection.execute("create schema raw")
        connection.execute(raw_view_sql(table, [entry], raw_dir))
        types = {name: str(dtype) for name, dtype, *_ in connection.execute(f"describe {table.view}").fetchall()}
        if table.event_at not in types:  # gate 1 says so
            return None
        if not types[table.event_at].startswith("TIMESTAMP"):
            event_at = f"try_cast({event_at}::varchar as timestamp)"
        ((first,),) = connection.execute(
            f"select min({event_at}::timestamp) from {table.view}"
            f" where {event_at} > _loaded_at and isfinite({event_at})"
        ).fetchall()
    return None if first is None else first.replace(tzinfo=UTC).isoformat()


def _check_rows(table: RawTable, files: Sequence[InputFile], reports: Sequence[LoadReport]) -> None:
    """A day without rows is no fault of a table that has others."""
    if reports and not any(report.rows for report in reports):
        rejects = sum(report.rejects for report in reports)
        lines = f" but {rejects:,} lines that cannot be split" if rejects else ""
        optional = "" if table.is_required else ", or leave it out"
        raise LandingError(f"{table.name}: {files[0].path} has no rows{lines}. Deliver the file again{optional}")


def _formats(source: Source, input_dir: Path) -> dict[str, FileFormat]:
    if not any(table.takes_text for table in source.tables):
        return {table.name: FileFormat() for table in source.tables}
    try:
        return read_formats(source, input_dir)
    except FormatError as error:
        raise LandingError(str(error)) from error


def _damage(entry: LedgerEntry, raw_dir: Path) -> list[str]:
    """What is wrong with an entry's files in the raw folder."""
    problems = []
    for name, sha256 in entry.hashes.items():
        path = raw_dir / name
        if not path.exists():
            problems.append(f"{path} is missing; land {entry.source_file} again")
        elif sha256_of(path) != sha256:
            problems.append(f"{path} is damaged; land {entry.source_file} again")
    return problems


def verify_raw(raw_dir: Path) -> list[str]:
    """Raw files in force that are missing or damaged, as messages; none where all is well."""
    tables = in_force(read_ledger(raw_dir))
    return [problem for entries in tables.values() for entry in entries for problem in _damage(entry, raw_dir)]


def raw_view_sql(table: RawTable, entries: list[LedgerEntry], raw_dir: Path) -> str:
    """The view that reads a table's files in force in place, with the audit columns.

    Where values may be text it has every declared column under its declared name, and no other: text clean and in ISO
    spelling (`file_format.shown`), what a file lacks as NULL, and no row where there is no file. A column keeps a type
    of its own if all files agree on it, else all of it is text.
    """
    if not table.takes_text:
        parts = [f"select * exclude (file_row_number), {_audit(entry)}{_read(entry, raw_dir)}" for entry in entries]
    elif entries:
        types = _common_types(table, entries)
        parts = [_canonical_sql(table, alike, types, raw_dir) for alike in _written_alike(entries)]
    else:
        columns = ", ".join(f"null::varchar as {quote_identifier(column.name)}" for column in table.columns)
        audit = "null::varchar as _source_file, null::bigint as _row_number, null::varchar as _load_id"
        parts = [f"select {columns}, {audit}, null::timestamp as _loaded_at where false"]
    return f"create or replace view {table.view} as " + " union all by name ".join(parts)


def _row_number(entry: LedgerEntry) -> str:
    return LINE if entry.first_line is None else f"file_row_number + {entry.first_line}"


def raw_rows(entry: LedgerEntry, raw_dir: Path) -> str:
    """The rows of a landed file as delivered, with `_row_number`, as what a query selects from."""
    return f"(select *, {_row_number(entry)} as _row_number{_read(entry, raw_dir)})"


def _audit(entry: LedgerEntry) -> str:
    loaded_at = datetime.fromisoformat(entry.loaded_at).replace(tzinfo=None)
    return (
        f"{literal(entry.source_file)} as _source_file, {_row_number(entry)} as _row_number,"
        f" {literal(entry.load_id)} as _load_id, timestamp '{loaded_at}' as _loaded_at"
    )


def _read(entry: LedgerEntry, raw_dir: Path) -> str:
    return f" from read_parquet({literal(str(raw_dir / entry.raw_file))}, file_row_number = true)"


def _names(entry: LedgerEntry) -> dict[str, str]:
    """The file's own name of each column, by the name as it is declared."""
    return {name.strip().lower(): name for name in entry.columns}


def _common_types(table: RawTable, entries: Sequence[LedgerEntry]) -> dict[str, str | None]:
    """The type of each declared column that all files that have it agree on; None for text."""
    types: dict[str, str | None] = {}
    for column in table.columns:
        found = {
            _plain_type(column, entry.columns[names[column.name]])
            for entry in entries
            if column.name in (names := _names(entry))
        }
        if found and found <= TYPE_FAMILIES["integer"]:
            types[column.name] = "HUGEINT" if "HUGEINT" in found or "UBIGINT" in found else "BIGINT"
        else:
            types[column.name] = found.pop() if len(found) == 1 and found != {"VARCHAR"} else None
    return types


def _plain_type(column: RawColumn, found_type: str) -> str:
    """The type that `file_format.typed` shows a column with."""
    kind = found_type.upper()
    is_time = type_family(column.data_type) == "time" and column.data_type.lower() != "date"
    if kind.startswith("TIMESTAMP") or (kind == "DATE" and is_time):
        return "TIMESTAMP"
    if (
        kind == "UUID"
        or kind.startswith("ENUM")
        or (kind in ("FLOAT", "DOUBLE") and type_family(column.data_type) == "text")
    ):
        return "VARCHAR"
    return kind


def _canonical_sql(table: RawTable, entries: Sequence[LedgerEntry], types: dict[str, str | None], raw_dir: Path) -> str:
    """The rows of files written alike, with every declared column: read, cleaned, NULL where no value is meant, in ISO.

    What is done to text stands once for all of them: the engine takes longer to plan it than to read a day's file.
    """
    names, file_format, zone = _names(entries[0]), FileFormat(**entries[0].format), entries[0].time_zone or "UTC"
    read, cleaned, valued, canonical = [], [], [], []
    for column in table.columns:
        target = quote_identifier(column.name)
        if column.name not in names:
            canonical.append(f"null::{types[column.name] or 'varchar'} as {target}")
            continue
        found_type = entries[0].columns[names[column.name]]
        if found_type == "VARCHAR":
            read.append(f"{quote_identifier(names[column.name])} as {target}")
            cleaned.append(f"{clean(target)} as {target}")
            valued.append(f"{nulled(target, file_format)} as {target}")
            canonical.append(f"{shown(column, target, file_format, zone)} as {target}")
        else:
            value = typed(column, names[column.name], found_type, file_format, zone)
            read.append(f"({value})::{types[column.name] or 'varchar'} as {target}")
            cleaned.append(target)
            valued.append(target)
            canonical.append(target)
    inner = " union all ".join(
        f"select {', '.join([*read, _audit(entry)])}{_read(entry, raw_dir)}" for entry in entries
    )
    for columns in (cleaned, valued, canonical):
        inner = f"select {', '.join([*columns, *AUDIT_COLUMNS])} from ({inner})"
    return inner


def _written_alike(entries: Sequence[LedgerEntry]) -> list[list[LedgerEntry]]:
    """The entries in groups whose columns, format and time zone are the same."""
    groups: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        how = json.dumps([list(entry.columns.items()), entry.format, entry.time_zone], sort_keys=True)
        groups.setdefault(how, []).append(entry)
    return list(groups.values())


def rejects_view_sql(ledger: dict[str, list[LedgerEntry]], raw_dir: Path) -> str:
    """The view of all lines in force that cannot be split: `table_name, _source_file, _row_number, reject_reason`."""
    parts = [
        f"select {literal(entry.table)} as table_name, {literal(entry.source_file)} as _source_file,"
        f" line as _row_number, reject_reason from read_parquet({literal(str(raw_dir / entry.rejects_file))})"
        for entries in ledger.values()
        for entry in entries
        if entry.rejects_file
    ]
    nothing = (
        "select null::varchar as table_name, null::varchar as _source_file, null::bigint as _row_number,"
        " null::varchar as reject_reason where false"
    )
    return "create or replace view raw.rejects as " + " union all ".join(parts or [nothing])


def undeclared_columns(table: RawTable, entries: Iterable[LedgerEntry]) -> list[str]:
    """Columns of a table's files that are not declared: they stay in the raw files, and no view shows them."""
    declared = {column.name for column in table.columns}
    found = {name: own for entry in entries for name, own in _names(entry).items() if name not in declared}
    return [found[name] for name in sorted(found)]


def show_raw(
    connection: duckdb.DuckDBPyConnection, source: Source, ledger: dict[str, list[LedgerEntry]], raw_dir: Path
) -> None:
    """Makes the raw views of a connection read the files in force, and says which tables and columns are beside them.

    `raw.<table>`, `raw.rejects`, `control.absent_tables(table_name)` and
    `control.undeclared_columns(table_name, column_name)`; table names are without their schema.
    """
    connection.execute("create schema if not exists raw; create schema if not exists control")
    absent, undeclared = [(name,) for name in source.lacks], []
    for table in source.tables:
        entries = ledger.get(table.name, [])
        connection.execute(raw_view_sql(table, entries, raw_dir))
        if not entries:
            absent.append((table.name,))
        undeclared += [(table.name, name) for name in undeclared_columns(table, entries)] if table.takes_text else []
    connection.execute(rejects_view_sql(ledger, raw_dir))
    connection.execute("create or replace table control.absent_tables (table_name varchar)")
    connection.execute("create or replace table control.undeclared_columns (table_name varchar, column_name varchar)")
    if absent:
        connection.executemany("insert into control.absent_tables values (?)", absent)
    if undeclared:
        connection.executemany("insert into control.undeclared_columns values (?, ?)", undeclared)


@dataclass(frozen=True)
class InputViews:
    """What a folder would land as.

    Attributes:
        connection: In memory, with everything that `show_raw` makes; a table that cannot land is empty there.
        ledger: What the ledger would say, by table.
        folder: What the ledger's raw files are relative to.
        problems: Why a table cannot land, by its name.
    """

    connection: duckdb.DuckDBPyConnection
    ledger: dict[str, list[LedgerEntry]]
    folder: Path
    problems: dict[str, LandingError]


@contextmanager
def input_views(
    source: Source, input_dir: Path, config: dict[str, str] | None = None, now: datetime | None = None
) -> Iterator[InputViews]:
    """Shows the files of a folder as the raw views will, without landing them. Tables may be given one at a time.

    CSV is converted into a temporary folder; Parquet is read where it is. Unlike `land` it goes on after a fault, so
    that all of them can be told at once.

    Args:
        source: Whose files; `dataclasses.replace(source, tables=...)` for some of its tables.
        input_dir: Where they are.
        config: DuckDB's bounds (`Settings.duckdb_config()`).
        now: Time of the load; the clock's by default.

    Raises:
        LandingError: The folder or its `format.yml` cannot be used.
    """
    loaded_at = (now or datetime.now(UTC)).astimezone(UTC)
    formats, problems = _formats(source, input_dir), {}
    ledger: dict[str, list[LedgerEntry]] = {table.name: [] for table in source.tables}
    with TemporaryDirectory() as temporary, duckdb.connect(":memory:", config=dict(config or {})) as connection:
        for table in source.tables:
            try:
                files, reports = input_files(table, input_dir), []
                for file in files:
                    entry = _look_at(source, table, file, formats[table.name], Path(temporary), loaded_at)
                    ledger[table.name].append(entry)
                    reports.append(
                        LoadReport(table.name, file.name, entry.rows, entry.bytes, entry.rejects, 0.0, is_new=True)
                    )
                _check_rows(table, files, reports)
            except LandingError as error:
                problems[table.name], ledger[table.name] = error, []
        takes_text = tuple(table for table in source.tables if table.takes_text or ledger[table.name])
        show_raw(connection, replace(source, tables=takes_text), ledger, Path(temporary))
        yield InputViews(connection, ledger, Path(temporary), problems)


def _look_at(
    source: Source, table: RawTable, file: InputFile, file_format: FileFormat, folder: Path, loaded_at: datetime
) -> LedgerEntry:
    """The entry of a file that is read where it is, or from a conversion in a folder that will go."""
    try:
        if file.is_csv:
            return _land_file(source, table, file, file_format, folder, loaded_at, None)[0]
        rows, columns = _profile(table, file.path)
        _check_columns(table, file, list(columns))
        return LedgerEntry(
            table=table.name,
            source_file=file.name,
            load_id="",
            sha256="",
            bytes=file.path.stat().st_size,
            rows=rows,
            rejects=0,
            loaded_at=loaded_at.isoformat(),
            raw_file=str(file.path.resolve()),
            columns=columns,
            format=file_format.given() if table.takes_text else {},
            time_zone=source.time_zone,
        )
    except OSError as error:
        raise LandingError(f"{table.name}: {file.path} cannot be read: {error.strerror or error}") from error


def raw_content_hash(entries: Sequence[LedgerEntry]) -> str:
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
    until = now.astimezone(UTC).replace(tzinfo=None)
    days = [day for day, first in _order_days(source, input_dir) if first <= until]
    if not days:
        path = input_files(source.orders, input_dir)[0].path
        raise LandingError(f"{path} has no order up to now. Deliver the file again")
    return min(days), max(days)


def check_clock(source: Source, input_dir: Path, now: datetime) -> None:
    """Sees that orders of not many days are later than now (aware): they would go to quarantine, and stay there.

    Raises:
        LandingError: They are; the clock is behind, or the file is wrong.
    """
    until = now.astimezone(UTC).replace(tzinfo=None)
    days = _order_days(source, input_dir)
    later = sum(first > until for _, first in days)
    if later > max(1, MAX_LATER_DAYS * len(days)):
        raise LandingError(
            f"{source.orders.name}: it has orders of {later} days after now, {until:%Y-%m-%d %H:%M} UTC by the clock."
            " Set the clock if it is behind, else deliver the file with the right times"
        )


def _order_days(source: Source, input_dir: Path) -> list[tuple[date, datetime]]:
    """Each business day with an order in a folder, and the time (UTC) of its first."""
    table = source.orders
    files = input_files(table, input_dir)
    if table.takes_text:
        file_format = json.dumps(_formats(source, input_dir)[table.name].given())
        return _beginnings(source, input_dir, file_format, tuple(map(_state, files)))
    return _beginnings_of_parquet(source, files[0].path, _state(files[0]))


def _state(file: InputFile) -> tuple[str, int, int, int]:
    """What changes when a file does."""
    state = file.path.stat()
    return str(file.path), state.st_size, state.st_mtime_ns, state.st_ctime_ns


# A refresh asks several times, and every order has to be read for it.
@lru_cache(maxsize=8)
def _beginnings(
    source: Source, input_dir: Path, file_format: str, states: tuple[tuple[str, int, int, int], ...]
) -> list[tuple[date, datetime]]:
    """The same of files that may be text."""
    table = source.orders
    with input_views(replace(source, tables=(table,)), input_dir) as views:
        if table.name in views.problems:
            raise views.problems[table.name]
        assert table.event_at is not None
        event_at = f"try_cast({quote_identifier(table.event_at)} as timestamp)"
        return business_days(views.connection, table.view, event_at, source.time_zone)


@lru_cache(maxsize=8)
def _beginnings_of_parquet(source: Source, path: Path, state: tuple[str, int, int, int]) -> list[tuple[date, datetime]]:
    """The same of a file of the declared types."""
    table = source.orders
    assert table.event_at is not None
    try:
        with duckdb.connect(":memory:") as connection:
            event_at = f"{quote_identifier(table.event_at)}::timestamp"
            return business_days(connection, f"read_parquet({literal(str(path))})", event_at, source.time_zone)
    except duckdb.Error as error:
        raise LandingError(
            f"cannot read the time of the orders ({table.name}.{table.event_at}) from {path}:"
            f" {_first_line(error)}. Deliver the file as the source declares it"
        ) from error


def business_days(
    connection: duckdb.DuckDBPyConnection, relation: str, event_at: str, time_zone: str
) -> list[tuple[date, datetime]]:
    """Each day in a time zone with an event, oldest first, and the time (UTC) of its first.

    What is converted is the quarter of an hour and not every event, which would take ten times as long: by whole
    quarters all zones have differed from UTC for half a century.

    Args:
        connection: With the relation.
        relation: With a row per event.
        event_at: Its time (UTC), an expression; NULL and infinite ones are left out.
        time_zone: The business's.
    """
    return connection.execute(
        f"with events as (select {event_at} as event_at from {relation}),"
        " quarters as (select time_bucket(interval '15 minutes', event_at) as quarter, min(event_at) as first_at"
        " from events where isfinite(event_at) group by quarter)"
        f" select (quarter at time zone 'UTC' at time zone {literal(time_zone)})::date as day, min(first_at)"
        " from quarters group by day order by day"
    ).fetchall()


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
