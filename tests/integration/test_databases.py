"""Reading from real servers: exact rows, changes alone, one moment, and whatever may go wrong on the way."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow.parquet as pq
import pytest

from orchestration.databases import DatabaseError, open_database
from orchestration.extraction import extract, order_day
from orchestration.settings import Settings, load_settings
from orchestration.sources import load_source
from tests.databases import DATABASE, PASSWORD, SERVERS, TABLES, USER, Server, free_port, postgresql, statements
from tests.pipeline import Home

CONTRACT = load_source("contract")
MANY = {
    "postgresql": "select i as order_line_id, 1 as order_id, 'P1' as product_id, 1 as quantity, 0.10 as net_sales"
    " from generate_series(1, 20000000) as i",
    "mysql": "select seq as order_line_id, 1 as order_id, 'P1' as product_id, 1 as quantity, 0.10 as net_sales"
    " from seq_1_to_20000000",
}


@pytest.fixture(scope="module", params=sorted(SERVERS))
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with SERVERS[request.param]() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """A server that has the contract's required tables, in a few rows."""
    running.run("drop table if exists campaigns", *statements(running.kind))
    return running


@pytest.fixture
def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of a refresh from a server."""
    monkeypatch.setenv("CUSTOMER360_INPUT_PASSWORD", PASSWORD)

    def make(server: Server | str, mapping: str | None = None, **more: Any) -> Settings:
        if mapping is not None:
            (tmp_path / "mapping.yml").write_text(mapping, encoding="utf-8")
            more["input_mapping"] = tmp_path / "mapping.yml"
        url = server if isinstance(server, str) else server.url
        return load_settings(**{"data": tmp_path / "data", "source": "contract", "input": url, **more})

    return make


def rows(settings: Settings, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """What the inbox has of a table, times in UTC."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        relation = connection.sql(f"select {columns} from '{settings.input}/{table}.parquet'")
        plain = ", ".join(
            f'"{name}"::timestamp' if str(kind) == "TIMESTAMP WITH TIME ZONE" else f'"{name}"'
            for name, kind in zip(relation.columns, relation.types, strict=True)
        )
        return relation.project(plain).order("all").fetchall()


def inbox_files(settings: Settings) -> dict[str, bytes]:
    assert settings.input is not None
    return {path.name: path.read_bytes() for path in settings.input.iterdir()}


def assert_refused(settings: Settings, *words: str) -> None:
    """Extraction fails in these words, and leaves the inbox as it was."""
    before = inbox_files(settings)
    with pytest.raises(DatabaseError) as refusal:
        extract(settings, CONTRACT)
    for word in words:
        assert word in str(refusal.value)
    assert "canary" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert inbox_files(settings) == before
    assert sorted(path.name for path in (settings.data / "inbox").iterdir()) == [".lock", "contract"]


# Rows and types.


def test_the_rows_are_those_of_the_database(server: Server, of: Callable[..., Settings]) -> None:
    """DuckDB runs the same statements: names, values and order of the columns come through unchanged."""
    settings = of(server)
    reports = extract(settings, CONTRACT)
    with duckdb.connect() as oracle:
        for statement in statements("postgresql"):
            oracle.execute(statement)
        for table in TABLES:
            assert rows(settings, table) == oracle.sql(f"from {table}").order("all").fetchall()
    assert {report.table: report.rows for report in reports} == {name: len(rows) for name, (_, rows) in TABLES.items()}
    assert order_day(settings, CONTRACT, None, datetime(2025, 6, 1, tzinfo=UTC)) == date(2025, 3, 2)
    assert order_day(settings, CONTRACT, None, datetime(2025, 2, 15, tzinfo=UTC)) == date(2025, 2, 2)


