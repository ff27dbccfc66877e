"""The publication store when nothing goes wrong, and every way in which it refuses.

Kills, many readers and full disks are in `tests/integration/test_publication_under_faults.py`.
"""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.content_hash import TableContent, quote_identifier, table_content
from orchestration.resources import publication as publication_module
from orchestration.resources.publication import (
    Publication,
    PublicationError,
    PublicationStore,
)
from tests.publication_helpers import (
    DAY,
    MARTS,
    contents,
    files_expected_of,
    files_of,
    make_warehouse,
    publish_marker,
    published_marker,
    start_python,
)


@pytest.fixture
def store(tmp_path: Path) -> PublicationStore:
    return PublicationStore(tmp_path / "data" / "published", keep=3)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return make_warehouse(tmp_path / "warehouse.duckdb", marker=100)


def version_file(store: PublicationStore, publication: Publication) -> Path:
    return store.root / "versions" / f"{publication.version}.duckdb"


def overwrite(path: Path, content: bytes) -> None:
    """Change a file that was published read-only, as a failing disk would."""
    path.chmod(0o644)
    path.write_bytes(content)


def flip_bit(content: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


# Publishing ---------------------------------------------------------------------------------------


def test_a_new_store_is_empty(store: PublicationStore) -> None:
    assert store.current() is None
    assert store.versions() == []
    with pytest.raises(PublicationError, match=r"Nothing is published in .* Run `make refresh`"):
        store.current_file()
    with pytest.raises(PublicationError, match="Nothing is published"):
        store.verify()
    with pytest.raises(PublicationError, match="nothing to roll back from"):
        store.rollback()


def test_publish_makes_a_version_current(store: PublicationStore, warehouse: Path) -> None:
    expected = contents(warehouse)

    published = store.publish(warehouse, expected, as_of_date=DAY, source="sample")

    assert published.version == "000001-2024-06-01"
    assert published.as_of_date == DAY
    assert published.source == "sample"
    assert published.published_at.tzinfo == UTC
    assert [(table.table_name, table.row_count, table.content_hash) for table in published.tables] == [
        (name, expected[name].row_count, expected[name].content_hash) for name in sorted(MARTS)
    ]
    assert store.current() == store.verify() == published
    assert store.versions() == [published]
    assert store.current_file() == version_file(store, published).resolve()
    assert contents(store.current_file()) == expected
    assert files_of(store) == files_expected_of(store)


def test_current_is_a_relative_link_that_moves_with_the_folder(store: PublicationStore, tmp_path: Path) -> None:
    published = publish_marker(store, 1)
    link = store.root / "current.duckdb"
    assert link.readlink() == Path(f"versions/{published.version}.duckdb")

    moved = PublicationStore(store.root.rename(tmp_path / "elsewhere"))
    assert moved.verify() == published
    assert published_marker(moved) == 1


def test_the_description_is_plain_json(store: PublicationStore) -> None:
    published = publish_marker(store, 1)
    fields = json.loads(version_file(store, published).with_suffix(".json").read_text())
    assert fields["version"] == "000001-2024-06-01"
    assert fields["as_of_date"] == "2024-06-01"
    assert fields["sha256"] == published.sha256
    assert [table["table_name"] for table in fields["tables"]] == sorted(MARTS)


def test_views_become_tables_and_rows_keep_their_order(store: PublicationStore, warehouse: Path) -> None:
    store.publish(warehouse, contents(warehouse), as_of_date=DAY, source="sample")
    with duckdb.connect(warehouse, read_only=True) as connection:
        rows = connection.execute("select * from marts.orders").fetchall()
    assert rows != sorted(rows), "the warehouse's order has to be one that could be lost"

    with duckdb.connect(store.current_file(), read_only=True) as connection:
        relations = connection.execute(
            "select table_schema, table_name, table_type from information_schema.tables order by table_name"
        ).fetchall()
        told = {"freshness": "VIEW"}
        assert relations == [
            ("marts", name, told.get(name, "BASE TABLE")) for name in sorted([*MARTS, "publication", "freshness"])
        ]
        assert connection.execute("select * from marts.orders").fetchall() == rows


# Out of the version before ------------------------------------------------------------------------


def large_warehouse(path: Path, change: str = "") -> Path:
    """A warehouse with a thousand orders of ten days and one without a day, then changed; and what goes with it."""
    path.unlink(missing_ok=True)
    with duckdb.connect(path) as connection:
        connection.execute(
            f"""
            create schema marts;
            create table marts.orders as
                select
                    'order ' || range as order_id,
                    if(range = 0, null, date '2024-06-01' + (range // 100)::integer) as order_date,
                    range::decimal(18, 2) as net_sales
                from range(1001);
            create table marts.customer_360 as select 'customer ' || range as customer_id from range(20);
            create table marts.kpi_daily as select date '2024-06-01' as day, 1 as marker;
            comment on table marts.orders is 'One row per order.';
            comment on column marts.orders.net_sales is 'What it came to.';
            {change}
            """
        )
    return path


@pytest.fixture
def large_tables(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Lets a thousand rows be many; tells of each table that was looked at by day whether it was brought up to date."""
    told: list[bool] = []
    bring_up_to_date = publication_module._bring_up_to_date

    def observed(connection: duckdb.DuckDBPyConnection, name: str, *rest: Any) -> bool:
        found = bring_up_to_date(connection, name, *rest)
        if name == "orders":
            told.append(found)
        return found

    monkeypatch.setattr(publication_module, "LARGE_TABLE_ROWS", 900)
    monkeypatch.setattr(publication_module, "_bring_up_to_date", observed)
    return told


def publish_again(store: PublicationStore, tmp_path: Path, change: str) -> None:
    """Publishes a large warehouse, and then one that was changed; what readers get is exactly that."""
    for changed in ("", change):
        warehouse = large_warehouse(tmp_path / "warehouse.duckdb", changed)
        expected = contents(warehouse)
        store.publish(warehouse, expected, as_of_date=DAY, source="sample")
    assert contents(store.current_file()) == expected
    assert files_of(store) == files_expected_of(store)


@pytest.mark.parametrize(
    "change",
    [
        "insert into marts.orders values ('new', '2024-06-12', 1)",
        "insert into marts.orders values ('late', '2024-06-03', 1); delete from marts.orders where net_sales = 555",
        "update marts.orders set net_sales = net_sales + 1 where net_sales in (0, 900)",
        "delete from marts.orders where order_date = '2024-06-05' or order_date is null",
        "insert into marts.orders from marts.orders where net_sales = 300",
        "update marts.orders set order_date = order_date + 1 where order_date >= '2024-06-09'",
    ],
)
def test_of_a_large_table_the_days_that_changed_are_replaced(
    store: PublicationStore, tmp_path: Path, large_tables: list[bool], change: str
) -> None:
    publish_again(store, tmp_path, change)
    assert large_tables == [True]
    with duckdb.connect(store.current_file(), read_only=True) as connection:
        first = connection.execute("select order_id from marts.orders where order_date = '2024-06-02'").fetchall()
    assert first == [(f"order {number}",) for number in range(100, 200)]


@pytest.mark.parametrize(
    "change",
    [
        "alter table marts.orders add column channel varchar",
        "alter table marts.orders alter net_sales type decimal(18, 3)",
        "alter table marts.orders drop order_date",
    ],
)
def test_a_large_table_of_other_columns_is_written_as_a_whole(
    store: PublicationStore, tmp_path: Path, large_tables: list[bool], change: str
) -> None:
    publish_again(store, tmp_path, change)
    assert large_tables == [False]


def test_a_large_table_is_written_as_a_whole_where_nobody_hashed_its_days(
    store: PublicationStore, tmp_path: Path, large_tables: list[bool]
) -> None:
    warehouse = large_warehouse(tmp_path / "warehouse.duckdb")
    without_days = {
        name: TableContent(content.row_count, content.content_hash) for name, content in contents(warehouse).items()
    }
    published = store.publish(warehouse, without_days, as_of_date=DAY, source="sample")
    assert "day_hashes" not in version_file(store, published).with_suffix(".json").read_text()
    large_warehouse(warehouse, "delete from marts.orders where net_sales = 1")
    published = store.publish(warehouse, contents(warehouse), as_of_date=DAY, source="sample")
    assert large_tables == [False]
    assert contents(store.current_file()) == contents(warehouse)
    assert {table.table_name for table in published.tables if table.day_hashes} == {"orders"}


def test_what_is_said_of_a_kept_table_is_said_anew(
    store: PublicationStore, tmp_path: Path, large_tables: list[bool]
) -> None:
    change = "comment on table marts.orders is null; comment on column marts.orders.net_sales is 'Net.'"
    publish_again(store, tmp_path, change)
    assert large_tables == [], "its rows are the same"
    with duckdb.connect(store.current_file(), read_only=True) as connection:
        assert connection.execute("select comment from duckdb_tables() where table_name = 'orders'").fetchall() == [
            (None,)
        ]
        said = "select comment from duckdb_columns() where table_name = 'orders' and comment is not null"
        assert connection.execute(said).fetchall() == [("Net.",)]


def test_one_version_of_those_that_are_kept_is_built_from_nothing(
    store: PublicationStore, tmp_path: Path, large_tables: list[bool]
) -> None:
    for number in range(1, 8):
        large_tables.clear()
        warehouse = large_warehouse(
            tmp_path / "warehouse.duckdb", f"delete from marts.orders where net_sales = {number}"
        )
        store.publish(warehouse, contents(warehouse), as_of_date=DAY, source="sample")
        assert large_tables == ([] if number in (1, 3, 6) else [True])


def test_a_version_is_built_from_nothing_where_the_current_one_is_damaged(
    store: PublicationStore, tmp_path: Path, large_tables: list[bool]
) -> None:
    warehouse = large_warehouse(tmp_path / "warehouse.duckdb")
    published = store.publish(warehouse, contents(warehouse), as_of_date=DAY, source="sample")
    file = version_file(store, published)
    overwrite(file, flip_bit(file.read_bytes(), file.stat().st_size // 2, 3))
    large_warehouse(warehouse, "delete from marts.orders where net_sales = 1")
    store.publish(warehouse, contents(warehouse), as_of_date=DAY, source="sample")
    assert large_tables == []
    assert contents(store.current_file()) == contents(warehouse)


def test_a_version_is_built_from_nothing_where_days_were_missed(
    store: PublicationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publication_module, "LARGE_TABLE_ROWS", 900)
    monkeypatch.setattr(publication_module, "_bring_up_to_date", lambda *_: True)
    publish_again(store, tmp_path, "delete from marts.orders where net_sales = 1")
    assert "built from nothing" in caplog.text and "marts.orders is not what the gates passed" in caplog.text


def test_comments_are_copied(store: PublicationStore) -> None:
    publish_marker(store, 1)
    with duckdb.connect(store.current_file(), read_only=True) as connection:
        tables = dict(connection.execute("select table_name, comment from duckdb_tables()").fetchall())
        columns = {
            (table, column): comment
            for table, column, comment in connection.execute(
                "select table_name, column_name, comment from duckdb_columns() where not internal"
            ).fetchall()
        }
    assert tables["orders"] == "One row per order."
    assert tables["customer_360"] == 'One row per customer; "quoted".'
    assert tables["kpi_daily"] is None
    assert columns["orders", "net_sales"] == "What the customer's order came to."
    assert columns["customer_360", "customer_id"] == "The customer."
    assert columns["kpi_daily", "day"] is None
    assert tables["publication"]
    assert all(comment for (table, _), comment in columns.items() if table == "publication")


def test_the_file_says_what_it_is(store: PublicationStore) -> None:
    published = publish_marker(store, 1)
    with duckdb.connect(store.current_file(), read_only=True) as connection:
        connection.execute("from marts.publication order by table_name")
        assert connection.description is not None
        columns = [column[0] for column in connection.description]
        rows = [dict(zip(columns, row, strict=True)) for row in connection.fetchall()]
    assert rows == [
        {
            "table_name": table.table_name,
            "version": published.version,
            "as_of_date": DAY,
            "source": "sample",
            "row_count": table.row_count,
            "content_hash": table.content_hash,
            "published_at": published.published_at.replace(tzinfo=None),
            "fresh_until": None,
        }
        for table in published.tables
    ]


def test_names_and_texts_may_hold_quotes(store: PublicationStore, tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    warehouse = folder / "ware'house.duckdb"
    table = quote_identifier('odd "name"')
    with duckdb.connect(warehouse) as connection:
        connection.execute("create schema marts")
        connection.execute(f"""create table marts.{table} as select 1 as "a ""b" """)
        connection.execute(f"""comment on column marts.{table}."a ""b" is 'it''s'""")
        content = table_content(connection, f"marts.{table}")

    published = store.publish(warehouse, {'odd "name"': content}, as_of_date=DAY, source="the company's")

    assert published.tables[0].table_name == 'odd "name"'
    assert store.verify().source == "the company's"


def test_published_files_are_immutable_and_readable_by_the_group(store: PublicationStore) -> None:
    umask = os.umask(0o077)
    try:
        published = publish_marker(store, 1)
    finally:
        os.umask(umask)
    file = version_file(store, published)
    assert file.stat().st_mode & 0o777 == 0o444
    assert file.with_suffix(".json").stat().st_mode & 0o777 == 0o444
    for folder in (store.root, file.parent):
        assert folder.stat().st_mode & 0o050 == 0o050


def test_a_rival_may_make_the_folders_first(store: PublicationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def make_after_a_rival(folder: Path, *arguments: Any, **options: Any) -> None:
        make(folder, parents=True, exist_ok=True)
        make(folder, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", make_after_a_rival)
    publish_marker(store, 1)
    assert store.verify().version == "000001-2024-06-01"


def test_an_unprivileged_reader_opens_it_from_a_read_only_folder() -> None:
    script = """
import os, sys
from pathlib import Path
import duckdb
from tests.publication_helpers import marker_of
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
root = Path(sys.argv[1])
for folder in (root, root / "versions"):
    try:
        (folder / "probe").touch()
    except PermissionError:
        pass
    else:
        sys.exit(f"{folder} is writable, so this proves nothing")
with duckdb.connect(root / "current.duckdb", read_only=True) as connection:
    print(marker_of(connection))
"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        store = PublicationStore(folder / "published")
        publish_marker(store, 7)
        before = files_of(store)
        for part in (store.root / "versions", store.root):
            part.chmod(0o555)
        try:
            process = start_python(script, store.root)
            output, errors = process.communicate()
        finally:
            for part in (store.root, store.root / "versions"):
                part.chmod(0o755)
        assert (process.returncode, output) == (0, "7\n"), errors
        assert files_of(store) == before
        assert not any(name.endswith(".wal") for name in before)


def test_order_of_versions_does_not_depend_on_the_clock(
    store: PublicationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BackwardClock(datetime):
        days = 0

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "BackwardClock":
            cls.days -= 400
            return cls(2024, 6, 1, tzinfo=tz) + timedelta(days=cls.days)

    monkeypatch.setattr(publication_module, "datetime", BackwardClock)
    published = [publish_marker(store, marker) for marker in range(3)]

    assert [p.version[:6] for p in published] == ["000001", "000002", "000003"]
    assert published[0].published_at > published[1].published_at > published[2].published_at
    assert store.versions() == published
    assert store.rollback() == published[1]


def test_a_rebuilt_old_day_is_a_newer_version(store: PublicationStore, warehouse: Path) -> None:
    publish_marker(store, 1)
    old_day = store.publish(warehouse, contents(warehouse), as_of_date=date(2019, 1, 31), source="sample")
    assert old_day.version == "000002-2019-01-31"
    assert store.current() == old_day


def test_a_number_beyond_six_digits_still_sorts(store: PublicationStore) -> None:
    (store.root / "versions").mkdir(parents=True)
    (store.root / "versions" / "999998-2024-06-01.duckdb").touch()

    published = [publish_marker(store, marker) for marker in range(3)]

    assert [p.version.split("-")[0] for p in published] == ["999999", "1000000", "1000001"]
    assert store.versions() == published
    assert store.rollback() == published[1]
    assert store.rollback() == published[0]


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "insert into core.orders select * from core.orders limit 1",
            "marts.orders .* has 51 rows",
        ),
        ("update marts.customer_360 set marker = 5 where customer_id = 3", "marts.customer_360"),
        ("alter table marts.kpi_daily alter marker type bigint", "marts.kpi_daily"),
        ("alter table marts.kpi_daily rename marker to mark", "marts.kpi_daily"),
        ("delete from marts.kpi_daily", "has 0 rows .* expected 3 rows"),
        ("drop table marts.kpi_daily", "lacks: kpi_daily"),
        ("create table marts.extra as select 1 as one", "no gate passed: extra"),
        ("create view marts.publication as select 1 as one", "Rename the model"),
    ],
)
def test_marts_that_are_not_what_the_gates_passed_are_refused(
    store: PublicationStore, warehouse: Path, change: str, message: str
) -> None:
    before = publish_marker(store, 1)
    expected = contents(warehouse)
    with duckdb.connect(warehouse) as connection:
        connection.execute(change)

    with pytest.raises(PublicationError, match=message):
        store.publish(warehouse, expected, as_of_date=DAY, source="sample")

    assert store.verify() == before
    assert store.versions() == [before]
    assert files_of(store) == files_expected_of(store)
    assert publish_marker(store, 2).version == "000002-2024-06-01"


