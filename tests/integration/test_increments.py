"""What is kept by day or file: however loads come, split, late or twice, it is what one build of everything gives.

The real refresh takes a few loads; state machines take many, on tiny data, by the SQL that dbt compiled and ran: one
sells in the sample's shop, up to the facts; one delivers files of the contract, up to its folded rows.
"""

import os
import re
import shutil
import subprocess
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from orchestration.checks.dbt_tests import relation_name
from orchestration.content_hash import table_content
from orchestration.dbt_project import dbt_executable, dbt_vars
from orchestration.settings import DBT_PROJECT_DIR
from tests.pipeline import EXHAUSTIVE, HISTORY_TABLES, Home, rewrite

SEQUENCES = 2000 if EXHAUSTIVE else 200


@pytest.mark.exhaustive
def test_a_year_in_many_loads_is_the_year_in_one(small_input: Path, tmp_path: Path) -> None:
    """The last week comes late, shuffled, twice; an older day too; a line is corrected, a product described at last."""
    split = shutil.copytree(small_input, tmp_path / "split")
    whole = f"(select * from '{small_input / 'transactions.parquet'}')"
    is_late, is_last_week = "transaction_timestamp::date = date '2017-06-14'", "transaction_timestamp >= '2017-12-25'"
    line = f"(basket_id, product_id) = (select min((basket_id, product_id)) from {whole})"
    product = f"(select min(product_id) from (select product_id from {whole} group by all having count(*) = 5))"
    rewrite(
        split,
        "transactions",
        f"select * replace (case when {line} then sales_value + 1 else sales_value end as sales_value) from rows"
        f" where not ({is_late} or {is_last_week})",
    )
    rewrite(split, "products", f"select * from rows where product_id != {product}")
    home = Home(tmp_path / "home", split)
    first = home.refresh()
    assert first.returncode == 0, first.stdout + first.stderr

    rewrite(
        split,
        "transactions",
        f"select * replace (case when {line} then sales_value - 1 else sales_value end as sales_value) from rows"
        f" union all (select * from {whole} where {is_late})"
        f" union all (select whole.* from {whole} as whole, range(2) as copies (copy)"
        f" where {is_last_week} order by hash(product_id, copy))",
    )
    shutil.copyfile(small_input / "products.parquet", split / "products.parquet")
    second = home.refresh()
    assert second.returncode == 0, second.stdout + second.stderr

    at_once = Home(tmp_path / "at_once", small_input)
    outcome = at_once.refresh()
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    expected, found = at_once.published_hashes(), home.published_hashes()
    assert {name: value for name, value in found.items() if name not in HISTORY_TABLES} == {
        name: value for name, value in expected.items() if name not in HISTORY_TABLES
    }
    kept = [home.manifest["nodes"][f"model.customer360.{name}"] for name in FACTS]
    for relation in (relation_name(node) for node in kept if node["schema"] != "staging"):
        assert content(home, relation) == content(at_once, relation), relation


def content(home: Home, relation: str) -> str:
    """Content hash of a table of the working warehouse."""
    with duckdb.connect(str(home.settings.warehouse_path), read_only=True) as connection:
        return table_content(connection, relation).content_hash


FACTS = (
    *("base_complete_journey__transactions", "stg_complete_journey__orders", "core_order_lines", "core_orders"),
    *("customer_days", "order_products", "product_days"),
)
FIRST_DAY = date(2017, 3, 10)  # the clocks go forward in New York two days later
DAYS = 5
LOADED_AT = datetime(2018, 1, 1)
CUSTOMERS, BASKETS, PRODUCTS = st.integers(1, 3), st.integers(1, 7), st.integers(1, 4)
# Six hours apart, so that both sides of either midnight occur; NULL goes to quarantine.
HOURS = st.one_of(st.integers(0, 4 * DAYS).map(lambda quarter: quarter * 6 + 4), st.none())
AMOUNTS = st.sampled_from([(1, 150), (2, 300), (0, 0), (-1, -150), (1, 0), (0, 125)])
FILES = st.sampled_from(["a.parquet", "b.parquet", "c.parquet"])
RANDOM = st.randoms(use_true_random=False)
# A basket, its customer and hour, its products, and the file that it comes in.
Sale = tuple[int, int, int | None, dict[int, tuple[int, int]], str]
SALES = st.tuples(BASKETS, CUSTOMERS, HOURS, st.dictionaries(PRODUCTS, AMOUNTS, min_size=1), FILES)