TYPES: dict[str, list[tuple[str, str, str, object]]] = {
    "postgresql": [
        ("numeric(20, 4)", "1234567890123456.7891", "decimal128(20, 4)", "1234567890123456.7891"),
        ("numeric", "0.1234567890123456789012345678901234567891", "string", None),
        ("numeric(50, 2)", "1.10", "string", None),
        ("money", "12.5", "string", "$12.50"),
        ("timestamptz", "2025-07-01 12:00:00+02", "timestamp[us, tz=UTC]", "2025-07-01 10:00:00+00"),
        ("timestamp", "2025-07-01 12:00:00.5", "timestamp[us]", "2025-07-01 12:00:00.5"),
        ("date", "0044-03-15", "date32[day]", "0044-03-15"),
        ("uuid", "6f2f1b3e-0000-4000-8000-000000000001", "string", None),
        ("jsonb", '{"a": 1}', "string", None),
        ("integer[]", "{1,2}", "string", None),
        ("interval", "1 day", "string", None),
        ("char(5)", "ab", "string", None),
        ("text", "007", "string", None),
        ("bigint", "9223372036854775807", "int64", None),
        ("boolean", "true", "bool", None),
    ],
    "mysql": [
        ("decimal(20, 4)", "1234567890123456.7891", "decimal128(20, 4)", None),
        ("decimal(20, 4) unsigned", "1234567890123456.7891", "decimal128(20, 4)", None),
        ("decimal(50, 2)", "1.10", "string", None),
        ("bigint unsigned", "18446744073709551615", "uint64", None),
        ("tinyint(1)", "7", "int8", None),
        ("bit(3)", "5", "uint64", None),
        ("timestamp", "2025-07-01 12:00:00", "timestamp[us, tz=UTC]", "2025-07-01 12:00:00+00"),
        ("datetime(6)", "2025-07-01 12:00:00.5", "timestamp[us]", "2025-07-01 12:00:00.5"),
        ("date", "0000-00-00", "date32[day]", "None"),
        ("year", "2025", "int16", None),
        ("enum('a', 'b')", "b", "string", None),
        ("json", '{"a": 1}', "string", None),
        ("char(5)", "007", "string", None),
        ("binary(2)", "ab", "binary", None),
        ("double", "1.5", "double", None),
    ],
}


def test_types_are_exact(server: Server, of: Callable[..., Settings]) -> None:
    cases = TYPES[server.kind]
    number = server.kind == "mysql"
    server.run(
        *(["set global sql_mode = ''", "set global time_zone = '+00:00'"] if number else []),
        *(f"alter table products add column c{i} {kind} null" for i, (kind, *_) in enumerate(cases)),
        "update products set "
        + ", ".join(
            f"c{i} = " + (given if kind.startswith("bit") else f"'{given}'")
            for i, (kind, given, *_) in enumerate(cases)
        )
        + " where product_id = 'P1'",
    )
    settings = of(server)
    extract(settings, CONTRACT)
    schema = pq.read_schema(f"{settings.input}/products.parquet")
    for i, (kind, given, arrow_type, kept) in enumerate(cases):
        assert str(schema.field(f"c{i}").type) == arrow_type, kind
        values = rows(settings, "products", f"product_id, coalesce(c{i}::varchar, 'None')")
        if arrow_type != "timestamp[us, tz=UTC]":
            assert values[0][1] == (given if kept is None else kept), kind
        assert values[1][1] == "None", kind


@pytest.mark.parametrize("running", ["postgresql"], indirect=True)  # MySQL knows no NaN
def test_a_number_that_is_none_is_refused(server: Server, of: Callable[..., Settings]) -> None:
    settings = of(server)
    extract(settings, CONTRACT)
    server.run("update order_lines set net_sales = 'NaN' where order_line_id = 1")
    assert_refused(settings, "order_lines: column net_sales holds a value that decimal128(18, 2) cannot hold", "NaN")


def test_everything_is_of_one_moment_and_nothing_can_be_written(server: Server) -> None:
    with open_database(server.url, PASSWORD) as database:
        query, schema = database.prepare("select * from orders")
        before = sum(batch.num_rows for batch in database.batches(query, schema))
        server.run(
            "insert into orders select 77, customer_id, ordered_at, status, updated_at from orders where order_id = 2"
        )
        server.run("delete from order_lines")
        assert sum(batch.num_rows for batch in database.batches(query, schema)) == before
        query, schema = database.prepare("select * from order_lines")
        assert sum(batch.num_rows for batch in database.batches(query, schema)) == len(TABLES["order_lines"][1])
        with pytest.raises(DatabaseError, match="the database"):
            list(database.batches("delete from orders", schema))