def test_a_refusal_names_what_to_do(store: PublicationStore, warehouse: Path) -> None:
    expected = contents(warehouse) | {"orders": TableContent(49, "0" * 64)}
    with pytest.raises(PublicationError) as refusal:
        store.publish(warehouse, expected, as_of_date=DAY, source="sample")
    assert "marts.orders is not what the gates passed" in str(refusal.value)
    assert "50 rows" in str(refusal.value)
    assert "expected 49 rows with hash 000000000000" in str(refusal.value)
    assert "run the gates again" in str(refusal.value)
    assert store.current() is None


def test_nothing_to_publish_is_refused(store: PublicationStore, warehouse: Path) -> None:
    with pytest.raises(PublicationError, match="`expected` is empty"):
        store.publish(warehouse, {}, as_of_date=DAY, source="sample")
    assert store.current() is None


def test_a_missing_or_broken_warehouse_is_refused(store: PublicationStore, tmp_path: Path) -> None:
    expected = {"orders": TableContent(1, "0" * 64)}
    missing = tmp_path / "missing.duckdb"
    with pytest.raises(PublicationError, match=r"no warehouse at .*missing\.duckdb"):
        store.publish(missing, expected, as_of_date=DAY, source="sample")
    assert not missing.exists()

    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(b"not a database" * 1000)
    with pytest.raises(PublicationError, match=r"broken\.duckdb cannot be opened for reading"):
        store.publish(broken, expected, as_of_date=DAY, source="sample")
    assert store.current() is None


