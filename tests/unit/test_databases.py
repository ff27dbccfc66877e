"""What INPUT may name, the mapping file, and reading from SQLite, which needs no server."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.databases import DatabaseError
from orchestration.extraction import extract, order_day, read_mapping
from orchestration.landing import LandingError
from orchestration.settings import Settings, SettingsError, load_settings
from orchestration.sources import load_source
from tests.databases import PASSWORD, TABLES, statements

CONTRACT = load_source("contract")


def run(path: Path, *lines: str) -> None:
    """Runs statements in a SQLite file."""
    with closing(sqlite3.connect(path)) as connection:
        for line in lines:
            connection.execute(line)
        connection.commit()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A SQLite file with the contract's required tables."""
    path = tmp_path / "shop.sqlite"
    run(path, *statements("sqlite"))
    return path


@pytest.fixture
def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of a refresh from a database."""
    monkeypatch.delenv("CUSTOMER360_INPUT_PASSWORD", raising=False)

    def make(database: object, mapping: str | None = None, **more: Any) -> Settings:
        if mapping is not None:
            (tmp_path / "mapping.yml").write_text(mapping, encoding="utf-8")
            more["input_mapping"] = tmp_path / "mapping.yml"
        return load_settings(data=tmp_path / "data", source="contract", input=str(database), **more)

    return make


def rows(settings: Settings, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """What the inbox has of a table."""
    path = f"{settings.input}/{table}.parquet"
    return duckdb.sql(f"select {columns} from '{path}' order by all").fetchall()


# What INPUT names.


def test_a_folder_stays_a_folder(tmp_path: Path) -> None:
    settings = load_settings(input=tmp_path)
    assert (settings.database, settings.input) == (None, tmp_path)
    (tmp_path / "folder.db").mkdir()
    assert load_settings(input=tmp_path / "folder.db").database is None


@pytest.mark.parametrize(
    "given, understood",
    [
        ("postgresql://a@h:1/d", "postgresql://a@h:1/d"),
        ("postgres://a@h/d", "postgresql://a@h/d"),
        ("mariadb://a@h/d?ssl_ca=x", "mysql://a@h/d?ssl_ca=x"),
        ("sqlite:///x/y.anything", "sqlite:///x/y.anything"),
        ("/x/a b.db", "sqlite:///x/a%20b.db"),
        ("/x/y.sqlite3", "sqlite:///x/y.sqlite3"),
    ],
)
def test_a_database_is_read_into_the_inbox(tmp_path: Path, given: str, understood: str) -> None:
    settings = load_settings(data=tmp_path, source="contract", input=given)
    assert settings.database is not None
    assert settings.database.get_secret_value() == understood
    assert settings.input == tmp_path / "inbox" / "contract"


@pytest.mark.parametrize(
    "address, words",
    [
        ("oracle://a:canary@h/d", ["'oracle' is no kind of database", "postgresql://", "mysql://", "sqlite://"]),
        ("postgresql+psycopg2://a:canary@h/d", ["'postgresql+psycopg2' is no kind of database"]),
        ("postgresql://a:canary@h", ["postgresql://user@host:5432/database", "CUSTOMER360_INPUT_PASSWORD"]),
        ("postgresql://a:can/ary@h/d", ["postgresql://user@host:5432/database", "% and their code"]),
        ("mysql://a:canary#1@h/d", ["mysql://user@host:3306/database"]),
        ("mysql://a:canary@h:port/d", ["mysql://user@host:3306/database"]),
        ("sqlite://canary/d", ["sqlite:///path/of/the/file"]),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_being_said(address: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(input=address)
    for word in ["CUSTOMER360_INPUT", *words]:
        assert word in str(refusal.value)
    assert "canary" not in str(refusal.value)
    assert "ary" not in str(refusal.value).replace("library", "")


def test_the_password_is_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOMER360_INPUT_PASSWORD", PASSWORD)
    monkeypatch.setenv("INPUT", "postgresql://reader:canary-in-url@127.0.0.1/crm")
    settings = load_settings()
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "canary" not in text


def test_a_mapping_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CUSTOMER360_INPUT_MAPPING is for a database"):
        load_settings(input=tmp_path, input_mapping=tmp_path / "mapping.yml")


def test_a_folder_takes_the_place_of_the_environments_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a replay does, which cuts what was read."""
    monkeypatch.setenv("INPUT", "postgresql://reader@127.0.0.1/crm")
    monkeypatch.setenv("CUSTOMER360_INPUT_MAPPING", str(tmp_path / "mapping.yml"))
    assert load_settings().input_mapping == tmp_path / "mapping.yml"
    settings = load_settings(input=tmp_path, input_mapping=None)
    assert (settings.database, settings.input, settings.input_mapping) == (None, tmp_path, None)


