"""Warehouses whose every row carries one marker, and what is needed to publish and read them."""

import subprocess
import sys
import tempfile
from datetime import date
from functools import cache
from pathlib import Path

import duckdb

from orchestration.content_hash import TableContent, table_content
from orchestration.resources.publication import Publication, PublicationStore

PROJECT = Path(__file__).parent.parent
MARTS = ("customer_360", "kpi_daily", "orders")
DAY = date(2024, 6, 1)


def make_warehouse(path: Path, marker: int, rows: int = 50) -> Path:
    """A warehouse with two tables and a view in `marts`; each of their rows carries `marker`."""
    path.unlink(missing_ok=True)
    with duckdb.connect(path) as connection:
        connection.execute(
            f"""
            create schema core;
            create schema marts;
            create table core.orders as
                select (range * 7919) % {rows} as order_id, {marker} as marker,
                    (range / 4)::decimal(18, 2) as net_sales, date '2024-01-01' + (range % 7)::integer as order_date
                from range({rows});
            create view marts.orders as select * from {path.stem}.core.orders;
            create table marts.customer_360 as
                select order_id as customer_id, marker from core.orders;
            create table marts.kpi_daily as
                select date '2024-01-01' + range::integer as day, {marker} as marker from range(3);
            comment on view marts.orders is 'One row per order.';
            comment on column marts.orders.net_sales is 'What the customer''s order came to.';
            comment on table marts.customer_360 is 'One row per customer; "quoted".';
            comment on column marts.customer_360.customer_id is 'The customer.';
            """
        )
    return path


def contents(file: Path) -> dict[str, TableContent]:
    """The content of each of the marts in a DuckDB file."""
    with duckdb.connect(file, read_only=True) as connection:
        return {name: table_content(connection, f"marts.{name}") for name in MARTS}


@cache
def _warehouses() -> tempfile.TemporaryDirectory[str]:
    """Made where it is used: a process that is killed leaves its folder behind."""
    return tempfile.TemporaryDirectory()


@cache
def warehouse_with(marker: int) -> tuple[Path, dict[str, TableContent]]:
    """A warehouse whose rows carry `marker`, and its content; made once, only to be read."""
    warehouse = Path(_warehouses().name) / f"warehouse_{marker}.duckdb"
    return make_warehouse(warehouse, marker), contents(warehouse)


def publish_marker(store: PublicationStore, marker: int) -> Publication:
    """Publish rows that carry `marker`; check that exactly they are published."""
    warehouse, expected = warehouse_with(marker)
    publication = store.publish(warehouse, expected, as_of_date=DAY, source="sample")
    assert contents(store.current_file()) == expected
    return publication


def published_marker(store: PublicationStore) -> int:
    """The one marker of all rows of all tables of the current version, which has to be intact."""
    with duckdb.connect(store.current_file(), read_only=True) as connection:
        return marker_of(connection)


def marker_of(connection: duckdb.DuckDBPyConnection) -> int:
    """The one marker of all rows of all tables; checks that `marts.publication` agrees."""
    markers = set()
    for name in MARTS:
        markers |= set(connection.execute(f"select distinct marker from marts.{name}").fetchall())
    published = connection.execute("select table_name, row_count, content_hash from marts.publication").fetchall()
    assert {name: TableContent(*content) for name, *content in published} == {
        name: table_content(connection, f"marts.{name}") for name in MARTS
    }
    assert len(markers) == 1, f"tables of several versions: {markers}"
    return int(markers.pop()[0])


def files_of(store: PublicationStore) -> set[str]:
    """Names of all files of the store, relative to its folder."""
    return {str(path.relative_to(store.root)) for path in store.root.rglob("*") if not path.is_dir()}


def files_expected_of(store: PublicationStore) -> set[str]:
    """Names of the files that the store's versions account for: anything else is a leftover."""
    return {".lock", "current.duckdb"} | {
        f"versions/{publication.version}.{suffix}" for publication in store.versions() for suffix in ("duckdb", "json")
    }


def start_python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process of its own on a Python script that can import this project."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