# Changes.

CHANGES = "orders: {watermark: updated_at}"


def stamped(order: int, stamp: str, status: str = "'paid'") -> str:
    return f"insert into orders values ({order}, 'C1', '2025-01-01', {status}, {stamp})"


def test_only_what_is_new_is_read(server: Server, of: Callable[..., Settings]) -> None:
    settings = of(server, CHANGES, input_overlap_minutes=0)
    everything = of(server, CHANGES, input_read="all", data=settings.data / "all")

    def read() -> tuple[int, int, bool]:
        report = next(report for report in extract(settings, CONTRACT) if report.table == "orders")
        extract(everything, CONTRACT)
        assert rows(settings, "orders") == rows(everything, "orders")
        return report.rows_read, report.rows, report.is_changed

    assert read() == (3, 3, True)
    assert read() == (1, 3, False)  # the one with the newest stamp, again
    server.run(stamped(4, "'2025-03-01 08:00:00'"))
    assert read() == (2, 4, True)  # of an equal stamp
    server.run(stamped(5, "'2025-03-02 08:00:00.000001'"), "update orders set status = 'sent' where order_id = 5")
    assert read() == (3, 5, True)
    server.run("update orders set status = 'back', updated_at = '2025-03-03' where order_id = 2")
    assert read() == (2, 5, True)
    server.run(stamped(6, "null"))
    assert read() == (2, 6, True)
    server.run("update orders set status = 'found' where order_id = 6")
    assert read() == (2, 6, True)  # without a stamp, always
    server.run(stamped(7, "'2999-01-01'"))
    assert read() == (3, 7, True)
    server.run(stamped(8, "'2025-03-04'"))
    assert read()[1:] == (8, True)  # a stamp of the future hides nothing


def test_a_transaction_that_is_seen_late(server: Server, of: Callable[..., Settings]) -> None:
    settings = of(server, CHANGES)
    extract(settings, CONTRACT)
    server.run(stamped(4, "'2025-03-01 07:30:00'"), stamped(5, "'2025-03-01 06:00:00'"))
    extract(settings, CONTRACT)
    assert [row[0] for row in rows(settings, "orders", "order_id")] == [2, 3, 4, 9007199254740993]
    extract(of(server, CHANGES, input_overlap_minutes=180), CONTRACT)
    assert len(rows(settings, "orders")) == 5


def test_rows_that_were_deleted_go_when_everything_is_read(server: Server, of: Callable[..., Settings]) -> None:
    settings = of(server, CHANGES)
    extract(settings, CONTRACT)
    server.run("delete from orders where order_id = 2")
    extract(settings, CONTRACT)
    assert len(rows(settings, "orders")) == 3
    extract(of(server, CHANGES, input_read="all"), CONTRACT)
    assert len(rows(settings, "orders")) == 2


@pytest.mark.parametrize(
    "change, mapping",
    [
        ("select 1", "orders: {watermark: updated_at, select: 'select * from orders where order_id <> 3'}"),
        ("select 1", "orders: {watermark: updated_at, key: [order_id, customer_id]}"),
        ("alter table orders add column channel varchar(9) default 'web'", CHANGES),
        ("alter table orders drop column status", CHANGES),
    ],
)
def test_a_changed_mapping_or_table_is_read_anew(
    server: Server, of: Callable[..., Settings], change: str, mapping: str
) -> None:
    extract(of(server, CHANGES), CONTRACT)
    server.run(change)
    settings = of(server, mapping)
    report = next(report for report in extract(settings, CONTRACT) if report.table == "orders")
    assert (report.since, report.rows_read) == (None, report.rows)
    everything = of(server, mapping, input_read="all", data=settings.data / "all")
    extract(everything, CONTRACT)
    assert rows(settings, "orders") == rows(everything, "orders")


