"""Landing of a company's own files: CSV however it is written, one file or many, and every fault they come with."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestration import csv_file
from orchestration.housekeeping import _prune_raw
from orchestration.landing import (
    LandingError,
    input_views,
    land,
    order_days,
    read_ledger,
    resolve_as_of,
    show_raw,
    tables_in_force,
    verify_raw,
)
from orchestration.replay import cut_files
from orchestration.settings import load_settings
from orchestration.sources import RawColumn, RawTable, Source

NOW = datetime(2018, 3, 1, 12, tzinfo=UTC)


def column(name: str, data_type: str = "varchar", is_required: bool = True) -> RawColumn:
    return RawColumn(name, data_type, f"The {name}.", None, is_required=is_required, may_be_text=True)


ORDERS = RawTable(
    "orders",
    "Orders.",
    (
        column("order_id"),
        column("ordered_at", "timestamp"),
        column("net_sales", "decimal(18,2)", is_required=False),
        column("due", "date", is_required=False),
        column("note", is_required=False),
    ),
    ("order_id",),
    "ordered_at",
)
OFFERS = RawTable("offers", "Offers.", (column("offer_id"), column("start", "date")), (), None, is_required=False)
SOURCE = Source("own", "Europe/Berlin", None, (ORDERS, OFFERS), keeps_undeclared=True)
PLAIN = b"order_id,ordered_at\n1,2018-01-01 12:00:00\n2,2018-01-02 12:00:00\n"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def put(inbox: Path, files: Mapping[str, bytes | str]) -> None:
    for name, content in files.items():
        path = inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_parquet(path: Path, query: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"copy ({query}) to '{path}' (format parquet)")


def in_force(raw: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query gives on the raw views of what is in force."""
    assert verify_raw(raw) == []
    with duckdb.connect() as connection:
        show_raw(connection, SOURCE, tables_in_force(SOURCE, raw), raw)
        return connection.execute(query).fetchall()


def landed(inbox: Path, raw: Path, query: str = "from raw.orders", day: int = 0) -> list[tuple[Any, ...]]:
    """Lands, and gives what a query gives then."""
    land(SOURCE, inbox, raw, NOW + timedelta(days=day))
    return in_force(raw, query)


def assert_refused(inbox: Path, raw: Path, *words: str) -> None:
    """Landing says each of the words and records nothing; looking before landing says the same."""
    ledger = read_ledger(raw)
    with pytest.raises(LandingError) as refusal:
        land(SOURCE, inbox, raw)
    for word in words:
        assert word in str(refusal.value)
    assert read_ledger(raw) == ledger
    with suppress(LandingError), input_views(SOURCE, inbox) as views:
        assert str(refusal.value) in [str(problem) for problem in views.problems.values()]


# How files are written: each fault that real exports have, and what is shown of it ---------------------

HEADER = "order_id,ordered_at,net_sales,due,note\n"
WRITTEN = HEADER + '1,2017-12-31 23:30:00Z,1234.50,2017-12-31,"Zoé, ""x"""\n'
SHOWN = ("1", "2017-12-31 23:30:00", "1234.50", "2017-12-31", 'Zoé, "x"')
SEMICOLONS = 'order_id;ordered_at;net_sales;due;note\n1;2017-12-31 23:30:00Z;1234.50;2017-12-31;"Zoé, ""x"""\n'
TABS = SEMICOLONS.replace(";", "\t").replace('"Zoé, ""x"""', 'Zoé, "x"')