def test_a_warehouse_in_use_is_refused(store: PublicationStore, warehouse: Path) -> None:
    expected = contents(warehouse)
    with (
        duckdb.connect(warehouse),
        pytest.raises(PublicationError, match="Close every connection to it"),
    ):
        store.publish(warehouse, expected, as_of_date=DAY, source="sample")
    assert store.publish(warehouse, expected, as_of_date=DAY, source="sample") == store.current()


def test_wrong_arguments_are_refused(store: PublicationStore, warehouse: Path) -> None:
    with pytest.raises(ValueError, match="keep is 0, expected 1 or more"):
        PublicationStore(store.root, keep=0)
    with pytest.raises(TypeError, match="expected a date without time of day"):
        store.publish(warehouse, {}, as_of_date=datetime(2024, 6, 1, 12, tzinfo=UTC), source="x")


def test_a_current_that_is_not_a_link_is_left_alone(store: PublicationStore) -> None:
    store.root.mkdir(parents=True)
    current = store.root / "current.duckdb"
    current.write_text("somebody's file")
    for action in (store.current, store.verify, lambda: publish_marker(store, 1)):
        with pytest.raises(PublicationError, match=r"not a symlink to .* version.*Move it away"):
            action()
    assert current.read_text() == "somebody's file"
    current.unlink()
    assert publish_marker(store, 1) == store.current()