@pytest.mark.parametrize("column, newer", [("day", "'2025-03-02'"), ("version", "12"), ("amount", "12.5")])
def test_other_watermarks(server: Server, of: Callable[..., Settings], column: str, newer: str) -> None:
    server.run(
        "alter table orders add column day date",
        "alter table orders add column version bigint",
        "alter table orders add column amount decimal(9, 2)",
        "update orders set day = '2025-03-01', version = 3, amount = 3.25",
        "update orders set day = '2025-01-01', version = 1, amount = 1.25 where order_id = 2",
    )
    settings = of(server, f"orders: {{watermark: {column}}}", input_overlap_minutes=0)
    extract(settings, CONTRACT)
    server.run(f"update orders set status = 'new', {column} = {newer} where order_id = 2")
    report = next(report for report in extract(settings, CONTRACT) if report.table == "orders")
    assert (report.rows_read, report.rows) == (3, 3)
    assert ("new",) in rows(settings, "orders", "status")


# Faults.


@pytest.mark.parametrize(
    "change, mapping, words",
    [
        ("drop table products", None, ["products: the database has no such table", "customers, order_lines, orders"]),
        ("alter table orders drop column ordered_at", None, ["orders: its columns ordered_at are missing", "order_id"]),
        ("delete from orders", None, ["orders: it has no rows"]),
        ("select 1", "orders: {select: select nothing from orders}", ["orders: the database refuses", "nothing"]),
        ("select 1", "orders: {select: select * from nowhere}", ["orders: the database refuses", "nowhere"]),
        ("select 1", "orders: {select: delete from orders}", ["orders: the database refuses"]),
        ("select 1", "orders: {select: select 1; select 2}", ["orders: the database refuses"]),
        ("select 1", "orders: {select: 'select *, order_id from orders'}", ["orders: ", "order_id"]),
    ],
)
def test_what_cannot_be_read_leaves_the_inbox_as_it_was(
    server: Server, of: Callable[..., Settings], change: str, mapping: str | None, words: list[str]
) -> None:
    extract(of(server), CONTRACT)
    server.run("insert into customers (customer_id) values ('C9')", change)
    assert_refused(of(server, mapping), *words)


@pytest.mark.parametrize("running", ["postgresql"], indirect=True)  # MySQL makes 0 of it
def test_a_value_that_a_select_fails_on_is_not_told(server: Server, of: Callable[..., Settings]) -> None:
    extract(of(server), CONTRACT)
    server.run("update customers set first_name = 'canary' where customer_id = 'C2'")
    mapping = "customers: {select: 'select customer_id, first_name::integer as kids_count from customers'}"
    assert_refused(of(server, mapping), "customers: the database gave up while it was read", "cannot be converted")


def test_a_database_that_gives_up_by_itself(server: Server, of: Callable[..., Settings]) -> None:
    extract(of(server), CONTRACT)
    slow = f"order_lines: {{select: '{MANY[server.kind]}'}}".replace("'P1'", "''P1''")
    if server.kind == "postgresql":
        settings = of(f"{server.url}?options=-cstatement_timeout=500", slow)
        assert_refused(settings, "order_lines: the database gave up", "canceling statement due to statement timeout")
    else:
        server.run("set global max_statement_time = 0.5")
        try:
            assert_refused(of(server, slow), "order_lines: the database gave up", "1969")
        finally:
            server.run("set global max_statement_time = 0")


