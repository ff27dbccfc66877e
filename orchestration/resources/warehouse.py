"""The working warehouse: one DuckDB file, private to the pipeline, with one writer at a time.

It can always be rebuilt from raw. Python opens it briefly between dbt's runs; dbt opens it in its own process.
"""

import fcntl
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import IO

import duckdb
from dagster import ConfigurableResource, Failure, InitResourceContext
from pydantic import Field, PrivateAttr

from orchestration.checks.records import relation_contents
from orchestration.content_hash import TableContent
from orchestration.landing import LedgerEntry, show_raw
from orchestration.scores import show_scores
from orchestration.sources import Source

CONTROL_TABLES = """
    create schema if not exists raw;
    create schema if not exists control;
    create table if not exists control.refresh (as_of_date date, run_id varchar);
    create table if not exists control.absent_tables (table_name varchar);
    create table if not exists control.raw_counts (table_name varchar, fingerprint varchar, counts bigint[]);
    create sequence if not exists control.result_id;
    create table if not exists control.check_results (
        result_id bigint default nextval('control.result_id'),
        run_id varchar,
        as_of_date date,
        gate varchar,
        check_name varchar,
        table_name varchar,
        severity varchar,
        passed boolean,
        row_count bigint,
        unexpected_rows bigint,
        message varchar,
        content_hash varchar,
        checked_at timestamp
    );
"""


DAMAGE = (duckdb.SerializationException, duckdb.FatalException, duckdb.InternalException)
SIGNS_OF_DAMAGE = ("not a valid DuckDB database file", "Corrupt database file", "checksum")


def _stat(path: Path) -> os.stat_result | None:
    return path.stat() if path.exists() else None


class WarehouseError(Failure):
    """The warehouse cannot be used: why, and what to do. Trying again at once would not help."""

    def __init__(self, description: str) -> None:
        super().__init__(description, allow_retries=False)


@contextmanager
def exclusive_lock(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Holds the lock of a refresh. The system frees it when its holder ends, however it ends.

    Raises:
        WarehouseError: Another process holds it and did not let go in time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _acquire(file, path, timeout_seconds)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def _acquire(file: IO[str], path: Path, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise WarehouseError(
                    f"another refresh is running (process {holder} holds {path}). Let it end, or wait for it"
                    " with CUSTOMER360_LOCK_TIMEOUT_SECONDS=600"
                ) from None
            time.sleep(0.2)


class Warehouse(ConfigurableResource["Warehouse"]):
    """The working warehouse of a run. While the run lasts it holds the lock, so that there is one writer."""

    path: str = Field(description="DuckDB file.")
    duckdb_config: dict[str, str] = Field(description="DuckDB's bounds.")
    scores_dir: str = Field(description="Parquet files of the scores.")
    lock_timeout_seconds: float = Field(0, description="How long to wait for another refresh to end.")
    # What tables were found to hold in this run, and the file as it was left then.
    _contents: dict[str, TableContent] = PrivateAttr(default_factory=dict)
    _left_as: tuple[tuple[int, ...] | None, ...] = PrivateAttr(default=())

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["Warehouse"]:
        """Holds the lock for as long as the run uses the warehouse."""
        with exclusive_lock(Path(self.path).with_suffix(".lock"), self.lock_timeout_seconds):
            yield self

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is closed again at once, so that dbt's process can open the file.

        Raises:
            WarehouseError: The file is damaged, or another process holds it.
        """
        self._forget_if_written()
        try:
            with duckdb.connect(self.path, config=dict(self.duckdb_config)) as connection:
                connection.execute(CONTROL_TABLES)
                yield connection
            self._left_as = self._stands_as()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            if "Could not set lock" in reason:
                raise WarehouseError(
                    f"{self.path} is open in another process ({reason}). It is private to the pipeline: close it there,"
                    " and read data/published/current.duckdb instead"
                ) from error
            if isinstance(error, DAMAGE) or any(sign in reason for sign in SIGNS_OF_DAMAGE):
                raise WarehouseError(
                    f"{self.path} cannot be read ({reason}). It is damaged; remove it: the next refresh builds it again"
                    " from raw"
                ) from error
            raise

    @contextmanager
    def lend(self, schemas: Collection[str]) -> Iterator[None]:
        """While dbt builds tables of some schemas in a process of its own; what was read of others holds on."""
        self._forget_if_written()
        yield
        for relation in [relation for relation in self._contents if relation.split(".")[0] in schemas]:
            del self._contents[relation]
        self._left_as = self._stands_as()

    def contents(
        self, connection: duckdb.DuckDBPyConnection, relations: Iterable[str], raw_hashes: Mapping[str, str]
    ) -> dict[str, TableContent]:
        """See `relation_contents`; what this run has read of a table that nobody has written since is not read again.

        Args:
            connection: From `connect`.
            relations: What to look at.
            raw_hashes: Content hash of each raw table.
        """
        return relation_contents(connection, relations, raw_hashes, self._contents)

    def _forget_if_written(self) -> None:
        if self._stands_as() != self._left_as:
            self._contents.clear()

    def _stands_as(self) -> tuple[tuple[int, ...] | None, ...]:
        """What anybody who writes the file changes: the times of its last changes cannot be set back."""
        path = Path(self.path)
        return tuple(
            (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if (stat := _stat(file)) else None
            for file in (path, path.with_name(f"{path.name}.wal"))
        )

    def show_raw(self, source: Source, ledger: dict[str, list[LedgerEntry]], raw_dir: Path) -> None:
        """Makes the raw views read the files in force."""
        with self.connect() as connection:
            show_raw(connection, source, ledger, raw_dir)

    def begin_refresh(self, as_of_date: date, run_id: str) -> None:
        """Says which day dbt builds next, and shows that day's scores."""
        with self.connect() as connection:
            show_scores(connection, Path(self.scores_dir), as_of_date)
            connection.execute("begin")
            connection.execute("delete from control.refresh")
            connection.execute("insert into control.refresh values (?, ?)", [as_of_date, run_id])
            connection.execute("commit")
