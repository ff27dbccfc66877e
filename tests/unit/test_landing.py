"""Landing without dbt: what is in force after any sequence of loads, faults and crashes, and which day is refreshed."""

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.files import sha256_of
from orchestration.landing import (
    LEDGER_NAME,
    LandingError,
    LedgerEntry,
    check_clock,
    in_force,
    land,
    raw_view_sql,
    read_ledger,
    resolve_as_of,
    verify_raw,
)
from orchestration.sources import RawColumn, RawTable, Source

NOW = datetime(2018, 3, 1, 12, tzinfo=UTC)


def raw_table(name: str, event_at: str | None = None) -> RawTable:
    column = RawColumn("id", "bigint", "Key.", max_null_share=None)
    return RawTable(name, f"Rows of {name}.", (column,), ("id",), event_at)


SOURCE = Source(
    "shop",
    "America/New_York",
    None,
    (raw_table("orders", event_at="ordered_at"), *map(raw_table, ("customers", "products", "stores", "campaigns"))),
)
TABLES = [table.name for table in SOURCE.tables]
PAIR = replace(SOURCE, tables=SOURCE.tables[:2])


def write(path: Path, query: str) -> Path:
    """A Parquet file with the rows of a query."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"copy ({query}) to '{path}' (format parquet)")
    return path


def write_orders(folder: Path, *ordered_at: str) -> None:
    """Orders at these instants (UTC)."""
    rows = " union all ".join(f"select timestamp '{at}' as ordered_at" for at in ordered_at)
    write(folder / "orders.parquet", rows)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three Parquet files that differ, as bytes."""
    folder = tmp_path_factory.mktemp("contents")
    return {
        name: write(folder / name, f"select range as id, '{name}' as content from range({rows})").read_bytes()
        for name, rows in {"A": 10, "B": 11, "C": 3}.items()
    }


