"""The publication store: what readers open, which version is current, and how that changes.

Belongs here: turning the marts that passed their gates into a new immutable DuckDB file, making it
current by one rename, pruning, verifying and rolling back. Does not belong here: deciding whether
the marts are good (the gates do, and hand over the content that they saw), anything of Dagster.

    <root>/current.duckdb                 relative symlink to one of the versions
    <root>/versions/<version>.duckdb      the marts and `marts.publication`; never written to again
    <root>/versions/<version>.json        its description: SHA-256 of the file, rows and hashes
    <root>/versions/.<version>.*          unfinished; removed by the next publication
    <root>/.lock                          held while a publication or a rollback runs

A version is made of the current one where that has large tables: what is equal stays, and of the others
the days are written whose hashes differ from those in its description. All of it is then read again; what is not
as expected is built from nothing, and so is one version of as many as are kept.

A version exists from the moment its `.duckdb` file has its name: all else is on disk by then. It is
what readers get from the moment the symlink is replaced. A crash between the two leaves an intact
version that was never current; it counts like any other, and the next publication numbers on.
"""

import errno
import fcntl
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import duckdb

from orchestration.content_hash import TableContent, columns_of, day_column, quote_identifier, table_content
from orchestration.files import fsync, sha256_of

logger = logging.getLogger(__name__)

_SCHEMA = "marts"
_PUBLICATION_TABLE = "publication"
_VERSION = re.compile(r"(?P<number>\d{6,})-\d{4}-\d{2}-\d{2}")

# From that many rows on a table is not written again as a whole where it has a column of days.
LARGE_TABLE_ROWS = 1_000_000

# A version of a later time than that was published when a clock was wrong: its age cannot be told.
CLOCK_TOLERANCE = timedelta(hours=2)

