"""What reading from a database costs beside its floor: DuckDB making a table of the same rows from a file.

Run by `make bench` where the servers are installed (see `tests.databases`). Every figure is a ratio of two measurements
of this run; rows per second are shown beside them, as machines differ. Each server runs on the same machine and cores.
"""

import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.extraction import extract
from orchestration.settings import load_settings
from orchestration.sources import Source, load_source
from tests.databases import PASSWORD, SERVERS

ROWS, REPEATS = 200_000, 3
LINES = (
    "create table order_lines (order_line_id bigint primary key, order_id varchar(20), product_id varchar(20),"
    " quantity decimal(18, 3), net_sales decimal(18, 2), unit_price decimal(18, 4), booked_at {time})"
)
FILL = (
    "insert into order_lines select i, {text}, {product}, 1.5, i * 0.07, i * 0.0301, '2025-01-01 10:00:00.123456'"
    " from {numbers}"
)


def _filled(kind: str, run: Callable[[str], object]) -> None:
    """Order lines, so many."""
    if kind == "postgresql":
        run(LINES.format(time="timestamp"))
        fill = {"text": "'O' || i / 4", "product": "'P' || i % 5000", "numbers": f"generate_series(1, {ROWS}) as i"}
        run(FILL.format(**fill).replace("'2025", "timestamp '2025"))
    elif kind == "mysql":
        run(LINES.format(time="datetime(6)"))
        fill = {"text": "concat('O', i div 4)", "product": "concat('P', i % 5000)"}
        run(FILL.format(**fill, numbers=f"(select seq as i from seq_1_to_{ROWS}) as numbers"))
    else:
        run(LINES.format(time="text"))
        fill = {"text": "'O' || i / 4", "product": "'P' || i % 5000"}
        counted = f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS}) select i from n"
        run(FILL.format(**fill, numbers=f"({counted})"))


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    """A database with the rows, and its address."""
    if kind == "sqlite":
        path = folder / "shop.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            _filled(kind, connection.execute)
            connection.commit()
        yield str(path)
        return
    with SERVERS[kind]() as server:
        _filled(kind, server.run)
        yield server.url


def _median_seconds(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _floor(reader: str) -> float:
    def work() -> None:
        with duckdb.connect() as connection:
            connection.execute(f"create table order_lines as select * from {reader}")

    return _median_seconds(work)


def _measured(kind: str, folder: Path, lines: Source) -> dict[str, float]:
    """The figures of a kind of database."""
    with _database(kind, folder) as address:
        settings = load_settings(data=folder / kind, source="contract", input=address)
        seconds = _median_seconds(lambda: extract(settings, lines))
    parquet, csv = f"'{settings.input}/order_lines.parquet'", f"'{folder}/{kind}.csv'"
    duckdb.execute(f"copy (from {parquet}) to {csv}")
    return {
        f"{kind}_rows_per_second": round(ROWS / seconds),
        f"{kind}_to_read_parquet": round(_floor(f"read_parquet({parquet})") / seconds, 3),
        f"{kind}_to_read_csv": round(_floor(f"read_csv({csv})") / seconds, 3),
    }


def main() -> None:
    """Measures and prints."""
    os.environ["CUSTOMER360_INPUT_PASSWORD"] = PASSWORD
    contract = load_source("contract")
    lines = replace(contract, tables=tuple(table for table in contract.tables if table.name == "order_lines"))
    results: dict[str, Any] = {"cores": os.cpu_count(), "repeats": REPEATS, "rows": ROWS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind in (*sorted(SERVERS), "sqlite"):
            try:
                results |= _measured(kind, folder, lines)
            except pytest.skip.Exception as missing:
                results[kind] = str(missing)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