def test_who_may_not_read(server: Server, of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    extract(of(server), CONTRACT)
    monkeypatch.setenv("CUSTOMER360_INPUT_PASSWORD", "canary-wrong")
    assert_refused(of(server), "cannot connect to", server.kind, "CUSTOMER360_INPUT_PASSWORD", USER)
    monkeypatch.delenv("CUSTOMER360_INPUT_PASSWORD")
    assert_refused(of(server), "cannot connect to", "CUSTOMER360_INPUT_PASSWORD")
    assert_refused(of(server.url.replace("@", ":canary-wrong@")), "cannot connect to")
    assert len(extract(of(server.url_with_password), CONTRACT)) == len(TABLES)


def test_a_server_that_is_not_there(server: Server, of: Callable[..., Settings]) -> None:
    extract(of(server), CONTRACT)
    port = server.url.rpartition(":")[2].split("/")[0]
    nobody = free_port()
    assert_refused(of(server.url.replace(port, str(nobody))), f"127.0.0.1:{nobody}/{DATABASE}", "refused", "it runs")
    assert_refused(of(server.url.replace("127.0.0.1", "nowhere.invalid")), "nowhere.invalid", "can be reached")
    assert_refused(of(server.url.replace(f"/{DATABASE}", "/other")), "other", "INPUT names")


def test_options_that_the_driver_does_not_know(server: Server, of: Callable[..., Settings]) -> None:
    extract(of(server), CONTRACT)
    assert_refused(of(f"{server.url}?surely=not"), "surely")


def test_a_connection_that_is_lost_half_way(server: Server, of: Callable[..., Settings]) -> None:
    extract(of(server), CONTRACT)
    settings = of(server, f"order_lines: {{select: '{MANY[server.kind]}'}}".replace("'P1'", "''P1''"))
    ended: list[int] = []

    def end() -> None:
        half = settings.data / "inbox" / ".contract.building" / "order_lines.read"
        while not half.exists() or half.stat().st_size < 100_000:
            time.sleep(0.01)
        ended.append(server.end_other_connections())

    ender = threading.Thread(target=end)
    ender.start()
    assert_refused(settings, "order_lines: the connection to", "was lost while it was read", "refresh again")
    ender.join()
    assert ended == [1]


# A whole refresh.


def spellings(secret: str) -> list[bytes]:
    return [secret.encode(), quote(secret, safe="").encode(), repr(secret)[1:-1].encode()]


def assert_secret(data: Path, *outputs: str) -> None:
    """The password is in no file and in no output."""
    contents = {str(path): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    contents |= {f"output {number}": output.encode() for number, output in enumerate(outputs)}
    offenders = [name for name, content in contents.items() if any(word in content for word in spellings(PASSWORD))]
    assert offenders == []


@pytest.mark.exhaustive
def test_a_refresh_from_a_database_gives_the_marts_of_the_same_files(
    small_home: Home, small_input: Path, tmp_path: Path
) -> None:
    with postgresql() as server:
        server.load(small_input)
        home = Home(tmp_path / "data")
        environment = {"INPUT": server.url, "CUSTOMER360_INPUT_PASSWORD": PASSWORD, "CUSTOMER360_MODELS": "none"}
        good = home.refresh(**environment)
        assert good.returncode == 0, good.stdout + good.stderr
        assert "read from the database: transactions" in good.stdout
        assert home.published_hashes() == small_home.published_hashes()

        ledger = (home.data / "raw" / "complete_journey" / "ledger.jsonl").read_bytes()
        inbox = {path: path.read_bytes() for path in (home.data / "inbox" / "complete_journey").iterdir()}
        server.run("delete from demographics where household_id in (select min(household_id) from demographics)")
        server.run("drop table products")
        bad = home.refresh(**environment)
        wrong = home.refresh(**{**environment, "CUSTOMER360_INPUT_PASSWORD": f"{PASSWORD}!"})
    gone = home.refresh(**environment)

    assert (bad.returncode, wrong.returncode, gone.returncode) == (1, 2, 2)
    assert "products: the database has no such table" in bad.stderr
    assert "password authentication failed" in wrong.stderr
    assert "refused" in gone.stderr
    assert home.published_hashes() == small_home.published_hashes()
    assert (home.data / "raw" / "complete_journey" / "ledger.jsonl").read_bytes() == ledger
    assert {path: path.read_bytes() for path in (home.data / "inbox" / "complete_journey").iterdir()} == inbox
    outputs = [text for outcome in (good, bad, wrong, gone) for text in (outcome.stdout, outcome.stderr)]
    assert_secret(home.data, *outputs)
    assert os.environ.get("CUSTOMER360_INPUT_PASSWORD") is None
