"""Dagster's event log in SQLite, at less cost: an engine per file instead of one per statement.

The stock storage makes an SQLAlchemy engine each time it opens one of its files, several times per event, and each
compiles its statements anew: a tenth of what a small refresh takes. Connections are opened and closed as before.
"""

from functools import lru_cache
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

# A file per run, and one of all runs.
KEPT_ENGINES = 16


@lru_cache(maxsize=KEPT_ENGINES)
def _engine(address: str) -> Engine:
    return create_engine(address, poolclass=NullPool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})


def keep_engines() -> None:
    """From now on the storages of this process share their engines."""

    def kept(address: str, **_: Any) -> Engine:
        return _engine(address)

    vars(sqlite_event_log)["create_engine"] = kept