@dataclass(frozen=True)
class Step:
    """One model: where it stands, and its SQL when it is built from nothing and when it is kept."""

    relation: str
    is_view: bool
    anew: str
    kept: str
    hook: str


def dbt_run(home: Home, target: Path, kept: Sequence[str]) -> None:
    """Builds what is kept, and what it is built from, with dbt."""
    outcome = subprocess.run(
        [
            *(dbt_executable(), "run", "--select", *(f"+{name}" for name in kept)),
            *("--vars", dbt_vars(home.settings, home.source), "--threads", "1"),
            *("--target-path", str(target), "--log-path", str(target), "--log-level-file", "debug"),
        ],
        cwd=DBT_PROJECT_DIR,
        env={**os.environ, **home.settings.dbt_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def compiled_steps(built_home: Home, kept: Sequence[str], data: Path) -> list[Step]:
    """The models up to the kept ones, in the order of their building, as dbt compiles them: anew, then kept."""
    home = replace(built_home, data=data)
    shutil.copytree(built_home.data, home.data, symlinks=True)
    nodes = home.manifest["nodes"]
    kept_relations = [relation_name(nodes[f"model.customer360.{name}"]) for name in kept]
    with duckdb.connect(str(home.settings.warehouse_path)) as connection:
        for relation in kept_relations:
            connection.execute(f"drop table {relation}")
    first, second = home.data / "anew", home.data / "kept"
    dbt_run(home, first, kept)
    dbt_run(home, second, kept)

    log = (second / "dbt.log").read_text(encoding="utf-8")
    found = []
    for name in re.findall(r"Began executing node (model\.\S+)", log):
        path, kind = nodes[name]["original_file_path"], nodes[name]["config"]["materialized"]
        run = re.findall(rf"On {re.escape(name)}: /\*.*?\*/\s(.*?)\n\d\d:\d\d:\d\d\.\d+ \[", log, flags=re.DOTALL)
        hooks = [statement for statement in run if statement.strip().startswith(("delete from", "set variable"))]
        assert bool(hooks) == (kind == "incremental"), name
        built, rebuilt = (
            (target / "compiled" / "customer360" / path).read_text(encoding="utf-8") for target in (first, second)
        )
        assert (built != rebuilt) == (kind == "incremental"), name
        found.append(Step(relation_name(nodes[name]), kind == "view", built, rebuilt, "; ".join(hooks)))
    assert {step.relation for step in found if step.hook} == set(kept_relations)
    return found


@dataclass(frozen=True)
class Warehouse:
    """A tiny warehouse: raw tables, and what is made of them."""

    connection: duckdb.DuckDBPyConnection
    steps: list[Step]

    def build(self, *, anew: bool) -> None:
        """Builds every table from nothing, or keeps what dbt would keep."""
        for step in self.steps:
            if step.is_view and not anew:
                continue
            if anew or not step.hook:
                kind = "view" if step.is_view else "table"
                self.connection.execute(f"create or replace {kind} {step.relation} as {step.anew}")
            else:
                self.connection.execute(f"begin; {step.hook}; create or replace temp table more as {step.kept}")
                self.connection.execute(f"insert into {step.relation} by name from more; commit")

    def insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds rows to a table."""
        if rows:
            places = ", ".join("(" + ", ".join("?" * len(rows[0])) + ")" for _ in rows)
            self.connection.execute(f"insert into {table} values {places}", [cell for row in rows for cell in row])

    def contents(self) -> dict[str, str]:
        """Content hash of each table."""
        tables = [step.relation for step in self.steps if not step.is_view]
        return {table: table_content(self.connection, table).content_hash for table in tables}


class Builds(RuleBasedStateMachine):
    """Deliveries in any order; after a build all tables are those of a build from nothing, and of a plain model."""

    steps: ClassVar[list[Step]]
    prepared: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.warehouse = Warehouse(duckdb.connect(config={"threads": 1}), self.steps)
        self.warehouse.connection.execute(f"attach ':memory:' as warehouse; use warehouse; {self.prepared}")

    def teardown(self) -> None:
        """Closes the warehouse."""
        self.warehouse.connection.close()

    @rule()
    def build(self) -> None:
        """What is kept is what a build from nothing gives, and what a plain model says."""
        self.deliver()
        self.warehouse.build(anew=False)
        kept = self.warehouse.contents()
        self.compare()
        self.warehouse.connection.execute("begin")
        self.warehouse.build(anew=True)
        anew = self.warehouse.contents()
        self.warehouse.connection.execute("rollback")
        assert kept == anew

    # Rules are chosen alike; this one makes a third of the steps builds.
    @rule()
    def build_again(self) -> None:
        """A build, as often as a sale."""
        self.build()

    @abstractmethod
    def deliver(self) -> None:
        """Shows what is in force to the warehouse."""

    @abstractmethod
    def compare(self) -> None:
        """Compares the tables with a plain model."""


def run_any_sequence(machine: type[Builds]) -> None:
    """Runs a state machine: always the same sequences, or as many others as there is time for."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=8,
            deadline=None,
            derandomize=not EXHAUSTIVE,
            suppress_health_check=list(HealthCheck),
        ),
    )