_CREATE_PUBLICATION = """
create table marts.publication (
    table_name varchar,
    version varchar,
    as_of_date date,
    source varchar,
    row_count bigint,
    content_hash varchar,
    published_at timestamp,
    fresh_until timestamp
);
comment on table marts.publication is
    'One row per published table: which version this file is, and what the gates passed.';
comment on column marts.publication.table_name is 'Name of the table in schema marts.';
comment on column marts.publication.version is 'Version of the whole file; the same in every row.';
comment on column marts.publication.as_of_date is
    'Logical day of the refresh: data from its midnight on is not seen.';
comment on column marts.publication.source is 'Source that the data came from.';
comment on column marts.publication.row_count is 'Number of rows of the table.';
comment on column marts.publication.content_hash is
    'SHA-256 over the columns and rows of the table, whatever their order on disk.';
comment on column marts.publication.published_at is 'When the version was published, in UTC.';
comment on column marts.publication.fresh_until is
    'By when the next version is due, in UTC: later than that a refresh was missed. NULL where nobody said.';
-- A view, as an age is one of the moment at which it is read. The clock is read without a time zone's extension.
create view marts.freshness as
select
    version,
    as_of_date,
    published_at,
    fresh_until,
    round(greatest(epoch_us(now()) - epoch_us(published_at), 0) / 3600000000, 1) as age_hours,
    epoch_us(now()) between epoch_us(published_at) - {tolerance} and epoch_us(fresh_until) as is_fresh
from marts.publication
limit 1;
comment on view marts.freshness is 'One row: how old this version is at the moment, and whether a newer one is due.';
comment on column marts.freshness.version is 'Version of the whole file.';
comment on column marts.freshness.as_of_date is 'Logical day of the refresh: data from its midnight on is not seen.';
comment on column marts.freshness.published_at is 'When the version was published, in UTC.';
comment on column marts.freshness.fresh_until is 'By when the next version is due, in UTC.';
comment on column marts.freshness.age_hours is 'Hours since the version was published.';
comment on column marts.freshness.is_fresh is
    'Whether no newer version is due yet; NULL where nobody said when. Not where it is of a time that is yet to come.';
""".replace("{tolerance}", str(CLOCK_TOLERANCE // timedelta(microseconds=1)))


class PublicationError(Exception):
    """A publication, rollback or verification failed; the message says why and what to do."""


@dataclass(frozen=True)
class PublishedTable:
    """One table of a published version, as the gates passed it; of a large one also the content hash of each day."""

    table_name: str
    row_count: int
    content_hash: str
    day_hashes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Publication:
    """A published version.

    Attributes:
        version: Its name, such as `000012-2024-06-01`; the number alone gives the order.
        as_of_date: Logical day of the refresh.
        source: Source that the data came from.
        published_at: When it was built, in UTC. Information only: nothing depends on the clock.
        sha256: SHA-256 hex digest of the DuckDB file.
        tables: What it holds, ordered by name.
    """

    version: str
    as_of_date: date
    source: str
    published_at: datetime
    sha256: str
    tables: tuple[PublishedTable, ...]


class PublicationStore:
    """The published versions under one folder, of which at most one is current.

    Args:
        root: Folder of the store (`data/published`); made when something is published.
        keep: How many of the newest versions stay; the current one stays whatever its age.
        duckdb_config: DuckDB's bounds while a version is built.

    Raises:
        ValueError: `keep` is below 1.
    """

    def __init__(self, root: Path, keep: int = 7, duckdb_config: Mapping[str, str] | None = None) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}, expected 1 or more: the newest version always stays.")
        self.root = Path(root)
        self.keep = keep
        self._duckdb_config: dict[str, str | bool | int | float | list[str]] = {**(duckdb_config or {})}
        self._versions_folder = self.root / "versions"
        self._link = self.root / "current.duckdb"
        self._new_link = self.root / ".current.duckdb"

    def publish(
        self,
        warehouse: Path,
        expected: Mapping[str, TableContent],
        *,
        as_of_date: date,
        source: str,
        fresh_until: datetime | None = None,
    ) -> Publication:
        """Publish the marts of a warehouse as a new version and make it current.

        Args:
            warehouse: The DuckDB file to read; no connection of this process may hold it.
            expected: The content that the gates passed, for every table and view in schema `marts`.
            as_of_date: Logical day of the refresh.
            source: Source that the data came from.
            fresh_until: By when the next version is due (aware); told to readers.

        Returns:
            The new, now current version.

        Raises:
            PublicationError: The marts are not what the gates passed, another publication is in
                progress, or the disk failed. The current version is what it was before.
            TypeError: `as_of_date` has a time of day.
        """
        if isinstance(as_of_date, datetime):
            raise TypeError(f"as_of_date is {as_of_date!r}, expected a date without time of day.")
        warehouse = Path(warehouse)
        if not warehouse.is_file():
            raise PublicationError(f"There is no warehouse at {warehouse}. Run `make refresh`.")
        with self._exclusively("Publishing"):
            number = 1 + max(map(_number, self._known_versions()), default=0)
            version = f"{number:06d}-{as_of_date}"
            self._remove_leftovers()
            try:
                build = partial(self._build, warehouse, expected, version, as_of_date, source, fresh_until)
                # Else what is gone could stay in the room of its rows for longer than versions are kept.
                is_from_nothing = number % self.keep == 0
                publication = build(None) if is_from_nothing else self._built_from_best(build, expected)
                self._make_current(version)
            except BaseException:
                with suppress(OSError):
                    self._remove_leftovers()
                raise
            self._prune()
            return publication

    def current(self) -> Publication | None:
        """The version that readers get, or None when nothing was published yet.

        Raises:
            PublicationError: Its description is missing or damaged.
        """
        version = self._current_version()
        return None if version is None else self._describe(version)

    def versions(self) -> list[Publication]:
        """The versions with a readable description, oldest first."""
        publications = []
        for version in self._finished_versions():
            with suppress(PublicationError):
                publications.append(self._describe(version))
        return publications

    def rollback(self, to: str | None = None) -> Publication:
        """Make another version current. All versions stay; the next publication numbers on.

        Args:
            to: The version to make current; by default the newest intact one before the current.

        Returns:
            The version that is current now.

        Raises:
            PublicationError: There is no such version, it is damaged, or another publication is in
                progress.
        """
        with self._exclusively("Rolling back"):
            publication = self._previous_intact() if to is None else self.verify(to)
            self._make_current(publication.version)
            return publication

    def verify(self, version: str | None = None) -> Publication:
        """Check a version's file against its SHA-256, and its description against the seal in it.

        Args:
            version: The version to check; the current one by default.

        Returns:
            The intact version.

        Raises:
            PublicationError: The version does not exist or is damaged, or nothing was published.
        """
        if version is None:
            version = self._current_version()
            if version is None:
                raise PublicationError(
                    f"Nothing is published in {self.root}. Run `make refresh`, or roll back to a "
                    f"version by name: {self._available()}."
                )
        publication = self._describe(version)
        file = self._file(version)
        try:
            given = sha256_of(file)
        except OSError as error:
            raise _damaged(version, f"its file cannot be read ({error})") from error
        if given != publication.sha256:
            raise _damaged(version, f"SHA-256 of {file} is {given}, expected {publication.sha256}")
        return publication

    def damage(self) -> list[str]:
        """What is wrong with any version, or with what is current, as messages; none where all is well."""
        problems = []
        try:
            versions = dict.fromkeys(self._known_versions()) if self._versions_folder.exists() else {}
        except PublicationError as error:
            return [str(error)]
        for version in versions:
            try:
                self.verify(version)
            except PublicationError as error:
                problems.append(str(error))
        return problems

    def current_file(self) -> Path:
        """The current version's own file, verified; its content stays when current moves on.

        Raises:
            PublicationError: Nothing was published, or what is current is damaged.
        """
        return self._file(self.verify().version).resolve()

    # Building a version ---------------------------------------------------------------------------

    def _built_from_best(
        self, build: Callable[[Publication | None], Publication], expected: Mapping[str, TableContent]
    ) -> Publication:
        """A version built out of the current one where that saves something, else from nothing."""
        start = self._worth_starting_from(expected)
        if start is not None:
            try:
                return build(start)
            except (OSError, duckdb.Error, PublicationError) as error:
                logger.warning("The version is built from nothing, as %s is no start: %s", start.version, error)
                self._remove_leftovers()
        return build(None)

    def _worth_starting_from(self, expected: Mapping[str, TableContent]) -> Publication | None:
        """The current version where it is intact and has a large table that is published again."""
        with suppress(PublicationError):
            current = self.current()
            if current is not None and any(
                table.table_name in expected and table.row_count >= LARGE_TABLE_ROWS for table in current.tables
            ):
                return self.verify(current.version)
        return None

    def _build(
        self,
        warehouse: Path,
        expected: Mapping[str, TableContent],
        version: str,
        as_of_date: date,
        source: str,
        fresh_until: datetime | None,
        start: Publication | None,
    ) -> Publication:
        """Build, check and finish a version; not yet current."""
        published_at = datetime.now(UTC)
        tables = tuple(_to_publish(name, content) for name, content in sorted(expected.items()))
        building = self._versions_folder / f".{version}.building"
        held = {}
        if start is not None:
            shutil.copyfile(self._file(start.version), building)
            held = {table.table_name: table for table in start.tables}
        with duckdb.connect(building, config=self._duckdb_config) as connection:
            connection.begin()
            _copy_marts(connection, warehouse, expected, held)
            connection.execute(_CREATE_PUBLICATION)
            for table in tables:
                row = (
                    table.table_name,
                    version,
                    as_of_date,
                    source,
                    table.row_count,
                    table.content_hash,
                    published_at.replace(tzinfo=None),
                    None if fresh_until is None else fresh_until.astimezone(UTC).replace(tzinfo=None),
                )
                values = ", ".join(map(_literal, row))
                connection.execute(f"insert into marts.publication values ({values})")
            connection.commit()
            connection.execute("checkpoint")

        # DuckDB shares an instance among all connections of a process to one path, and finds a WAL
        # by the file's name: under a new name it can only read what is in the file.
        checking = self._versions_folder / f".{version}.checking"
        building.replace(checking)
        with duckdb.connect(checking, read_only=True, config=self._duckdb_config) as connection:
            for name, content in expected.items():
                _check_content(connection, name, content)

        checking.chmod(0o444)
        fsync(checking)
        publication = Publication(version, as_of_date, source, published_at, sha256_of(checking), tables)
        description = self._versions_folder / f".{version}.json"
        description.write_text(_to_json(publication), encoding="utf-8")
        description.chmod(0o444)
        fsync(description)
        description.replace(self._description(version))
        fsync(self._versions_folder)
        checking.replace(self._file(version))
        fsync(self._versions_folder)
        return publication

    def _make_current(self, version: str) -> None:
        """Swap the symlink; when the swap cannot be made durable, swap it back."""
        previous = self._current_version()
        self._replace_link(version)
        try:
            fsync(self.root)
        except OSError:
            if previous is None:
                self._link.unlink()
            else:
                self._replace_link(previous)
            raise

    def _replace_link(self, version: str) -> None:
        self._new_link.unlink(missing_ok=True)
        self._new_link.symlink_to(self._file(version).relative_to(self.root))
        self._new_link.replace(self._link)

    def _remove_leftovers(self) -> None:
        """Remove what an interrupted publication left: unfinished files, orphaned descriptions."""
        self._new_link.unlink(missing_ok=True)
        for path in sorted(self._versions_folder.iterdir()):
            unfinished = path.name.startswith(".") and _VERSION.match(path.name, 1)
            orphaned = path.suffix == ".json" and _VERSION.fullmatch(path.stem) and not self._file(path.stem).exists()
            if unfinished and path.is_dir():
                shutil.rmtree(path)
            elif unfinished or orphaned:
                path.unlink()

    def _prune(self) -> None:
        """Delete old versions; what cannot be deleted is tried again by the next publication."""
        current = self._current_version()
        for version in self._finished_versions()[: -self.keep]:
            if version != current:
                try:
                    self._file(version).unlink()
                    self._description(version).unlink(missing_ok=True)
                except OSError as error:
                    logger.warning("Version %s is old but cannot be deleted: %s", version, error)

    # Looking at versions --------------------------------------------------------------------------

    def _file(self, version: str) -> Path:
        return self._versions_folder / f"{version}.duckdb"

    def _description(self, version: str) -> Path:
        return self._versions_folder / f"{version}.json"

    def _finished_versions(self) -> list[str]:
        """Names of the versions that have a file, intact or not, oldest first."""
        names = (path.stem for path in self._versions_folder.glob("*.duckdb"))
        return sorted(filter(_VERSION.fullmatch, names), key=_number)

    def _known_versions(self) -> list[str]:
        """Finished versions and the current one, should someone have deleted its file."""
        current = self._current_version()
        return self._finished_versions() + ([current] if current else [])

    def _current_version(self) -> str | None:
        try:
            version = self._link.readlink().stem
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise PublicationError(f"{self._link} cannot be read: {error}.") from error
            version = "not a symlink"
        if not _VERSION.fullmatch(version):
            raise PublicationError(
                f"{self._link} is not a symlink to a published version, as it has to be. "
                "Move it away, then publish or roll back to a version by name."
            )
        return version

    def _describe(self, version: str) -> Publication:
        """The description of a version, checked against its seal but not against the file."""
        if version not in self._known_versions():
            raise PublicationError(f"There is no version {version!r} in {self.root}. Available: {self._available()}.")
        try:
            publication = _from_json(self._description(version).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(version, f"its description cannot be read ({error!r})") from error
        if publication.version != version:
            raise _damaged(version, f"its description is of version {publication.version}")
        return publication

    def _previous_intact(self) -> Publication:
        current = self._current_version()
        if current is None:
            raise PublicationError(
                f"Nothing is current in {self.root}, so there is nothing to roll back from. "
                f"Run `make refresh`, or roll back to a version by name: {self._available()}."
            )
        damage = []
        for version in reversed(self._finished_versions()):
            if _number(version) < _number(current):
                try:
                    publication = self.verify(version)
                except PublicationError as error:
                    logger.warning("Rollback passes over a version: %s", error)
                    damage.append(version)
                else:
                    return publication
        raise PublicationError(
            f"There is no intact version before {current} "
            f"(damaged: {', '.join(damage) or 'none'}). Available: {self._available()}. "
            "Name one of these, or publish again with `make refresh`."
        )

    def _available(self) -> str:
        return ", ".join(publication.version for publication in self.versions()) or "none"

    # One at a time --------------------------------------------------------------------------------

    @contextmanager
    def _exclusively(self, action: str) -> Iterator[None]:
        """Hold the store's lock; explain what the disk or DuckDB complains about meanwhile."""
        try:
            for folder in (self.root, self._versions_folder):
                if not folder.exists():
                    with suppress(FileExistsError):  # a rival was quicker
                        folder.mkdir(parents=True)
                        folder.chmod(folder.stat().st_mode | 0o050)
            with (self.root / ".lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise PublicationError(
                        f"Another publication or rollback is in progress in {self.root}. "
                        "Wait until it has ended, then try again."
                    ) from error
                yield
        except (OSError, duckdb.Error) as error:
            raise PublicationError(
                f"{action} in {self.root} failed: {error}. Readers get what they got before: "
                f"{self._current_version() or 'nothing'}. Free disk space or mend what the message "
                "names, then try again; no clean-up is needed."
            ) from error


def _copy_marts(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Path,
    expected: Mapping[str, TableContent],
    held: Mapping[str, PublishedTable],
) -> None:
    """Copy the warehouse's marts, rows in their order, with comments, to the connection's file, which may hold some."""
    # Views name other tables by the name the warehouse has as a database: the stem of its file.
    catalog = warehouse.stem
    try:
        connection.execute(f"attach {_literal(warehouse)} as {quote_identifier(catalog)} (read_only)")
    except duckdb.Error as error:
        raise PublicationError(
            f"The warehouse {warehouse} cannot be opened for reading: {error}. "
            "Close every connection to it, in this process and in others, then publish again."
        ) from error

    relations = _relations(connection, catalog)
    _check_names(set(expected), set(relations))

    connection.execute(f"create schema if not exists {_SCHEMA}")
    kept = {
        name
        for name in held.keys() & expected.keys()
        if held[name].content_hash == expected[name].content_hash
        or _bring_up_to_date(connection, name, catalog, held[name], expected[name])
    }
    for name, (kind, _) in _relations(connection, None).items():
        if name not in kept:
            connection.execute(f"drop {kind} {_qualified(name)}")
    for name, (_, comment) in sorted(relations.items()):
        if name not in kept:
            connection.execute(f"create table {_qualified(name)} as select * from {_qualified(name, catalog)}")
        connection.execute(f"comment on table {_qualified(name)} is {_literal(comment)}")
    column_comments = connection.execute(
        f"""
        select table_name, column_name, comment from duckdb_columns()
        where database_name = {_literal(catalog)} and schema_name = {_literal(_SCHEMA)}
        order by table_name, column_index
        """
    ).fetchall()
    for name, column, comment in column_comments:
        target = f"{_qualified(name)}.{quote_identifier(column)}"
        connection.execute(f"comment on column {target} is {_literal(comment)}")


def _relations(connection: duckdb.DuckDBPyConnection, catalog: str | None) -> dict[str, tuple[str, str | None]]:
    """Tables and views in the marts of an attached database, or of the connection's own: what they are, the comment."""
    database = "current_database()" if catalog is None else _literal(catalog)
    found = connection.execute(
        f"""
        select view_name, 'view' as kind, comment from duckdb_views()
        where database_name = {database} and schema_name = {_literal(_SCHEMA)}
        union all
        select table_name, 'table' as kind, comment from duckdb_tables()
        where database_name = {database} and schema_name = {_literal(_SCHEMA)}
        """
    ).fetchall()
    return {name: (kind, comment) for name, kind, comment in found}


def _bring_up_to_date(
    connection: duckdb.DuckDBPyConnection, name: str, catalog: str, held: PublishedTable, expected: TableContent
) -> bool:
    """Replace the days that differ in a large table of the version before; whether it is now what the warehouse has.

    Writing all rows again would take most of a publication: they are compressed, and of nearly all days unchanged.
    The room of rows that were replaced DuckDB takes back: 200 times a fortieth of the days made a file a sixth larger.
    """
    table, source = _qualified(name), _qualified(name, catalog)
    columns = columns_of(connection, table)
    column = day_column(columns)
    if column is None or not held.day_hashes or columns != columns_of(connection, source):
        return False
    changed = {day for day, _ in expected.day_hashes.items() ^ held.day_hashes.items()}
    # Said one by one: a scan then passes over what holds none of them.
    conditions = [f"{column} = {_literal(day)}" if day else f"{column} is null" for day in sorted(changed)]
    if conditions:
        connection.execute(f"delete from {table} where {' or '.join(conditions)}")
        connection.execute(f"insert into {table} select * from {source} where {' or '.join(conditions)}")
    return True


def _to_publish(table_name: str, content: TableContent) -> PublishedTable:
    """A table to publish, whose content must have been read and not inferred."""
    if content.row_count is None:
        raise ValueError(f"the rows of {table_name} were not counted; pass the content of the table itself")
    day_hashes = content.day_hashes if content.row_count >= LARGE_TABLE_ROWS else {}
    return PublishedTable(table_name, content.row_count, content.content_hash, dict(sorted(day_hashes.items())))


def _check_names(expected: set[str], given: set[str]) -> None:
    """Every mart passed the gates, and everything that passed them is there."""
    if not expected:
        raise PublicationError(
            "No table passed the gates: `expected` is empty, it needs one entry per table in "
            f"schema {_SCHEMA}. Run the gates, then publish."
        )
    if _PUBLICATION_TABLE in expected | given:
        raise PublicationError(
            f"The warehouse has a {_SCHEMA}.{_PUBLICATION_TABLE}, but publishing writes that table. Rename the model."
        )
    if missing := expected - given:
        raise PublicationError(
            f"The gates passed tables that schema {_SCHEMA} of the warehouse lacks: "
            f"{', '.join(sorted(missing))}. Build them and run the gates again, then publish."
        )
    if ungated := given - expected:
        raise PublicationError(
            f"Schema {_SCHEMA} of the warehouse has tables that no gate passed: "
            f"{', '.join(sorted(ungated))}. Run their gates, or drop those that no model builds "
            "any more, then publish."
        )


def _check_content(connection: duckdb.DuckDBPyConnection, name: str, expected: TableContent) -> None:
    given = table_content(connection, _qualified(name))
    if given != expected:
        raise PublicationError(
            f"{_SCHEMA}.{name} is not what the gates passed: it has {given.row_count} rows "
            f"with hash {given.content_hash[:12]}, expected {expected.row_count} rows with hash "
            f"{expected.content_hash[:12]}. The table was changed after its gates: run the gates "
            "again, then publish."
        )


def _damaged(version: str, reason: str) -> PublicationError:
    return PublicationError(
        f"Published version {version} is damaged: {reason}. "
        "Use an intact version (`make rollback`), or publish again (`make refresh`)."
    )


def _to_json(publication: Publication) -> str:
    """A publication as JSON, with a seal: the SHA-256 of all other fields."""
    fields = asdict(publication)
    fields["as_of_date"] = publication.as_of_date.isoformat()
    fields["published_at"] = publication.published_at.isoformat()
    # As in descriptions that were written before days were hashed, whose seals hold on.
    for table in fields["tables"]:
        if not table["day_hashes"]:
            del table["day_hashes"]
    seal = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    return json.dumps(fields | {"seal": seal}, indent=2) + "\n"


def _from_json(text: str) -> Publication:
    fields = json.loads(text)
    publication = Publication(
        version=fields["version"],
        as_of_date=date.fromisoformat(fields["as_of_date"]),
        source=fields["source"],
        published_at=datetime.fromisoformat(fields["published_at"]),
        sha256=fields["sha256"],
        tables=tuple(PublishedTable(**table) for table in fields["tables"]),
    )
    if _to_json(publication) != text:
        raise ValueError("it was changed after it was written")
    return publication


def _number(version: str) -> int:
    return int(version.split("-")[0])


def _qualified(table_name: str, catalog: str | None = None) -> str:
    database = "" if catalog is None else f"{quote_identifier(catalog)}."
    return f"{database}{_SCHEMA}.{quote_identifier(table_name)}"


def _literal(value: object) -> str:
    """A value as an SQL string or NULL; a query parameter would make DuckDB import pandas, for a second."""
    return "null" if value is None else "'" + str(value).replace("'", "''") + "'"
