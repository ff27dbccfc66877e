"""The working warehouse: one writer, and a word on what is wrong with the file."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

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
