"""Dagster's event log in SQLite, at less cost: an engine per file, and a file that stays open.

The stock storage makes an SQLAlchemy engine and a connection each time it opens one of its files, several times per
event. Each engine compiles its statements anew, and each connection is the last to leave: SQLite then moves the
write-ahead log into the file and waits for the disk, which took a third of a small refresh where the disk was busy.
"""

import sqlite3
from functools import lru_cache
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool

# A file per run, and one of all runs.
KEPT_ENGINES = 16


@lru_cache(maxsize=KEPT_ENGINES)
def _engine(address: str) -> Engine:
    engine = create_engine(address, poolclass=NullPool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
    path = make_url(address).database
    staying: list[sqlite3.Connection] = []

    # The log stays whole whatever happens. Of a run that a power failure ends, the last events may be lost with it.
    def wait_for_no_disk(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("pragma synchronous = normal")

    def stay_behind(*_: Any) -> None:
        if staying or not path:
            return
        connection = sqlite3.connect(path, check_same_thread=False)
        # Asked so, it reads the file; with a write-ahead log it has that open from then on.
        if connection.execute("pragma journal_mode").fetchone() == ("wal",):
            staying.append(connection)
        else:
            connection.close()

    event.listen(engine, "connect", wait_for_no_disk)
    event.listen(engine, "close", stay_behind)
    return engine


def keep_engines() -> None:
    """From now on the storages of this process share their engines."""

    def kept(address: str, **_: Any) -> Engine:
        return _engine(address)

    vars(sqlite_event_log)["create_engine"] = kept
