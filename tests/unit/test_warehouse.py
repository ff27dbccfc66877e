"""The working warehouse: one writer, and a word on what is wrong with the file."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from orchestration.content_hash import TableContent, table_content
from orchestration.resources.warehouse import Warehouse, WarehouseError, exclusive_lock

HOLD = """
import sys, time, fcntl, duckdb
held = duckdb.connect(sys.argv[1]) if sys.argv[2] == "database" else open(sys.argv[1], "a+")
if sys.argv[2] == "lock":
    fcntl.flock(held, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(
        path=str(tmp_path / "warehouse.duckdb"),
        duckdb_config={"threads": "1"},
        lock_timeout_seconds=0,
        scores_dir=str(tmp_path / "scores"),
    )


def hold(path: Path, what: str) -> "subprocess.Popen[str]":
    """Another process that holds a file, once this returns."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), what], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_new_warehouse_has_its_control_tables(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        assert connection.execute("select count(*) from control.check_results").fetchone() == (0,)


@pytest.fixture
def read(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The relations that are read through, in a warehouse with a table in each of two schemas and a view."""
    found: list[str] = []

    def noted(connection: duckdb.DuckDBPyConnection, relation: str) -> TableContent:
        found.append(relation)
        return table_content(connection, relation)

    monkeypatch.setattr("orchestration.checks.records.table_content", noted)
    with warehouse.connect() as connection:
        connection.execute(
            "create schema core; create schema marts; create table core.orders as select 1 as value;"
            " create table marts.kpis as select 1 as value; create view marts.orders as from core.orders"
        )
    return found


RELATIONS = ("core.orders", "marts.kpis", "marts.orders", "control.refresh")


def contents(warehouse: Warehouse) -> dict[str, TableContent]:
    with warehouse.connect() as connection:
        return warehouse.contents(connection, RELATIONS, {})


def test_what_nobody_has_written_is_not_read_again(warehouse: Warehouse, read: list[str]) -> None:
    first = contents(warehouse)
    assert read == list(RELATIONS)
    read.clear()
    # What Python writes itself is none of dbt's.
    with warehouse.connect() as connection:
        connection.execute("insert into control.refresh values ('2024-01-01', 'run')")
    again = contents(warehouse)
    assert read == ["marts.orders", "control.refresh"], "a view changes with what it reads"
    assert {name for name in RELATIONS if first[name] != again[name]} == {"control.refresh"}


@pytest.mark.parametrize("is_put_back", [False, True])
def test_what_somebody_may_have_written_is_read_again(warehouse: Warehouse, read: list[str], is_put_back: bool) -> None:
    first, path = contents(warehouse), Path(warehouse.path)
    before = path.stat()
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("update core.orders set value = 2")
    if is_put_back:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = contents(warehouse)
    assert {name for name in RELATIONS if first[name] != again[name]} == {"core.orders", "marts.orders"}


def test_what_dbt_may_have_built_is_read_again(warehouse: Warehouse, read: list[str]) -> None:
    first = contents(warehouse)
    read.clear()
    with warehouse.lend(["marts"]), duckdb.connect(warehouse.path) as connection:
        connection.execute("update marts.kpis set value = 2")
    again = contents(warehouse)
    assert again["marts.kpis"] != first["marts.kpis"] and "core.orders" not in read
    read.clear()
    with pytest.raises(RuntimeError), warehouse.lend(["marts"]), duckdb.connect(warehouse.path) as connection:
        connection.execute("update core.orders set value = 2")
        raise RuntimeError
    assert contents(warehouse)["core.orders"] != first["core.orders"], "where dbt broke off, nothing is known"
    # What was written before dbt began is not taken for what dbt wrote.
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("update core.orders set value = 3")
    known = contents(warehouse)["core.orders"]
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("update core.orders set value = 4")
    with warehouse.lend(["marts"]):
        pass
    assert contents(warehouse)["core.orders"] != known


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"\xff" * 20_000], ids=["text", "ones"])
def test_a_damaged_file_is_to_be_removed(warehouse: Warehouse, content: bytes) -> None:
    Path(warehouse.path).write_bytes(content)
    with pytest.raises(WarehouseError, match="damaged; remove it"), warehouse.connect():
        pass


def test_a_flipped_bit_in_a_table_is_found_when_it_is_read(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute("create table numbers as select hash(range) as number from range(200000)")
    content = bytearray(Path(warehouse.path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(warehouse.path).write_bytes(content)
    with pytest.raises(WarehouseError, match="damaged; remove it"), warehouse.connect() as connection:
        connection.execute("select sum(number) from numbers").fetchall()


def test_a_file_that_another_process_has_open_is_not_called_damaged(warehouse: Warehouse) -> None:
    process = hold(Path(warehouse.path), "database")
    try:
        with pytest.raises(WarehouseError, match=r"open in another process.*close it there"), warehouse.connect():
            pass
    finally:
        process.kill()
        process.wait()


def test_an_error_of_a_query_stays_what_it_is(warehouse: Warehouse) -> None:
    with pytest.raises(duckdb.CatalogException), warehouse.connect() as connection:
        connection.execute("select * from nothing")


def test_the_lock_is_had_by_one_and_freed_by_the_death_of_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.lock"
    process = hold(path, "lock")
    try:
        with pytest.raises(WarehouseError, match="another refresh is running"), exclusive_lock(path, 0):
            pass
    finally:
        process.kill()
        process.wait()
    with exclusive_lock(path, 5):
        assert path.read_text().strip().isdigit()