RAW = """
    create schema raw; create schema staging; create schema core; create schema features; create schema control;
    create table control.refresh (as_of_date date);
    create table raw.transactions (
        household_id bigint, store_id bigint, basket_id bigint, product_id bigint, quantity bigint, sales_value double,
        retail_disc double, coupon_disc double, coupon_match_disc double, week bigint, transaction_timestamp timestamp,
        _source_file varchar, _row_number bigint, _load_id varchar, _loaded_at timestamp
    );
    create table raw.products (
        product_id bigint, manufacturer_id bigint, department varchar, brand varchar, product_category varchar,
        product_type varchar, package_size varchar,
        _source_file varchar, _row_number bigint, _load_id varchar, _loaded_at timestamp
    );
"""


@dataclass
class Basket:
    """An order as the shop knows it: who, when, and of each product how many and for how many cents."""

    customer: int
    ordered_at: datetime | None
    lines: dict[int, tuple[int, int]]


class Sales(Builds):
    """A shop that sells: its facts."""

    def __init__(self) -> None:
        super().__init__()
        self.baskets: dict[int, Basket] = {}
        # Which lines stand in which file, in their order: a basket and a product.
        self.files: dict[str, list[tuple[int, int]]] = {}
        self.described: dict[int, str] = {}
        self.as_of = FIRST_DAY + timedelta(days=DAYS)

    @initialize(sales=st.lists(SALES, min_size=2, max_size=6))
    def first_build(self, sales: list[Sale]) -> None:
        """Some baskets are there when the warehouse is made."""
        for sale in sales:
            self.sell(sale)
        self.deliver()
        self.warehouse.build(anew=True)

    @rule(sale=SALES)
    def deliver_sale(self, sale: Sale) -> None:
        """A basket comes in some file, also late; or one that is there is corrected wherever it stands."""
        self.sell(sale)

    def sell(self, sale: Sale) -> None:
        """Adds a basket's lines to a file."""
        basket, customer, hours, products, file = sale
        ordered_at = None if hours is None else datetime.combine(FIRST_DAY, time()) + timedelta(hours=hours)
        known = self.baskets.get(basket)
        self.baskets[basket] = Basket(customer, ordered_at, {**(known.lines if known else {}), **products})
        self.files.setdefault(file, []).extend((basket, product) for product in products)

    @rule(file=FILES, other=FILES, how=st.sampled_from(["again", "without rows", "shuffled"]), random=RANDOM)
    def redeliver(self, file: str, other: str, how: str, random: Random) -> None:
        """A file is delivered again under its name or another one, or replaced without rows or shuffled."""
        if how == "again":
            self.files.setdefault(other, []).extend(self.files.get(file, []))
        elif how == "without rows":
            self.files.pop(file, None)
        else:
            random.shuffle(self.files.get(file, []))

    @rule(product=PRODUCTS, kind=st.sampled_from(["GROCERY", "PRODUCE", "GASOLINE", None]))
    def describe(self, product: int, kind: str | None) -> None:
        """A product is described, otherwise than before or not any more."""
        if kind is None:
            self.described.pop(product, None)
        else:
            self.described[product] = kind

    @rule(days=st.integers(1, DAYS + 1))
    def turn_to(self, days: int) -> None:
        """Another day is refreshed, also an older one."""
        self.as_of = FIRST_DAY + timedelta(days=days)

    def deliver(self) -> None:
        """Shows the files in force to the warehouse."""
        rows, products = [], []
        for file, lines in self.files.items():
            for number, (basket, product) in enumerate(lines, start=1):
                sold = self.baskets[basket]
                quantity, cents = sold.lines[product]
                rows.append(
                    (
                        *(sold.customer, 1, basket, product, quantity, cents / 100, 0.0, 0.0, 0.0, 1, sold.ordered_at),
                        *(file, number, "load", LOADED_AT),
                    )
                )
        for number, (product, kind) in enumerate(sorted(self.described.items()), start=1):
            department = "FUEL" if kind == "GASOLINE" else kind
            products.append(
                (product, 1, department, "National", kind, kind, None, "products", number, "load", LOADED_AT)
            )
        self.warehouse.connection.execute(
            "delete from raw.transactions; delete from raw.products; delete from control.refresh"
        )
        self.warehouse.insert("control.refresh", [(self.as_of,)])
        self.warehouse.insert("raw.transactions", rows)
        self.warehouse.insert("raw.products", products)

    def compare(self) -> None:
        """The facts against a plain model: sets of lines, and each customer's orders in the order of their time."""
        delivered = {line for lines in self.files.values() for line in lines if self.baskets[line[0]].ordered_at}
        expected = set()
        for basket, product in delivered:
            sold = self.baskets[basket]
            assert sold.ordered_at is not None
            known = str(product) if product in self.described else "unknown"
            quantity, cents = sold.lines[product]
            units = quantity if quantity and self.described.get(product) != "GASOLINE" else None
            amount = (Decimal(quantity), None if units is None else Decimal(units), Decimal(cents) / 100)
            expected.add((str(basket), str(sold.customer), known, str(product), *amount, day_of(sold.ordered_at)))
        query = self.warehouse.connection.execute
        columns = "order_id, customer_id, product_id, source_product_id, quantity, units, net_sales, order_date"
        lines = query(f"select {columns} from core.order_lines").fetchall()
        assert len(lines) == len(expected)
        assert set(lines) == expected

        numbered, visits = set(), set()
        for customer in {self.baskets[basket].customer for basket, _ in delivered}:
            baskets = {basket for basket, _ in delivered if self.baskets[basket].customer == customer}
            ordered = sorted(baskets, key=lambda basket: (self.baskets[basket].ordered_at, str(basket)))
            days = [day_of(self.baskets[basket].ordered_at) for basket in ordered]
            numbered |= {
                (str(basket), str(customer), number, days[0].replace(day=1), day)
                for number, (basket, day) in enumerate(zip(ordered, days, strict=True), start=1)
            }
            seen = sorted({day for day in days if day < self.as_of})
            gaps = [None, *((day - before).days for before, day in pairwise(seen))]
            visits |= {
                (str(customer), day, number, gap)
                for number, (day, gap) in enumerate(zip(seen, gaps, strict=False), start=1)
            }
        columns = "order_id, customer_id, customer_order_seq_number, cohort_month, order_date"
        assert set(query(f"select {columns} from core.orders").fetchall()) == numbered
        columns = "customer_id, order_date, visit_number, gap_days"
        assert set(query(f"select {columns} from features.customer_days").fetchall()) == visits