# The mapping file.


def test_a_mapping_names_one_key_or_more(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yml"
    path.write_text("orders: {watermark: w, key: a}\nproducts: {key: [a, b]}\ncustomers: {select: select 1}")
    mapping = read_mapping(path, CONTRACT)
    assert (mapping["orders"].key, mapping["products"].key) == (("a",), ("a", "b"))


@pytest.mark.parametrize(
    "content, words",
    [
        (None, ["cannot be read", "YAML file"]),
        ("orders: [", ["is not YAML", "line 1"]),
        (b"orders: \xff", ["is not YAML"]),
        ("", ["cannot be used", "valid dictionary"]),
        ("- orders", ["cannot be used", "valid dictionary"]),
        ("orders: select 1", ["orders", "cannot be used"]),
        ("orders: {sql: select 1}", ["orders.sql", "give select"]),
        ("orders: {watermark: [a, b]}", ["orders.watermark", "valid string"]),
        ("order: {select: select 1}", ["names order;", "customers, orders, order_lines"]),
    ],
)
def test_a_mapping_that_cannot_be_used(tmp_path: Path, content: str | bytes | None, words: list[str]) -> None:
    path = tmp_path / "mapping.yml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError) as refusal:
        read_mapping(path, CONTRACT)
    for word in [f"CUSTOMER360_INPUT_MAPPING {path}", *words]:
        assert word in str(refusal.value)


# SQLite.


def test_a_column_has_the_type_that_its_values_have(shop: Path, of: Callable[..., Settings]) -> None:
    run(
        shop,
        "alter table products add column list_price",
        "alter table products add column brand",
        "update products set list_price = case product_id when 'P1' then 1 else 2.5 end",
        "update products set brand = case product_id when 'P1' then 7 else 'seven' end",
    )
    settings = of(shop)
    extract(settings, CONTRACT)
    assert rows(settings, "products", "list_price, brand") == [(1.0, "7"), (2.5, "seven")]
    assert rows(settings, "customers", "customer_id, marketing_consent") == [("C1", True), ("C2", False), ("C3", None)]
    assert rows(settings, "orders", "order_id")[-1] == (9007199254740993,)


def test_the_day_and_the_reports(shop: Path, of: Callable[..., Settings]) -> None:
    settings = of(shop)
    now = datetime(2025, 6, 1, tzinfo=UTC)
    assert order_day(settings, CONTRACT, None, now) == date(2025, 3, 2)
    with pytest.raises(LandingError, match="has no order before it"):
        order_day(settings, CONTRACT, date(2025, 1, 5), now)
    first, second = extract(settings, CONTRACT), extract(settings, CONTRACT)
    assert [(report.table, report.rows_read, report.rows) for report in first] == [
        (table.name, len(TABLES[table.name][1]), len(TABLES[table.name][1])) for table in CONTRACT.tables[:4]
    ]
    assert [report.is_changed for report in (*first, *second)] == [True] * 4 + [False] * 4


def test_a_folder_is_not_extracted(tmp_path: Path) -> None:
    assert extract(load_settings(data=tmp_path / "data", input=tmp_path), CONTRACT) == []
    assert not (tmp_path / "data").exists()


def test_an_optional_table_that_goes_leaves_the_inbox(shop: Path, of: Callable[..., Settings]) -> None:
    settings = of(shop)
    run(
        shop,
        "create table campaigns (campaign_id, start_date, end_date)",
        "insert into campaigns values ('1', '2025-01-01', '2025-02-01')",
    )
    extract(settings, CONTRACT)
    path = Path(f"{settings.input}/campaigns.parquet")
    assert path.exists()
    run(shop, "delete from campaigns")
    extract(settings, CONTRACT)
    assert not path.exists()


@pytest.mark.parametrize(
    "fault, mapping, words",
    [
        ("drop table products", None, ["products: the database has no such table", "customers, order_lines, orders"]),
        ("alter table orders drop column ordered_at", None, ["orders: its columns ordered_at are missing", "order_id"]),
        ("delete from orders", None, ["orders: it has no rows"]),
        ("select 1", "orders: {select: select nothing from orders}", ["orders: the database refuses", "nothing"]),
        ("select 1", "orders: {select: delete from orders}", ["orders: the database refuses"]),
        ("select 1", "orders: {select: 'select *, order_id as ORDER_ID from orders'}", ["more than once"]),
        (
            "select 1",
            "orders: {watermark: changed_at}",
            ["orders: its watermark changed_at is no column", "updated_at"],
        ),
        ("select 1", "orders: {watermark: updated_at, key: id}", ["orders: id of its key is no column"]),
        ("update orders set status = null", "orders: {watermark: updated_at, key: status}", ["is empty in 3 of"]),
        (
            "create table product_promotions as select 'P1' product_id, '2025-01-01' period_start",
            "product_promotions: {watermark: period_start}",
            ["product_promotions: it has a watermark and no key"],
        ),
    ],
)
def test_what_cannot_be_read_leaves_the_inbox_as_it_was(
    shop: Path, of: Callable[..., Settings], fault: str, mapping: str | None, words: list[str]
) -> None:
    settings = of(shop)
    extract(settings, CONTRACT)
    before = {path.name: path.read_bytes() for path in Path(f"{settings.input}").iterdir()}
    run(shop, "insert into customers (customer_id) values ('C9')", fault)
    with pytest.raises(DatabaseError) as refusal:
        extract(of(shop, mapping), CONTRACT)
    for word in words:
        assert word in str(refusal.value)
    assert {path.name: path.read_bytes() for path in Path(f"{settings.input}").iterdir()} == before
    assert sorted(path.name for path in (settings.data / "inbox").iterdir()) == [".lock", "contract"]


def test_a_file_that_is_missing_or_no_database(tmp_path: Path, of: Callable[..., Settings]) -> None:
    with pytest.raises(DatabaseError, match=r"missing.db does not exist"):
        extract(of(tmp_path / "missing.db"), CONTRACT)
    (tmp_path / "text.db").write_text("no database " * 1000)
    with pytest.raises(DatabaseError, match="not a database"):
        extract(of(tmp_path / "text.db"), CONTRACT)


def test_text_that_is_not_utf_8_is_no_end(shop: Path, of: Callable[..., Settings]) -> None:
    run(shop, "update products set product_name = cast(x'436166e9' as text) where product_id = 'P2'")
    settings = of(shop)
    extract(settings, CONTRACT)
    assert rows(settings, "products", "product_name")[0] == ("Caf\ufffd",)


def test_a_disk_that_refuses(shop: Path, of: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "inbox").write_text("a file")
    with pytest.raises(DatabaseError, match="cannot write to"):
        extract(of(shop), CONTRACT)


def test_two_readings_at_once_and_what_a_killed_one_left(shop: Path, of: Callable[..., Settings]) -> None:
    settings = of(shop)
    left = settings.data / "inbox" / ".contract.building"
    left.mkdir(parents=True)
    (left / "orders.read").write_text("half a file")
    with ThreadPoolExecutor() as pool:
        reports = [pool.submit(extract, settings, CONTRACT) for _ in range(4)]
    changed = [any(table.is_changed for table in report.result()) for report in reports]
    assert sorted(changed) == [False, False, False, True]
    assert not left.exists()


# Watermarks.

CHANGES = "orders: {watermark: updated_at}"
DAY = st.integers(1, 9)
CHANGE = st.tuples(st.integers(1, 6), DAY, st.sampled_from(["paid", "open", None]))


def test_a_watermark_that_is_no_time_is_refused(shop: Path, of: Callable[..., Settings]) -> None:
    run(shop, "alter table orders add column share real", "update orders set share = 0.5")
    settings = of(shop, "orders: {watermark: share}")
    extract(settings, CONTRACT)
    with pytest.raises(DatabaseError, match="its watermark share is of type double"):
        extract(settings, CONTRACT)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(loads=st.lists(st.lists(CHANGE, max_size=5), min_size=1, max_size=4))
def test_reading_changes_comes_to_what_reading_everything_gives(
    loads: list[list[tuple[int, int, str | None]]],
    shop: Path,
    of: Callable[..., Settings],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever is inserted and updated between readings, stamped on the day of the reading or as late as the last."""
    home = tmp_path_factory.mktemp("loads")
    run(shop, "delete from orders", "insert into orders values (0, 'C1', '2025-01-01', 'paid', '2025-01-01')")
    changes = of(shop, CHANGES).model_copy(update={"data": home / "changes"})
    everything = of(shop, CHANGES, input_read="all").model_copy(update={"data": home / "all"})
    clock = 1
    for load in loads:
        for order, day, status in sorted(load, key=lambda change: change[1]):
            clock = max(clock, day)
            stamp = f"2025-02-{clock:02d}{'T' if day % 2 else ' '}10:00:00"
            run(
                shop,
                f"insert or replace into orders values ({order}, 'C1', '2025-01-01', {status!r}, '{stamp}')".replace(
                    "None", "null"
                ),
            )
        extract(changes, CONTRACT)
        extract(everything, CONTRACT)
        assert rows(changes, "orders") == rows(everything, "orders")
        assert Path(f"{changes.input}/orders.parquet").exists()