@pytest.fixture
def inbox(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    """A file per table, each with content A."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for name in TABLES:
        (folder / f"{name}.parquet").write_bytes(contents["A"])
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def content_in_force(raw: Path) -> dict[str, bytes]:
    """Content of the one file in force of each table; every raw file has to be whole."""
    assert verify_raw(raw) == []
    tables = in_force(read_ledger(raw))
    return {name: (raw / entry.raw_file).read_bytes() for name, (entry,) in tables.items()}


def assert_refused(inbox: Path, raw: Path, *words: str) -> None:
    """Landing says each of the words and records nothing."""
    ledger = read_ledger(raw)
    with pytest.raises(LandingError) as refusal:
        land(SOURCE, inbox, raw)
    for word in words:
        assert word in str(refusal.value)
    assert read_ledger(raw) == ledger


# What is in force ---------------------------------------------------------------------------------


def test_landing_twice_changes_nothing(inbox: Path, raw: Path) -> None:
    first = land(SOURCE, inbox, raw, NOW)
    landed = files(raw)

    second = land(SOURCE, inbox, raw, NOW + timedelta(days=1))

    assert files(raw) == landed
    assert [report.is_new for report in first] == [True] * len(TABLES)
    assert [report.is_new for report in second] == [False] * len(TABLES)
    assert [(report.table, report.rows, report.bytes) for report in second] == [
        (name, 10, (inbox / f"{name}.parquet").stat().st_size) for name in TABLES
    ]


def test_a_changed_file_supersedes_its_predecessor_and_may_come_back(
    inbox: Path, raw: Path, contents: dict[str, bytes]
) -> None:
    for day, name in enumerate("ABA"):
        (inbox / "orders.parquet").write_bytes(contents[name])
        land(SOURCE, inbox, raw, NOW + timedelta(days=day))
        assert content_in_force(raw) == dict.fromkeys(TABLES, contents["A"]) | {"orders": contents[name]}

    orders = [entry for entry in read_ledger(raw) if entry.table == "orders"]
    assert [entry.rows for entry in orders] == [10, 11, 10]
    assert len({entry.load_id for entry in orders}) == 3
    assert orders[0].raw_file == orders[2].raw_file
    assert len(read_ledger(raw)) == len(TABLES) + 2


def test_a_torn_last_line_is_no_entry_and_the_next_load_repairs_it(
    inbox: Path, raw: Path, contents: dict[str, bytes]
) -> None:
    land(SOURCE, inbox, raw)
    ledger = raw / LEDGER_NAME
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + whole[:40])
    assert len(read_ledger(raw)) == len(TABLES)

    (inbox / "orders.parquet").write_bytes(contents["B"])
    land(SOURCE, inbox, raw)

    assert ledger.read_bytes().startswith(whole)
    assert [json.loads(line)["table"] for line in ledger.read_text().splitlines()] == [*TABLES, "orders"]
    assert content_in_force(raw)["orders"] == contents["B"]


def test_a_last_line_that_lacks_only_its_end_is_not_lost(inbox: Path, raw: Path, contents: dict[str, bytes]) -> None:
    land(SOURCE, inbox, raw)
    ledger = raw / LEDGER_NAME
    ledger.write_bytes(ledger.read_bytes().removesuffix(b"\n"))

    (inbox / "orders.parquet").write_bytes(contents["B"])
    land(SOURCE, inbox, raw)

    assert content_in_force(raw) == dict.fromkeys(TABLES, contents["A"]) | {"orders": contents["B"]}


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"table": 1}', b"\xff\xfe", b"null"], ids=repr)
def test_a_damaged_line_before_the_last_is_an_error(inbox: Path, raw: Path, damage: bytes) -> None:
    land(SOURCE, inbox, raw)
    ledger = raw / LEDGER_NAME
    first, *rest = ledger.read_bytes().splitlines()
    ledger.write_bytes(b"\n".join([first[:-30] + damage, *rest, b""]))

    with pytest.raises(LandingError, match=r"ledger\.jsonl, line 1 is damaged\. Restore the file .* or remove"):
        land(SOURCE, inbox, raw)


# Files that cannot be landed ----------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_one_bad_file_keeps_all_from_being_recorded(
    inbox: Path, raw: Path, contents: dict[str, bytes], table: str
) -> None:
    land(SOURCE, inbox, raw)
    for name in TABLES:
        (inbox / f"{name}.parquet").write_bytes(contents["B"])
    (inbox / f"{table}.parquet").write_bytes(contents["B"][:-1])

    assert_refused(inbox, raw, f"{table}:", "deliver the file again")
    assert content_in_force(raw) == dict.fromkeys(TABLES, contents["A"])

    (inbox / f"{table}.parquet").write_bytes(contents["B"])
    land(SOURCE, inbox, raw)
    assert content_in_force(raw) == dict.fromkeys(TABLES, contents["B"])


def test_a_missing_folder(inbox: Path, raw: Path) -> None:
    assert_refused(inbox / "elsewhere", raw, "elsewhere is not a folder", "Give the folder")
    assert_refused(inbox / "orders.parquet", raw, "orders.parquet is not a folder", "Give the folder")


def test_a_missing_file(inbox: Path, raw: Path) -> None:
    (inbox / "products.parquet").rename(inbox / "product.parquet")
    assert_refused(
        inbox, raw, "products.parquet is missing", "the folder holds", "product.parquet", "Put the file there"
    )


def test_an_empty_file(inbox: Path, raw: Path) -> None:
    (inbox / "products.parquet").write_bytes(b"")
    assert_refused(inbox, raw, "products:", "is empty (0 bytes)", "Deliver the file again")


def test_a_file_without_rows(inbox: Path, raw: Path) -> None:
    write(inbox / "products.parquet", "select 1 as id where false")
    assert_refused(inbox, raw, "products:", "has no rows", "Deliver the file again")


@pytest.mark.parametrize("kept", [1, 4, 12, 0.25, 0.5, 0.9, -8, -4, -1])
def test_a_file_cut_short(inbox: Path, raw: Path, contents: dict[str, bytes], kept: float) -> None:
    whole = contents["A"]
    end = int(kept * len(whole)) if isinstance(kept, float) else int(kept)
    (inbox / "products.parquet").write_bytes(whole[:end])
    assert_refused(inbox, raw, "products:", "is not a whole Parquet file", "cut short")


def test_a_file_of_another_format(inbox: Path, raw: Path) -> None:
    (inbox / "products.parquet").write_text("id,name\n1,a\n")
    assert_refused(inbox, raw, "products:", "is not a whole Parquet file", "of another format")


def test_a_file_that_changes_while_it_is_copied(inbox: Path, raw: Path, contents: dict[str, bytes]) -> None:
    copy = shutil.copyfile

    def copy_after_change(source: Path, target: Path) -> None:
        if source.stem == "products":
            source.write_bytes(contents["B"])
        copy(source, target)

    with patch.object(shutil, "copyfile", copy_after_change):
        assert_refused(inbox, raw, "products.parquet changed while it was read", "Land it again")

    assert not list(raw.rglob("*.building"))
    land(SOURCE, inbox, raw)
    assert content_in_force(raw)["products"] == contents["B"]


# Damage and full disks ----------------------------------------------------------------------------


def test_a_damaged_raw_file_is_mended_from_the_same_content_else_reported(
    inbox: Path, raw: Path, contents: dict[str, bytes]
) -> None:
    land(SOURCE, inbox, raw)
    tables = in_force(read_ledger(raw))
    damaged, missing = (raw / tables[name][0].raw_file for name in ("orders", "products"))
    damaged.write_bytes(b"X" + contents["A"][1:])
    missing.unlink()
    assert verify_raw(raw) == [
        f"{damaged} is damaged; land orders.parquet again",
        f"{missing} is missing; land products.parquet again",
    ]

    ledger = files(raw)[LEDGER_NAME]
    land(SOURCE, inbox, raw)
    assert files(raw)[LEDGER_NAME] == ledger
    assert content_in_force(raw) == dict.fromkeys(TABLES, contents["A"])


def test_a_damaged_file_that_was_superseded_is_not_in_force(inbox: Path, raw: Path, contents: dict[str, bytes]) -> None:
    land(SOURCE, inbox, raw)
    superseded = raw / in_force(read_ledger(raw))["orders"][0].raw_file
    (inbox / "orders.parquet").write_bytes(contents["B"])
    land(SOURCE, inbox, raw)
    superseded.write_bytes(b"damaged")
    assert verify_raw(raw) == []


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file may grow beyond a size: what a full disk does, at an exact byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_ledger_as_it_was(inbox: Path, raw: Path, contents: dict[str, bytes]) -> None:
    land(PAIR, inbox, raw)
    ledger = raw / LEDGER_NAME
    before = ledger.read_bytes()
    line = len(before.splitlines(keepends=True)[0])
    for name in TABLES:
        (inbox / f"{name}.parquet").write_bytes(contents["B"])

    # While a file is copied, and at either end and in the middle of each line of the ledger.
    room = [line // 2, line, 3 * line // 2, 2 * line - 1]
    for size in [len(contents["B"]) // 2, *(len(before) + more for more in room)]:
        with files_limited_to(size), pytest.raises(LandingError, match=r"cannot land into .*Free some space"):
            land(PAIR, inbox, raw)
        assert read_ledger(raw) == [LedgerEntry(**json.loads(text)) for text in before.splitlines()]
        assert set(content_in_force(raw).values()) == {contents["A"]}

    land(PAIR, inbox, raw)
    assert set(content_in_force(raw).values()) == {contents["B"]}


def test_a_raw_folder_that_cannot_be_made(inbox: Path, raw: Path) -> None:
    raw.write_text("a file where the folder should be")
    with pytest.raises(LandingError, match=r"cannot land into .*mend the folder, then refresh again"):
        land(SOURCE, inbox, raw)


class Killed(BaseException):
    """Ends a landing where it stands; nothing may catch it."""


Step = tuple[str, str, int | None]  # content of the two files, and before which write to disk the landing is killed


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC"), st.none() | st.integers(0, 6)), max_size=8))
def test_any_sequence_of_loads_and_crashes_leaves_a_whole_load_in_force(
    contents: dict[str, bytes], steps: list[Step]
) -> None:
    with TemporaryDirectory() as folder:
        inbox, raw = Path(folder, "inbox"), Path(folder, "raw")
        inbox.mkdir()
        model: dict[str, bytes] = {}
        for orders, customers, killed_at in [*steps, ("A", "B", None), ("A", "B", None)]:
            given = {"orders": contents[orders], "customers": contents[customers]}
            for name, content in given.items():
                (inbox / f"{name}.parquet").write_bytes(content)
            fsyncs = [None] * (999 if killed_at is None else killed_at)
            try:
                with patch("os.fsync", side_effect=[*fsyncs, Killed]):
                    land(PAIR, inbox, raw)
            except Killed:
                assert content_in_force(raw) in (model, given)
                model = content_in_force(raw)
            else:
                model = given
                assert content_in_force(raw) == model
        entries = read_ledger(raw)
        assert land(PAIR, inbox, raw)[0].is_new is False
        assert read_ledger(raw) == entries


# The view -----------------------------------------------------------------------------------------


def test_the_view_carries_audit_columns_whatever_the_names(inbox: Path, tmp_path: Path) -> None:
    raw = tmp_path / """it's "raw" [1]*"""
    write(inbox / "orders.parquet", "select range * 10 as id from range(300_000)")  # several row groups
    land(SOURCE, inbox, raw, NOW)
    table = SOURCE.tables[0]
    (entry,) = in_force(read_ledger(raw))["orders"]
    entries = [entry, replace(entry, source_file="o'brien.parquet", load_id="earlier")]

    with duckdb.connect() as connection:
        connection.execute("create schema raw")
        connection.execute(raw_view_sql(table, entries, raw))
        columns = [name for name, *_ in connection.execute("describe raw.orders").fetchall()]
        by_file = connection.execute(
            "select _source_file, _load_id, _loaded_at, count(*), count(distinct _row_number),"
            " bool_and(id = 10 * (_row_number - 1)) from raw.orders group by all order by all desc"
        ).fetchall()

    assert columns == ["id", "_source_file", "_row_number", "_load_id", "_loaded_at"]
    loaded_at = NOW.replace(tzinfo=None)
    assert by_file == [
        ("orders.parquet", entry.load_id, loaded_at, 300_000, 300_000, True),
        ("o'brien.parquet", "earlier", loaded_at, 300_000, 300_000, True),
    ]


def test_the_view_of_files_with_different_columns_has_them_all(inbox: Path, raw: Path) -> None:
    land(SOURCE, inbox, raw)
    (first,) = in_force(read_ledger(raw))["orders"]
    other = write(raw / "orders" / "other.parquet", "select 'x' as more, 7 as id")
    second = replace(first, source_file="other.parquet", raw_file="orders/other.parquet", sha256=sha256_of(other))
    with duckdb.connect() as connection:
        connection.execute("create schema raw")
        connection.execute(raw_view_sql(SOURCE.tables[0], [first, second], raw))
        assert connection.execute("select count(*), count(content), count(more) from raw.orders").fetchall() == [
            (11, 10, 1)
        ]


# The day ------------------------------------------------------------------------------------------


def test_by_default_the_day_after_the_newest_order_in_the_business_zone(inbox: Path) -> None:
    write_orders(inbox, "2017-01-01 15:00:00", "2018-01-01 04:01:00")  # 23:01 in New York on 31 December
    assert resolve_as_of(SOURCE, inbox, None, NOW) == date(2018, 1, 1)
    write_orders(inbox, "2017-01-01 15:00:00", "2018-01-01 05:00:00")  # midnight: the next day has begun
    assert resolve_as_of(SOURCE, inbox, None, NOW) == date(2018, 1, 2)


def test_by_default_never_a_day_that_is_not_over(inbox: Path) -> None:
    write_orders(inbox, "2017-01-01 15:00:00", "2018-03-01 11:00:00")
    assert resolve_as_of(SOURCE, inbox, None, NOW) == date(2018, 3, 1)
    late_evening = datetime(2018, 3, 2, 4, 30, tzinfo=UTC)  # still 1 March in New York
    assert resolve_as_of(SOURCE, inbox, None, late_evening) == date(2018, 3, 1)


def test_orders_of_the_future_do_not_move_the_default(inbox: Path) -> None:
    write_orders(inbox, "2017-01-01 15:00:00", "2018-01-01 04:01:00", "2018-03-01 12:00:01", "2999-12-31 00:00:00")
    assert resolve_as_of(SOURCE, inbox, None, NOW) == date(2018, 1, 1)


def test_many_days_of_the_future_are_a_clock_that_is_behind_and_a_few_wrong_dates_are_not(inbox: Path) -> None:
    days = [str(datetime(2017, 1, 1, 15) + timedelta(days=day)) for day in range(365)]
    write_orders(inbox, *days, "2999-12-31 00:00:00")
    check_clock(SOURCE, inbox, NOW)
    behind = datetime(2017, 12, 25, 12, tzinfo=UTC)
    with pytest.raises(LandingError, match=r"orders of 8 days after now, 2017-12-25 12:00 UTC by the clock\. Set the"):
        check_clock(SOURCE, inbox, behind)
    # Scattered over more years, as many wrong dates are no more than a few.
    write_orders(inbox, *days, *(str(datetime(2010, 1, 1) + timedelta(days=day)) for day in range(2000)))
    check_clock(SOURCE, inbox, behind)


def test_a_day_that_is_asked_for(inbox: Path) -> None:
    write_orders(inbox, "2017-01-01 15:00:00", "2018-01-01 04:01:00")
    for day in (date(2017, 1, 2), date(2018, 2, 28), date(2018, 3, 1)):
        assert resolve_as_of(SOURCE, inbox, day, NOW) == day
    for day in (date(2016, 12, 31), date(2017, 1, 1)):
        with pytest.raises(LandingError, match=rf"AS_OF {day} .*first order is of 2017-01-01\. Give a later day"):
            resolve_as_of(SOURCE, inbox, day, NOW)
    with pytest.raises(LandingError, match=r"AS_OF 2018-03-02 has not begun: today is 2018-03-01\. Give an earlier"):
        resolve_as_of(SOURCE, inbox, date(2018, 3, 2), NOW)


@pytest.mark.parametrize(
    "query, message",
    [
        ("select timestamp '2999-01-01' as ordered_at", r"has no order up to now\. Deliver"),
        ("select null::timestamp as ordered_at", r"has no order up to now\. Deliver"),
        ("select 'yesterday' as ordered_at", r"cannot read the time of the orders \(orders\.ordered_at\)"),
        ("select 1 as id", r"cannot read the time of the orders \(orders\.ordered_at\)"),
    ],
)
def test_files_without_a_usable_order_have_no_day(inbox: Path, query: str, message: str) -> None:
    write(inbox / "orders.parquet", query)
    with pytest.raises(LandingError, match=message):
        resolve_as_of(SOURCE, inbox, None, NOW)


@pytest.mark.parametrize("name", ["file_row_number", "_load_id"])
def test_a_column_under_a_name_of_landings_own_is_refused(inbox: Path, raw: Path, name: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"copy (select 1 as {name}) to '{inbox / 'orders.parquet'}' (format parquet)")
    with pytest.raises(LandingError, match=f"orders.*{name}.*Rename"):
        land(SOURCE, inbox, raw)
    assert read_ledger(raw) == []