FILES: dict[str, tuple[str, bytes]] = {
    "utf-8": ("", WRITTEN.encode()),
    "byte order mark": ("", WRITTEN.encode("utf-8-sig")),
    "utf-8 in other letters": ("encoding: UTF8", WRITTEN.encode()),
    "latin-1": ("encoding: latin-1", WRITTEN.encode("latin-1")),
    "cp1252": ("encoding: cp1252", WRITTEN.encode("cp1252")),
    "gbk": ("encoding: gbk", WRITTEN.encode("gbk")),
    "utf-16": ("encoding: utf-16", WRITTEN.encode("utf-16")),
    "crlf": ("", WRITTEN.replace("\n", "\r\n").encode()),
    "cr": ("", WRITTEN.replace("\n", "\r").encode()),
    "line ends of two kinds": ("", WRITTEN.replace("\n", "\r\n", 1).encode()),
    "no end of the last line": ("", WRITTEN.strip().encode()),
    "empty lines": ("", WRITTEN.replace("\n", "\n\n \n").encode()),
    "semicolon": ('delimiter: ";"', SEMICOLONS.encode()),
    "semicolon of one table": ('tables: {orders: {delimiter: ";"}}', SEMICOLONS.encode()),
    "tab without quotes": ('{delimiter: "\\t", quote: null}', TABS.encode()),
    "single quotes": ('quote: "\'"', WRITTEN.replace('"Zoé, ""x"""', "'Zoé, \"x\"'").encode()),
    "header in other letters": ("", WRITTEN.replace("order_id", " Order_ID ").encode()),
    "an index before all": ("", WRITTEN.replace("order_id", ",order_id").replace("\n1,", "\n0,1,").encode()),
    "delimiters behind all": ("", WRITTEN.replace("\n", ",\n").encode()),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_it_is_written(inbox: Path, raw: Path, name: str) -> None:
    file_format, content = FILES[name]
    put(inbox, {"format.yml": file_format, "orders.csv": content})
    query = "select order_id, ordered_at, net_sales, due, note from raw.orders"
    assert landed(inbox, raw, query) == [SHOWN]
    assert in_force(raw, "from raw.rejects") == []
    with input_views(SOURCE, inbox) as views:
        assert views.connection.execute(query).fetchall() == [SHOWN]


NOT_READ = "not read: "


def wide(text: str) -> str:
    """The same in full-width characters."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


BERLIN = "time_zone: Europe/Berlin"
VALUES: dict[str, tuple[str, str, dict[str, str | None]]] = {
    "NULL spellings": (
        "",
        "note",
        dict.fromkeys(("", '""', "NULL", "null", "NA", "N/A", "\\N", "  ", " NULL\t"), None) | {"none": "none"},
    ),
    "NULL spellings of one's own": ("nulls: [none, '-']", "note", {"none": None, "-": None, "": None, "NULL": "NULL"}),
    "whitespace": ("", "note", {"  a  b ": "a  b", "\ta\u00a0b\u3000": "a b", '"a\nb"': "a b", "\u200b\u2003a": "a"}),
    "control characters": ("", "note", {"a\x00b\x07c\x1b": "abc", "\x7fa\x85b": "a b", "\ufeffa": "a", "\x00": None}),
    "full width": (
        "",
        "note",
        {wide("ABc123@!"): "ABc123@!", f"{wide('(A)')}\u3000B": "(A) B", "株式会社": "株式会社"},
    ),
    "full width numbers": ("", "net_sales", {wide("-12.5"): "-12.5", wide("12"): "12"}),
    "plain numbers": ("", "net_sales", {"1234.50": "1234.50", "-.5": "-.5", '"1,5"': "1,5", "x": "x", "1e3": "1e3"}),
    "decimal comma": (
        'decimal: ","',
        "net_sales",
        {'"1234,50"': "1234.50", '"-,5"': "-.5", "12": "12", "12.50": f"{NOT_READ}12.50", "x": "x"},
    ),
    "thousands": (
        '{decimal: ",", thousands: "."}',
        "net_sales",
        {'"1.234.567,50"': "1234567.50", "1.234": "1234", "12.34": f"{NOT_READ}12.34", '"1.23,4"': "1.23,4"},
    ),
    "thousands comma": ('thousands: ","', "net_sales", {'"1,234.50"': "1234.50", '"1,23"': "1,23", "1234.5": "1234.5"}),
    "thousands space": ('{decimal: ",", thousands: " "}', "net_sales", {'"1 234,5"': "1234.5", '"1\u202f234"': "1234"}),
    "thousands apostrophe": ('thousands: "\'"', "net_sales", {"1'234'567.5": "1234567.5"}),
    "dates": (
        "",
        "due",
        {
            **dict.fromkeys(("2017-12-31", "2017/12/31", "2017.12.31", "20171231", "2017-12-31 23:59"), "2017-12-31"),
            "2017-1-2": "2017-01-02",
            "31.12.2017": "31.12.2017",
            "2017-02-30": "2017-02-30",
            "x": "x",
            "17-12-31": f"{NOT_READ}17-12-31",
            "2017-12-31 x": f"{NOT_READ}2017-12-31 x",
        },
    ),
    "dates, day first": (
        "date_order: dmy",
        "due",
        {"31.12.2017": "2017-12-31", "1/2/2017": "2017-02-01", "2017-12-31": "2017-12-31", "12/31/2017": "12/31/2017"},
    ),
    "dates, month first": ("date_order: mdy", "due", {"12/31/2017": "2017-12-31", "31/12/2017": "31/12/2017"}),
    "times in the business's zone": (
        "",
        "ordered_at",
        {
            "2017-12-31 23:30:00": "2017-12-31 22:30:00",  # of the source, whose zone is Berlin
            "2017-07-01T12:00:00.25": "2017-07-01 10:00:00.25",
            "2017-12-31": "2017-12-30 23:00:00",
            "2017-12-31 11:05:00 PM": "2017-12-31 22:05:00",
            "20171231 12:00": "2017-12-31 11:00:00",
        },
    ),
    "times with a zone of their own": (
        BERLIN,
        "ordered_at",
        {
            "2017-12-31T23:30:00Z": "2017-12-31 23:30:00",
            "2017-12-31 23:30:00+05:30": "2017-12-31 18:00:00",
            "2017-12-31 23:30:00-0500": "2018-01-01 04:30:00",
            "2017-12-31 23:30:00 UTC": "2017-12-31 23:30:00",
            "2017-12-31 23:30:00+01": "2017-12-31 22:30:00",
            "2017-12-31T9:30Z": "2017-12-31 09:30:00",
            "2017-12-31 23:30 +01:00": "2017-12-31 22:30:00",
        },
    ),
    "times in the format's zone": (
        "{time_zone: America/New_York, date_order: mdy}",
        "ordered_at",
        {"12/31/2017 11:30 pm": "2018-01-01 04:30:00", "7/1/2017 0:05": "2017-07-01 04:05:00"},
    ),
    "times in UTC": ("time_zone: UTC", "ordered_at", {"2017-12-31 23:30": "2017-12-31 23:30:00"}),
    "no times": (
        "",
        "ordered_at",
        {
            "17-12-31 10:00": f"{NOT_READ}17-12-31 10:00",
            "infinity": f"{NOT_READ}infinity",
            "yesterday": "yesterday",
            "2017-12-31 25:00": "2017-12-31 25:00",
            "31.12.2017 10:00": "31.12.2017 10:00",
        },
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_shown_clean_and_in_iso_spelling(inbox: Path, raw: Path, name: str) -> None:
    file_format, target, values = VALUES[name]
    at = "" if target == "ordered_at" else "2018-01-01"
    rows = "".join(f"{number},{at},{written}\n" for number, written in enumerate(values))
    header = f"order_id,other,{target}\n" if target == "ordered_at" else f"order_id,ordered_at,{target}\n"
    put(inbox, {"format.yml": file_format, "orders.csv": header + rows})

    found = landed(inbox, raw, f"select {target} from raw.orders order by order_id::int")

    assert dict(zip(values, (value for (value,) in found), strict=True)) == values


def test_what_is_not_read_fails_every_cast(inbox: Path, raw: Path) -> None:
    put(inbox, {"format.yml": 'decimal: ","', "orders.csv": HEADER + "1,17-12-31,12.50,17-12-31,\n"})
    query = "select try_cast(ordered_at as timestamp), try_cast(net_sales as decimal(18,2)), try_cast(due as date)"
    assert landed(inbox, raw, f"{query} from raw.orders") == [(None, None, None)]


# Rows that cannot be split ----------------------------------------------------------------------------


def test_lines_that_cannot_be_split_are_rejects_with_line_and_reason(inbox: Path, raw: Path) -> None:
    lines = ["order_id,ordered_at,note", '1,2018-01-01,"two', 'lines"', "", "2,2018-01-02", "3,2018-01-03,a,b"]
    lines += ['4,2018-01-04,"a"b', "5,2018-01-05,c", '6,2018-01-06,"never closed', "7,2018-01-07,d"]
    put(inbox, {"orders.csv": "\n".join(lines)})

    (report,) = land(SOURCE, inbox, raw, NOW)

    assert (report.rows, report.rejects) == (2, 5)
    rows = in_force(raw, "select order_id, note, _row_number, _source_file from raw.orders order by all")
    assert rows == [("1", "two lines", 2, "orders.csv"), ("5", "c", 8, "orders.csv")]
    assert in_force(raw, "from raw.rejects order by _row_number") == [
        ("orders", "orders.csv", 5, "2 fields where the header has 3"),
        ("orders", "orders.csv", 6, "4 fields where the header has 3"),
        ("orders", "orders.csv", 7, "a quote that is not closed, or text behind a closed one"),
        ("orders", "orders.csv", 9, "a quote that is not closed, or text behind a closed one"),
        ("orders", "orders.csv", 10, "part of a row above that cannot be split"),
    ]


def test_a_repaired_file_re_enters_once(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": PLAIN + b"3\n"})
    assert landed(inbox, raw, "select order_id, _row_number from raw.orders") == [("1", 2), ("2", 3)]
    assert in_force(raw, "select _row_number from raw.rejects") == [(4,)]

    put(inbox, {"orders.csv": PLAIN + b"3,2018-01-03\n"})
    for day in (1, 2):
        assert landed(inbox, raw, "select order_id, _row_number from raw.orders", day) == [("1", 2), ("2", 3), ("3", 4)]
        assert in_force(raw, "from raw.rejects") == []
    assert [(entry.rows, entry.rejects) for entry in read_ledger(raw)] == [(2, 1), (3, 0)]


def test_a_line_longer_than_a_row_can_be(inbox: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"x" * (csv_file.MAX_ROW_BYTES + 1)
    put(inbox, {"orders.csv": b"order_id,ordered_at,note\n1,2018-01-01," + long + b"\n2,2018-01-02,a\n"})
    assert landed(inbox, raw, "select order_id from raw.orders") == [("2",)]
    assert in_force(raw, "select _row_number, reject_reason from raw.rejects") == [(2, "longer than a row can be")]

    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(csv_file, "MAX_ROW_BYTES", 1 << 20)
    put(inbox, {"orders.csv": b"order_id,ordered_at,note\n\n1,2018-01-01," + b"x" * (3 << 20)})
    assert_refused(inbox, raw, "orders:", "line 3 is longer than 1 MiB", "a row per line")


@pytest.mark.parametrize("block", [1, 2, 3, 7])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_blocks_may_end_anywhere(
    inbox: Path, raw: Path, monkeypatch: pytest.MonkeyPatch, block: int, encoding: str
) -> None:
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", block)
    content = 'order_id,ordered_at,note\r\n1,2018-01-01,"张\r\né"\r\n\r\n2,2018-01-02,b\r\n'
    put(inbox, {"format.yml": f"encoding: {encoding}", "orders.csv": content.encode(encoding)})
    if encoding == "utf-8" and block < 7:
        monkeypatch.setattr(csv_file, "_convert_plain", lambda *_: None)
    if block == 1:  # a lone return could be an end of line of its own until the next block is seen
        monkeypatch.setattr(csv_file, "BLOCK_BYTES", 40)
    assert landed(inbox, raw, "select order_id, note, _row_number from raw.orders order by all") == [
        ("1", "张 é", 2),
        ("2", "b", 5),
    ]


# Files and forms --------------------------------------------------------------------------------------


def test_one_file_or_many_of_both_kinds(inbox: Path, raw: Path) -> None:
    put(
        inbox,
        {"orders/2018-01.csv": PLAIN, "orders/.hidden": b"x", "orders/2018-02.CSV": PLAIN.replace(b"\n1", b"\n8")},
    )
    put_parquet(
        inbox / "orders" / "old.parquet", "select 9 as order_id, timestamptz '2017-01-01 00:00:00Z' as ordered_at"
    )
    query = "select _source_file, order_id, ordered_at, note, _row_number from raw.orders order by all"
    assert landed(inbox, raw, query) == [
        ("orders/2018-01.csv", "1", "2018-01-01 11:00:00", None, 2),
        ("orders/2018-01.csv", "2", "2018-01-02 11:00:00", None, 3),
        ("orders/2018-02.CSV", "2", "2018-01-02 11:00:00", None, 3),
        ("orders/2018-02.CSV", "8", "2018-01-01 11:00:00", None, 2),
        ("orders/old.parquet", "9", "2017-01-01 00:00:00", None, 1),
    ]
    assert order_days(SOURCE, inbox, NOW) == (date(2017, 1, 1), date(2018, 1, 2))


def test_the_day_comes_from_all_files_however_they_are_written(inbox: Path) -> None:
    put(inbox, {"format.yml": "date_order: dmy", "orders/a.csv": "order_id,ordered_at\n1,31.12.2017 23:30\n"})
    assert resolve_as_of(SOURCE, inbox, None, NOW) == date(2018, 1, 1)
    put(inbox, {"orders/b.csv": "order_id,ordered_at\n2,2018-01-31 23:30Z\n3,02.03.2018\n4,x\n5,infinity\n"})
    assert resolve_as_of(SOURCE, inbox, None, NOW) == date(2018, 2, 2)  # half past midnight in Berlin
    put(inbox, {"format.yml": "date_order: mdy"})
    assert resolve_as_of(SOURCE, inbox, None, NOW) == date(2018, 2, 4)
    put(inbox, {"orders/a.csv": "order_id,ordered_at\n1,x\n", "orders/b.csv": "order_id,ordered_at\n1,\n"})
    with pytest.raises(LandingError, match=r"a\.csv has no order up to now"):
        resolve_as_of(SOURCE, inbox, None, NOW)


def test_a_file_stays_in_force_until_its_name_supersedes_it(inbox: Path, raw: Path) -> None:
    query = "select distinct _source_file from raw.orders order by all"
    put(inbox, {"orders/a.csv": PLAIN})
    landed(inbox, raw)
    (inbox / "orders" / "a.csv").unlink()
    put(inbox, {"orders/b.csv": PLAIN.replace(b"\n", b"\n\n")})
    assert landed(inbox, raw, query, 1) == [("orders/a.csv",), ("orders/b.csv",)]

    put_parquet(inbox / "orders" / "a.parquet", "select '1' as order_id, '2018-01-01' as ordered_at")
    assert landed(inbox, raw, query, 2) == [("orders/a.parquet",), ("orders/b.csv",)]

    (inbox / "orders" / "a.parquet").unlink()  # withdrawn by its header alone
    put(inbox, {"orders/a.csv": "order_id,ordered_at\n"})
    assert landed(inbox, raw, query, 3) == [("orders/b.csv",)]


def test_one_file_supersedes_many_and_many_supersede_one(inbox: Path, raw: Path) -> None:
    query = "select distinct _source_file from raw.orders order by all"
    many, one = {"orders/a.csv": PLAIN, "orders/b.csv": PLAIN}, {"orders.csv": PLAIN}
    for day, files in enumerate((many, one, many, one)):
        for path in [path for path in inbox.rglob("*") if path.is_file()]:
            path.unlink()
        if (inbox / "orders").is_dir():
            (inbox / "orders").rmdir()
        put(inbox, files)
        assert landed(inbox, raw, query, day) == [(name,) for name in files]
    put(inbox, {"orders.csv": PLAIN + b"\n"})
    (inbox / "orders.csv").rename(inbox / "orders.CSV.old")
    put_parquet(inbox / "orders.parquet", "select '1' as order_id, '2018-01-01' as ordered_at")
    assert landed(inbox, raw, query, 9) == [("orders.parquet",)]


def test_another_format_lands_the_same_file_anew(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": "order_id,ordered_at\n1,01.02.2018\n"})
    assert landed(inbox, raw, "select ordered_at from raw.orders") == [("01.02.2018",)]
    for day, (order, shown) in enumerate({"dmy": "2018-01-31 23:00:00", "mdy": "2018-01-01 23:00:00"}.items(), start=1):
        put(inbox, {"format.yml": f"date_order: {order}"})
        assert landed(inbox, raw, "select ordered_at from raw.orders", day) == [(shown,)]
        assert [report.is_new for report in land(SOURCE, inbox, raw, NOW)] == [False]
    newer = replace(SOURCE, time_zone="UTC")
    assert [report.is_new for report in land(newer, inbox, raw, NOW)] == [True]
    assert in_force(raw, "select ordered_at from raw.orders") == [("2018-01-02 00:00:00",)]


@pytest.mark.parametrize("name", ["orders/today.csv", "orders/today.parquet"])
def test_orders_later_than_the_load_land_again_once_their_time_has_come(inbox: Path, raw: Path, name: str) -> None:
    """A clock that was behind has sent them to quarantine: when it is right again they come out of it, once."""
    query = (
        "select order_id, try_cast(ordered_at as timestamp) > _loaded_at from raw.orders"
        f" where _source_file = '{name}' order by order_id"
    )
    text = f"order_id,ordered_at\n1,{NOW + timedelta(hours=1):%F %T}Z\n2,2999-01-01 00:00:00\n3,no time\n4,\n"
    put(inbox, {"orders/today.csv": text, "orders/before.csv": PLAIN})
    if name.endswith(".parquet"):
        csv = inbox / "orders" / "today.csv"
        put_parquet(inbox / name, f"from read_csv('{csv}', all_varchar = true)")
        csv.unlink()
    others = [("2", True), ("3", None), ("4", None)]
    assert landed(inbox, raw, query) == landed(inbox, raw, query) == [("1", True), *others]
    for day, expected in ((1, True), (2, False)):
        reports = land(SOURCE, inbox, raw, NOW + timedelta(days=day))
        assert [report.source_file for report in reports if report.is_new] == [name] * expected
        assert in_force(raw, query) == [("1", False), *others]


def test_a_damaged_conversion_is_mended_from_the_same_file(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": PLAIN + b"3\n"})
    before = landed(inbox, raw)
    for name in read_ledger(raw)[0].hashes:
        (raw / name).write_bytes(b"damaged")
    assert [problem.rpartition("; ")[2] for problem in verify_raw(raw)] == ["land orders.csv again"] * 2
    assert landed(inbox, raw, day=1) == before
    assert in_force(raw, "select count(*) from raw.rejects") == [(1,)]


def test_an_optional_table_may_be_absent_and_shows_all_its_columns(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": PLAIN})
    assert landed(inbox, raw, "select column_name from (describe raw.offers)") == [
        *[("offer_id",), ("start",), ("_source_file",), ("_row_number",), ("_load_id",), ("_loaded_at",)]
    ]
    assert in_force(raw, "from raw.offers") == []
    assert in_force(raw, "from control.absent_tables") == [("offers",)]

    put(inbox, {"offers.csv": "offer_id,start,more\n1,2018-01-01,x\n"})
    assert landed(inbox, raw, "select offer_id, start from raw.offers", 1) == [("1", "2018-01-01")]
    assert in_force(raw, "from control.absent_tables") == []
    assert in_force(raw, "from control.undeclared_columns") == [("offers", "more")]


def test_types_of_parquet_are_kept_where_all_files_agree(inbox: Path, raw: Path) -> None:
    at = "timestamp '2018-01-01 10:00:00' as ordered_at"
    put_parquet(
        inbox / "orders" / "a.parquet", f"select 1::int as order_id, {at}, 1.5::decimal(9,2) as net_sales, 'x' as note"
    )
    put_parquet(
        inbox / "orders" / "b.parquet",
        f"select 2::bigint as order_id, {at}, 2.25 as net_sales, 7 as note, date '2018-01-01' as due",
    )
    query = "select column_name, column_type from (describe raw.orders) where column_name in"
    types = dict(landed(inbox, raw, f"{query} ('order_id', 'ordered_at', 'net_sales', 'due', 'note')"))
    assert types == {
        "order_id": "BIGINT",
        "ordered_at": "TIMESTAMP",
        "due": "DATE",
        "net_sales": "VARCHAR",
        "note": "VARCHAR",
    }
    rows = in_force(raw, "select order_id, net_sales, due, note from raw.orders order by all")
    assert rows == [(1, "1.50", None, "x"), (2, "2.25", date(2018, 1, 1), "7")]


def test_keys_of_parquet_meet_whatever_their_type(inbox: Path, raw: Path) -> None:
    """A frame with gaps makes 5.0 of a key 5; days begin in the business's zone; a zone leads to UTC."""
    keys = ["5::double", "'5'", "5::utinyint", "5::decimal(9,0)"]
    times = [
        "timestamptz '2018-01-01 00:00:00+01'",
        "'2018-01-01'",
        "date '2018-01-01'",
        "timestamp '2017-12-31 23:00:00'",
    ]
    for number, (key, time) in enumerate(zip(keys, times, strict=True)):
        put_parquet(inbox / "orders" / f"{number}.parquet", f"select {key} as order_id, {time} as ordered_at")
    put_parquet(inbox / "orders" / "uuid.parquet", f"select uuid() as order_id, {times[0]} as ordered_at where false")
    assert landed(inbox, raw, "select distinct order_id, ordered_at from raw.orders") == [("5", "2017-12-31 23:00:00")]


# Files that cannot be landed ----------------------------------------------------------------------------


def test_a_folder_with_nothing_in_it(inbox: Path, raw: Path) -> None:
    assert_refused(inbox, raw, "orders: neither orders.csv nor orders.parquet", "holds nothing", "Put the file there")


def test_a_required_table_is_missing(inbox: Path, raw: Path) -> None:
    put(inbox, {"offers.csv": "offer_id,start\n1,2018-01-01\n", "order.csv": PLAIN})
    assert_refused(inbox, raw, "orders: neither orders.csv", "the folder holds offers.csv, order.csv", "point INPUT")


def test_a_required_column_is_missing(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": "order_id,date,note\n1,2018-01-01,x\n"})
    assert_refused(
        inbox, raw, "orders.csv lacks the column ordered_at", "it has order_id, date, note", "Name the columns as"
    )
    (inbox / "orders.csv").unlink()
    put_parquet(inbox / "orders.parquet", "select 1 as order_id, 2 as date")
    assert_refused(inbox, raw, "orders.parquet lacks the column ordered_at", "it has order_id, date")


def test_another_delimiter_than_declared(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": "order_id;ordered_at\n1;2018-01-01\n"})
    assert_refused(inbox, raw, "it has order_id;ordered_at.", "write the delimiter into format.yml")


def test_a_first_line_that_may_be_a_row_is_not_told(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": "1,canary@example.com\n2,b@example.com\n"})
    with pytest.raises(LandingError, match="2 columns with none of the contract's names") as refusal:
        land(SOURCE, inbox, raw)
    assert "canary" not in str(refusal.value)


def test_one_name_for_two_columns(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": "order_id,ordered_at,Order_ID\n1,2018-01-01,2\n"})
    assert_refused(inbox, raw, "orders.csv, line 1 has one name for columns 1 and 3", "Leave the one that counts")


@pytest.mark.parametrize("name", ["_line", "file_row_number", "_Load_ID"])
def test_a_name_of_landings_own(inbox: Path, raw: Path, name: str) -> None:
    put(inbox, {"orders.csv": f"order_id,ordered_at,{name}\n1,2018-01-01,2\n"})
    assert_refused(inbox, raw, f"orders.csv has the columns {name}", "Rename them")


def test_a_table_in_two_forms(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": PLAIN})
    put_parquet(inbox / "orders.parquet", "select 1 as order_id")
    assert_refused(inbox, raw, "orders: it is there twice, as orders.csv, orders.parquet", "Leave the one that counts")
    (inbox / "orders.parquet").unlink()
    put(inbox, {"orders/a.csv": PLAIN})
    assert_refused(inbox, raw, "it is there twice, as orders.csv, orders/a.csv")
    (inbox / "orders.csv").rename(inbox / "orders" / "a.CSV")
    assert_refused(inbox, raw, "it is there twice, as orders/a.CSV, orders/a.csv")


@pytest.mark.parametrize("name", ["orders.csv", "orders.parquet", "orders/a.csv", "orders/a.parquet"])
def test_no_bytes(inbox: Path, raw: Path, name: str) -> None:
    put(inbox, {name: b""})
    assert_refused(inbox, raw, f"{name} is empty (0 bytes)", "Deliver the file again")


def test_a_header_alone(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": b"order_id,ordered_at\n"})
    assert_refused(inbox, raw, "orders.csv has no rows. Deliver the file again")
    put(inbox, {"orders.csv": PLAIN, "offers.csv": b"offer_id,start"})
    assert_refused(inbox, raw, "offers.csv has no rows. Deliver the file again, or leave it out")
    put(inbox, {"offers.csv": b"offer_id,start\n1\n2\n"})
    assert_refused(inbox, raw, "offers.csv has no rows but 2 lines that cannot be split")


def test_a_first_line_without_names(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": b"\n" + PLAIN})
    assert_refused(inbox, raw, "orders.csv, line 1 is empty", "columns' names in its first line")
    put(inbox, {"orders.csv": b"," * 2000 + b"a\n"})
    assert_refused(inbox, raw, "line 1 has 2,001 columns, more than 1,000")


@pytest.mark.parametrize(
    ("declared", "content", "line"),
    [
        ("utf-8", PLAIN + "3,é\n".encode("cp1252"), 4),
        ("utf-8", PLAIN.decode().encode("utf-16"), 1),
        ("cp1252", PLAIN + b"3,\x81\n", 4),
        ("gbk", PLAIN + b"3,\xff\n", 4),
        ("utf-16", b"\xff\xfea", 1),
        ("utf-8", PLAIN + b"3,\xe5\xbc", 4),
    ],
)
def test_bytes_that_are_not_of_the_encoding(inbox: Path, raw: Path, declared: str, content: bytes, line: int) -> None:
    put(inbox, {"format.yml": f"encoding: {declared}", "orders.csv": content})
    assert_refused(inbox, raw, f"orders.csv, about line {line}: the bytes are not", "format.yml", "encoding: cp1252")


def test_what_is_neither_csv_nor_parquet(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders/a.csv": PLAIN, "orders/b.xlsx": b"x"})
    assert_refused(inbox, raw, "orders holds b.xlsx, which is neither CSV nor Parquet", "Export it as one of them")


def test_a_parquet_file_that_is_none(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.parquet": PLAIN})
    assert_refused(inbox, raw, "orders.parquet is not a whole Parquet file")


@pytest.mark.parametrize("name", ["orders.csv", "orders/a.csv"])
@pytest.mark.parametrize("target", ["../outside.csv", "/etc/passwd", "nowhere.csv", "../missing.csv", "orders.csv"])
def test_links_that_lead_out_or_nowhere(inbox: Path, raw: Path, name: str, target: str) -> None:
    (inbox.parent / "outside.csv").write_bytes(PLAIN)
    path = inbox / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target if "/a" not in name else target.replace("../", "../../"))
    assert_refused(inbox, raw, f"orders: {path}", "link")


def test_a_folder_that_leads_out(inbox: Path, raw: Path) -> None:
    put(inbox.parent / "outside", {"a.csv": PLAIN})
    (inbox / "orders").symlink_to(inbox.parent / "outside")
    assert_refused(inbox, raw, "orders/a.csv is a link that leads out of", "Put the file itself there")


def test_a_link_within_the_folder_is_followed(inbox: Path, raw: Path) -> None:
    put(inbox, {"delivered/today.csv": PLAIN})
    (inbox / "orders.csv").symlink_to("delivered/today.csv")
    assert landed(inbox, raw, "select count(*) from raw.orders") == [(2,)]


def test_a_pipe_is_no_file(inbox: Path, raw: Path) -> None:
    os.mkfifo(inbox / "orders.csv")
    assert_refused(inbox, raw, "orders.csv is no file")


def test_a_file_that_changes_while_it_is_converted(inbox: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox, {"orders.csv": PLAIN})
    split = csv_file._split

    def change(*arguments: Any, **more: Any) -> None:
        split(*arguments, **more)
        put(inbox, {"orders.csv": PLAIN + b"3,2018-01-03\n4\n"})

    monkeypatch.setattr(csv_file, "_split", change)
    put(inbox, {"orders.csv": PLAIN + b"4\n"})
    with pytest.raises(LandingError, match=r"orders\.csv changed while it was read"):
        land(SOURCE, inbox, raw)
    assert read_ledger(raw) == []
    assert [path.name for path in raw.rglob("*") if path.is_file()] == []


def test_one_fault_keeps_all_from_being_recorded(inbox: Path, raw: Path) -> None:
    put(inbox, {"orders.csv": PLAIN, "offers.csv": "offer_id,start\n1,2018-01-01\n"})
    before = landed(inbox, raw)
    put(inbox, {"orders.csv": PLAIN + b"3,2018-01-03\n", "offers.csv": "offer_id\n1\n"})
    assert_refused(inbox, raw, "offers.csv lacks the column start")
    assert in_force(raw, "from raw.orders") == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("delimeter: ';'", ["unknown key delimeter", "give some of encoding, delimiter", "tables"]),
        ("encoding: klingon", ["encoding: 'klingon' is no encoding", "for example utf-8"]),
        ("encoding: base64", ["encoding: 'base64' is no encoding"]),
        ("delimiter: ';;'", ["delimiter: ';;' is not one character"]),
        ("delimiter: a", ["delimiter: 'a' is not one character that can stand there"]),
        ("decimal: ';'", ["decimal: ';' cannot be used"]),
        ("thousands: '.'", ["decimal and thousands are both '.'"]),
        ("quote: ','", ["delimiter and quote are both ','"]),
        ("date_order: yymmdd", ["date_order: 'yymmdd' cannot be used", "'dmy'"]),
        ("time_zone: Berlin", ["time_zone: 'Berlin' is not a time zone", "Europe/Berlin"]),
        ("nulls: none", ["nulls: 'none' cannot be used"]),
        ("tables: {order: {}}", ["unknown table order; give some of orders, offers"]),
        ("tables: {../orders: {}}", ["unknown table ../orders"]),
        ("tables: {orders: {decimal: x}}", ["tables: orders: decimal: 'x' cannot be used"]),
        ("tables: [orders]", ["is not made of keys and values"]),
        ("- a", ["is not made of keys and values"]),
        ("a: [", ["is not YAML"]),
        (b"encoding: \xff", ["is not YAML"]),
        ("1: 2", ["keys are not text"]),
    ],
)
def test_a_format_that_cannot_be_used(inbox: Path, raw: Path, content: str | bytes, words: list[str]) -> None:
    put(inbox, {"format.yml": content, "orders.csv": PLAIN})
    assert_refused(inbox, raw, "format.yml", *words)


# Anything at all ----------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *b'1,2018-01-01\n|;"\r\t\x00\xff\xe9',
        *(b"\r\n", b'"a\nb"', b'""', b",,", b"\xef\xbb\xbf", b"\xe5\xbc\xa0", b"\n\n"),
    ]
)
BYTES = st.lists(PIECES, max_size=40).map(
    lambda parts: b"".join(bytes([p]) if isinstance(p, int) else p for p in parts)
)


@settings(max_examples=150, deadline=None)
@given(
    header=st.sampled_from(
        [b"order_id,ordered_at,note\n", b"note,ordered_at,order_id\r\n", b'"order_id",ordered_at\n', b""]
    ),
    body=BYTES,
    encoding=st.sampled_from(["utf-8", "latin-1", "gbk", "utf-16"]),
)
@example(header=b"order_id,ordered_at\n", body=b'"' * 5, encoding="utf-8")
@example(header=b"order_id,ordered_at\n", body=b"1,2\r3,4\r\n", encoding="utf-8")
def test_whatever_the_bytes_all_or_nothing_lands_and_every_line_is_accounted_for(
    header: bytes, body: bytes, encoding: str
) -> None:
    with TemporaryDirectory() as folder:
        inbox, raw = Path(folder, "inbox"), Path(folder, "raw")
        put(inbox, {"format.yml": f"encoding: {encoding}", "orders.csv": header + body})
        try:
            (report,) = land(SOURCE, inbox, raw, NOW)
        except LandingError:
            assert read_ledger(raw) == []
            assert not [path for path in raw.rglob("*.*") if path.suffix not in ("", ".parquet")]
            return
        lines = [number for (number,) in in_force(raw, "select _row_number from raw.orders order by all")]
        rejects = [number for (number,) in in_force(raw, "select _row_number from raw.rejects order by all")]
        assert (report.rows, report.rejects) == (len(lines), len(rejects))
        assert len({*lines, *rejects}) == len(lines) + len(rejects)
        # No line is lost: where none is quoted, what is no row and no reject is empty.
        if encoding == "latin-1" and b'"' not in header + body and b"\r" not in header + body:
            text = (header + body).decode("latin-1").split("\n")
            filled = [number for number, line in enumerate(text, start=1) if number > 1 and line.strip(" \t")]
            assert sorted([*lines, *rejects]) == filled
        assert land(SOURCE, inbox, raw, NOW)[0].is_new is False


# What else reads files of one's own -------------------------------------------------------------------


def test_a_replay_has_the_files_of_its_day(inbox: Path, raw: Path) -> None:
    lines = RawTable("lines", "Lines.", (column("order_id"), column("net_sales", "decimal(18,2)")), (), None)
    source = replace(SOURCE, tables=(ORDERS, OFFERS, lines))
    orders = "Order_ID;ordered_at;more\n1;31.12.2017;a\n 2;01.01.2018;b\n3;31.12.2017 23:59;c\n4;x;d\n"
    put(
        inbox,
        {
            "format.yml": '{delimiter: ";", decimal: ",", date_order: dmy}',
            "orders/a.csv": orders,
            "orders/b.csv": "order_id;ordered_at\n5;02.01.2018\n",
            "offers.csv": "offer_id;start\n1;01.01.2018\n",
            "lines.csv": "order_id;net_sales\n1;1,5\n2;2,5\n3;3,5\n5;5,5\n9;9,5\n",
        },
    )

    cut_files(source, inbox, date(2018, 1, 1), inbox.parent / "cut")

    land(source, inbox.parent / "cut", raw, NOW)
    with duckdb.connect() as connection:
        show_raw(connection, source, tables_in_force(source, raw), raw)
        found = connection.execute("select _source_file, order_id, ordered_at from raw.orders order by all").fetchall()
        assert found == [
            ("orders/a.parquet", "1", "2017-12-30 23:00:00"),
            ("orders/a.parquet", "3", "2017-12-31 22:59:00"),
        ]
        found = connection.execute("select order_id, net_sales from raw.lines order by all").fetchall()
        assert found == [("1", "1.5"), ("3", "3.5"), ("9", "9.5")]
        assert connection.execute("select start from raw.offers").fetchall() == [("2018-01-01",)]
        assert connection.execute("from control.undeclared_columns").fetchall() == [("orders", "more")]


def test_pruning_removes_what_was_superseded_with_its_rejects(inbox: Path, tmp_path: Path) -> None:
    home = load_settings(data=tmp_path / "data", keep_raw_loads=1)
    for day in range(3):
        put(inbox, {"orders.csv": PLAIN + b"%d\n" % day})
        land(SOURCE, inbox, home.raw_dir, NOW + timedelta(days=day))
    assert len(list(home.raw_dir.glob("orders/*"))) == 6
    _prune_raw(home)
    assert {str(path.relative_to(home.raw_dir)) for path in home.raw_dir.glob("orders/*")} == set(
        read_ledger(home.raw_dir)[-1].hashes
    )
    assert verify_raw(home.raw_dir) == []