# Keeping, pruning, cleaning -----------------------------------------------------------------------


def test_the_newest_versions_are_kept(store: PublicationStore) -> None:
    published = [publish_marker(store, marker) for marker in range(6)]
    assert store.versions() == published[-3:]
    assert files_of(store) == files_expected_of(store)


def test_keep_one_keeps_current(tmp_path: Path) -> None:
    store = PublicationStore(tmp_path, keep=1)
    publish_marker(store, 1)
    published = publish_marker(store, 2)
    assert store.versions() == [published]
    assert published_marker(store) == 2


def test_publishing_numbers_on_after_a_rollback(store: PublicationStore) -> None:
    for marker in (1, 2, 3):
        publish_marker(store, marker)
    store.rollback("000001-2024-06-01")
    assert published_marker(store) == 1

    assert publish_marker(store, 4).version == "000004-2024-06-01"
    assert published_marker(store) == 4


def test_a_number_is_not_used_twice_when_a_file_was_deleted(store: PublicationStore) -> None:
    publish_marker(store, 1)
    version_file(store, publish_marker(store, 2)).unlink()
    assert publish_marker(store, 3).version == "000003-2024-06-01"


def test_what_cannot_be_pruned_stays_until_the_next_time(
    store: PublicationStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for marker in (1, 2, 3):
        publish_marker(store, marker)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == "000001-2024-06-01.duckdb":
            raise PermissionError(1, "Operation not permitted")
        original(path, missing_ok=missing_ok)

    original = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        assert publish_marker(store, 4) == store.current()
    assert len(store.versions()) == 4
    assert "000001-2024-06-01 is old but cannot be deleted" in caplog.text

    publish_marker(store, 5)
    assert [publication.version[:6] for publication in store.versions()] == [
        "000003",
        "000004",
        "000005",
    ]


def test_leftovers_are_cleaned_and_nothing_else(store: PublicationStore) -> None:
    publish_marker(store, 1)
    versions = store.root / "versions"
    leftovers = [
        store.root / ".current.duckdb",
        versions / ".000002-2024-06-01.building",
        versions / ".000002-2024-06-01.building.wal",
        versions / ".000002-2024-06-01.building.tmp" / "duckdb_temp_storage-0.tmp",
        versions / ".000002-2023-12-31.checking",
        versions / ".000002-2024-06-01.json",
        versions / "000009-2024-06-01.json",
    ]
    others = [versions / "README.md", versions / ".nfs0001", versions / "settings.json"]
    for path in leftovers + others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("text")

    published = publish_marker(store, 2)

    assert published.version == "000002-2024-06-01"
    assert all(path.read_text() == "text" for path in others)
    assert files_of(store) == files_expected_of(store) | {f"versions/{p.name}" for p in others}
    assert not any(path.is_dir() for path in versions.iterdir())


# Rollback -----------------------------------------------------------------------------------------


def test_rollback_goes_back_one_version_at_a_time(store: PublicationStore) -> None:
    published = [publish_marker(store, marker) for marker in (1, 2, 3)]

    assert store.rollback() == published[1] == store.current()
    assert published_marker(store) == 2
    assert store.rollback() == published[0]
    assert published_marker(store) == 1
    with pytest.raises(PublicationError) as refusal:
        store.rollback()

    assert "no intact version before 000001-2024-06-01" in str(refusal.value)
    for publication in published:
        assert publication.version in str(refusal.value)
    assert store.current() == published[0]
    assert store.versions() == published


def test_rollback_to_a_named_version_forth_and_back(store: PublicationStore) -> None:
    published = [publish_marker(store, marker) for marker in (1, 2, 3)]
    for target in (published[0], published[2], published[1], published[1]):
        assert store.rollback(target.version) == target == store.current()
    assert published_marker(store) == 2
    assert files_of(store) == files_expected_of(store)


@pytest.mark.parametrize("name", ["000009-2024-06-01", "", "../current", "000001"])
def test_rollback_to_an_unknown_version_lists_what_there_is(store: PublicationStore, name: str) -> None:
    published = publish_marker(store, 1)
    for action in (store.rollback, store.verify):
        with pytest.raises(PublicationError, match=r"no version .*Available: 000001-2024-06-01\."):
            action(name)
    assert store.current() == published


def test_rollback_when_the_current_file_is_gone(store: PublicationStore) -> None:
    first = publish_marker(store, 1)
    version_file(store, publish_marker(store, 2)).unlink()
    with pytest.raises(PublicationError, match="damaged: its file cannot be read"):
        store.current_file()
    assert store.rollback() == first
    assert published_marker(store) == 1


def test_rollback_by_name_when_the_link_is_gone(store: PublicationStore) -> None:
    first = publish_marker(store, 1)
    (store.root / "current.duckdb").unlink()
    with pytest.raises(PublicationError, match=f"roll back to a version by name: {first.version}"):
        store.rollback()
    assert store.rollback(first.version) == first
    assert published_marker(store) == 1


# Damage -------------------------------------------------------------------------------------------


def test_any_flipped_bit_of_the_file_is_found(store: PublicationStore) -> None:
    file = version_file(store, publish_marker(store, 1))
    intact = file.read_bytes()
    generator = random.Random(0)
    for _ in range(50):
        overwrite(file, flip_bit(intact, generator.randrange(len(intact)), generator.randrange(8)))
        for check in (store.verify, store.current_file):
            with pytest.raises(PublicationError, match=r"damaged: SHA-256 of .*`make rollback`"):
                check()
    overwrite(file, intact)
    store.verify()


def test_any_flipped_bit_of_the_description_is_found(store: PublicationStore) -> None:
    published = publish_marker(store, 1)
    description = version_file(store, published).with_suffix(".json")
    intact = description.read_bytes()
    for position in range(len(intact)):
        overwrite(description, flip_bit(intact, position, position % 8))
        with pytest.raises(PublicationError, match="damaged"):
            store.verify()
    overwrite(description, intact)
    assert store.verify() == published


def truncate(file: Path) -> None:
    overwrite(file, file.read_bytes()[:-4096])


def empty(file: Path) -> None:
    overwrite(file, b"")


def delete_description(file: Path) -> None:
    file.with_suffix(".json").unlink()


def empty_description(file: Path) -> None:
    overwrite(file.with_suffix(".json"), b"{}")


def swap_in_another_version(file: Path) -> None:
    for suffix in (".duckdb", ".json"):
        other = next(path for path in file.parent.glob(f"*{suffix}") if path.stem != file.stem)
        overwrite(file.with_suffix(suffix), other.read_bytes())


DAMAGES = [truncate, empty, delete_description, empty_description, swap_in_another_version]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_current_is_found_and_can_be_left(store: PublicationStore, damage: Callable[[Path], None]) -> None:
    first = publish_marker(store, 1)
    damaged = publish_marker(store, 2)
    damage(version_file(store, damaged))

    for check in (store.verify, store.current_file):
        with pytest.raises(PublicationError, match=f"{damaged.version} is damaged"):
            check()
    assert store.rollback() == first
    assert published_marker(store) == 1
    assert publish_marker(store, 3).version == "000003-2024-06-01"


@pytest.mark.parametrize("damage", DAMAGES)
def test_rollback_passes_over_a_damaged_version(
    store: PublicationStore,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    published = [publish_marker(store, marker) for marker in (1, 2, 3)]
    damage(version_file(store, published[1]))

    with pytest.raises(PublicationError, match=f"{published[1].version} is damaged"):
        store.rollback(published[1].version)
    assert store.current() == published[2]

    assert store.rollback() == published[0]
    assert f"{published[1].version} is damaged" in caplog.text
    with pytest.raises(PublicationError, match="no intact version before 000001"):
        store.rollback()


def test_rollback_says_when_only_damaged_versions_are_left(store: PublicationStore) -> None:
    truncate(version_file(store, publish_marker(store, 1)))
    current = publish_marker(store, 2)
    with pytest.raises(PublicationError, match=r"\(damaged: 000001-2024-06-01\)"):
        store.rollback()
    assert store.current() == current


def test_damage_does_not_stop_the_next_publication(store: PublicationStore) -> None:
    for marker in (1, 2):
        file = version_file(store, publish_marker(store, marker))
    delete_description(file)
    assert publish_marker(store, 3) == store.verify()
    shutil.rmtree(store.root)
    assert publish_marker(store, 4).version == "000001-2024-06-01"