def day_of(ordered_at: datetime | None) -> date:
    """The business day of a time in UTC."""
    assert ordered_at is not None
    return ordered_at.replace(tzinfo=UTC).astimezone(ZoneInfo("America/New_York")).date()


def test_any_sequence_of_loads_gives_what_one_build_gives(small_home: Home, tmp_path: Path) -> None:
    """Late, corrected, repeated, shuffled, withdrawn files and products described late, in any order."""
    Sales.steps = compiled_steps(small_home, FACTS, tmp_path / "data")
    groups = DBT_PROJECT_DIR / "seeds" / "department_groups.csv"
    Sales.prepared = f"{RAW}; create table features.department_groups as from read_csv('{groups}')"
    run_any_sequence(Sales)


# What is kept of the contract's large tables: file by file, orders and their lines then by the order's day.
KEPT_OF_CONTRACT = tuple(
    f"base_contract__{name}"
    for name in ("typed_orders", "typed_order_lines", "orders", "order_lines", "product_promotions")
)
RAW_CONTRACT = """
    create schema raw; create schema staging;
    create table raw.orders (
        order_id varchar, customer_id varchar, ordered_at varchar, status varchar, channel varchar, store_id varchar,
        currency varchar, _source_file varchar, _row_number bigint, _load_id varchar, _loaded_at timestamp
    );
    create table raw.order_lines (
        order_id varchar, product_id varchar, quantity varchar, net_sales varchar, order_line_id varchar,
        unit_price varchar, gross_sales varchar, discounts varchar, coupon_discounts varchar,
        _source_file varchar, _row_number bigint, _load_id varchar, _loaded_at timestamp
    );
    create table raw.product_promotions (
        product_id varchar, period_start varchar, store_id varchar, display varchar, mailer varchar, period_end varchar,
        _source_file varchar, _row_number bigint, _load_id varchar, _loaded_at timestamp
    );
"""
# Columns that no row of these tables fills.
EMPTY_COLUMNS = {"orders": 4, "order_lines": 5, "product_promotions": 4}
ORDERS = st.sampled_from(["o1", "o2", None])
# An order may be later than the load that it comes with, and not than the next.
TIMES = st.sampled_from([*(f"2017-03-{day} 08:00:00" for day in (10, 11, 12)), "someday", None])
# As text the cent is rounded up, as floating point it is a little less than half of one.
NET_SALES = {
    "1.50": (Decimal("1.50"), Decimal("1.50")),
    "1.005": (Decimal("1.01"), Decimal("1.00")),
    "free": (None, None),
}
Row = tuple[str | None, ...]
ORDER_ROWS = st.tuples(ORDERS, st.sampled_from(["c1", "c2"]), TIMES)
LINE_ROWS = st.tuples(
    ORDERS, st.sampled_from(["p1", "p2"]), st.sampled_from(["1", "-1"]), st.sampled_from([*NET_SALES])
)
PROMOTION_ROWS = st.tuples(st.sampled_from(["p1", "p2", None]), st.sampled_from(["2017-03-10", "March", None]))
TABLES = st.sampled_from([*EMPTY_COLUMNS])
NAMES = st.sampled_from(["a", "b", "c"])


@dataclass(frozen=True)
class Delivered:
    """A file in force: its rows, whether amounts are numbers in it, and the load that it came with."""

    rows: tuple[Row, ...]
    is_typed: bool
    load: int


def loaded_at(load: int) -> datetime:
    """The time of a load: there is one a day, at noon."""
    return datetime(2017, 3, 10, 12) + timedelta(days=load)


class Deliveries(Builds):
    """A company that delivers orders, their lines and promotions in files: every row of them, typed, folded, judged."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[tuple[str, str], Delivered] = {}
        self.loads = 0

    @property
    def is_typed(self) -> bool:
        """Whether amounts are shown as numbers: all files agree on it, else all are text."""
        return all(file.is_typed for (table, _), file in self.files.items() if table == "order_lines")

    @initialize(orders=st.lists(ORDER_ROWS, min_size=1, max_size=4), lines=st.lists(LINE_ROWS, min_size=1, max_size=4))
    def first_build(self, orders: list[Row], lines: list[Row]) -> None:
        """Some orders are there when the warehouse is made."""
        self.land("orders", "a", orders)
        self.land("order_lines", "a", lines, is_typed=True)
        self.deliver()
        self.warehouse.build(anew=True)

    def rows(self, table: str, name: str) -> tuple[Row, ...]:
        """The rows of a file in force."""
        return self.files[table, name].rows if (table, name) in self.files else ()

    def land(self, table: str, name: str, rows: Sequence[Row], *, is_typed: bool | None = None) -> None:
        """Lands a file, of the same type as before if none is told; one that is there already changes nothing."""
        known = self.files.get((table, name))
        if is_typed is None:
            is_typed = known is not None and known.is_typed
        if known is None or (known.rows, known.is_typed) != (tuple(rows), is_typed):
            self.loads += 1
            self.files[table, name] = Delivered(tuple(rows), is_typed, self.loads)

    @rule(name=NAMES, rows=st.lists(ORDER_ROWS, min_size=1, max_size=3), is_longer=st.booleans())
    def deliver_orders(self, name: str, rows: list[Row], is_longer: bool) -> None:
        """Orders come in a file: instead of its rows or in addition, also after their lines or a second time."""
        self.land("orders", name, [*(self.rows("orders", name) if is_longer else ()), *rows])

    @rule(name=NAMES, rows=st.lists(LINE_ROWS, min_size=1, max_size=3), is_longer=st.booleans(), is_typed=st.booleans())
    def deliver_lines(self, name: str, rows: list[Row], is_longer: bool, is_typed: bool) -> None:
        """The same of lines, also before their orders, in CSV or as Parquet has them."""
        known = self.rows("order_lines", name) if is_longer else ()
        self.land("order_lines", name, [*known, *rows], is_typed=is_typed)

    @rule(name=NAMES, rows=st.lists(PROMOTION_ROWS, min_size=1, max_size=3), is_longer=st.booleans())
    def deliver_promotions(self, name: str, rows: list[Row], is_longer: bool) -> None:
        """Promotions, of which equal rows stay as many as they are."""
        known = self.rows("product_promotions", name) if is_longer else ()
        self.land("product_promotions", name, [*known, *rows])

    @rule(
        table=TABLES,
        name=NAMES,
        other=NAMES,
        how=st.sampled_from(["again", "moved", "withdrawn", "shuffled"]),
        random=RANDOM,
    )
    def redeliver(self, table: str, name: str, other: str, how: str, random: Random) -> None:
        """Rows come again in another file, move there, are withdrawn, or stand in another order."""
        rows = list(self.rows(table, name))
        if how in ("again", "moved"):
            self.land(table, other, [*self.rows(table, other), *rows])
        if how in ("moved", "withdrawn"):
            self.land(table, name, [])
        if how == "shuffled":
            random.shuffle(rows)
            self.land(table, name, rows)

    def deliver(self) -> None:
        """Shows the files in force to the warehouse."""
        kind = "double" if self.is_typed else "varchar"
        self.warehouse.connection.execute(
            "".join(f"delete from raw.{table}; " for table in EMPTY_COLUMNS)
            + f"alter table raw.order_lines alter net_sales type {kind} using null"
        )
        rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in EMPTY_COLUMNS}
        for (table, name), file in self.files.items():
            audit = (f"load {file.load}", loaded_at(file.load))
            rows[table] += [
                (*self.shown(row), *[None] * EMPTY_COLUMNS[table], f"{table}/{name}", number, *audit)
                for number, row in enumerate(file.rows, start=2)
            ]
        for table, values in rows.items():
            self.warehouse.insert(f"raw.{table}", values)

    def shown(self, row: Row) -> Row:
        """A row as the raw view shows it: where amounts are numbers, there is none for what is no number."""
        return tuple(None if self.is_typed and cell == "free" else cell for cell in row)

    def judged_order(self, row: Row, load: int) -> tuple[tuple[Any, ...], str | None]:
        """An order's values and its reason for rejection."""
        order, customer, text = row
        time = None if text in (None, "someday") else datetime.fromisoformat(str(text))
        reason = None
        if order is None:
            reason = "order_id is missing"
        elif time is None:
            reason = "ordered_at is not a time" if text else "ordered_at is missing"
        elif time > loaded_at(load):
            reason = "ordered_at is later than the load"
        return (order, customer, time), reason

    def judged_line(self, row: Row, accepted: set[str]) -> tuple[tuple[Any, ...], str | None]:
        """The same of a line."""
        order, product, quantity, text = row
        net_sales = NET_SALES[str(text)][self.is_typed]
        reason = None
        if order is None:
            reason = "order_id is missing"
        elif net_sales is None:
            reason = "net_sales is missing" if self.is_typed else "net_sales is not an amount"
        elif quantity == "-1":
            reason = "quantity and net_sales have opposite signs"
        elif order not in accepted:
            reason = "order_id is not in orders, or its order is in quarantine"
        return (order, product, Decimal(str(quantity)), net_sales), reason

    @staticmethod
    def judged_promotion(row: Row) -> tuple[tuple[Any, ...], str | None]:
        """The same of a promotion."""
        product, text = row
        start = None if text in (None, "March") else date.fromisoformat(str(text))
        if product is None:
            return (product, start), "product_id is missing"
        if start is None:
            return (product, start), "period_start is not a day" if text else "period_start is missing"
        return (product, start), None

    def compare(self) -> None:
        """Every row that landed is in one that is accepted or rejected: values, reason, where it stands, copies."""
        delivered = [
            (table, f"{table}/{name}", number, row, file.load)
            for (table, name), file in self.files.items()
            for number, row in enumerate(file.rows, start=2)
        ]
        orders = [
            (*self.judged_order(row, load), file, number)
            for table, file, number, row, load in delivered
            if table == "orders"
        ]
        accepted = {str(values[0]) for values, reason, *_ in orders if reason is None}
        lines = [
            (*self.judged_line(row, accepted), file, number)
            for table, file, number, row, _ in delivered
            if table == "order_lines"
        ]
        for table, columns, judged in (
            ("orders", "order_id, customer_id, ordered_at", orders),
            ("order_lines", "order_id, product_id, quantity, net_sales", lines),
        ):
            found = self.warehouse.connection.execute(
                f"select {columns}, reject_reason, _source_file, _row_number, copies"
                f" from staging.base_contract__{table}"
            ).fetchall()
            assert Counter(found) == Counter(folded(judged))
            assert sum(row[-1] for row in found) == len(judged)
        found = self.warehouse.connection.execute(
            "select product_id, period_start, reject_reason, _source_file, _row_number, copies"
            " from staging.base_contract__product_promotions"
        ).fetchall()
        promotions = [
            (values, reason, file, number)
            for table, file, number, row, _ in delivered
            if table == "product_promotions"
            for values, reason in [self.judged_promotion(row)]
        ]
        assert Counter(found) == Counter(
            (*values, reason, file, number, 1) for values, reason, file, number in promotions
        )


def folded(judged: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows that are accepted and equal are one; each is values, reason, file and number."""
    copies: dict[tuple[Any, ...], list[tuple[str, int]]] = {}
    for values, reason, file, number in judged:
        alone = (file, number) if reason else None
        copies.setdefault((values, reason, alone), []).append((file, number))
    return [
        (*values, reason, min(file for file, _ in places), min(number for _, number in places), len(places))
        for (values, reason, _), places in copies.items()
    ]


def test_any_sequence_of_the_contracts_files_gives_what_one_build_gives(contract_home: Home, tmp_path: Path) -> None:
    """Late, corrected, repeated, moved, withdrawn files; lines before their orders; amounts as text and typed."""
    Deliveries.steps = compiled_steps(contract_home, KEPT_OF_CONTRACT, tmp_path / "data")
    Deliveries.prepared = RAW_CONTRACT
    run_any_sequence(Deliveries)
