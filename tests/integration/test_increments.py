"""Facts that are kept by day: however loads come, split, late or twice, they are what one build of everything gives.

The real refresh takes a few loads; a state machine takes many, on tiny data, by the SQL that dbt compiled and ran.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import ClassVar
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


FACTS = ("base_complete_journey__transactions", "core_order_lines", "core_orders", "customer_days")
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


def dbt_run(home: Home, target: Path) -> None:
    """Builds the facts, and what they are built from, with dbt."""
    outcome = subprocess.run(
        [
            *(dbt_executable(), "run", "--select", *(f"+{name}" for name in FACTS)),
            *("--vars", dbt_vars(home.settings, home.source), "--threads", "1"),
            *("--target-path", str(target), "--log-path", str(target)),
        ],
        cwd=DBT_PROJECT_DIR,
        env={**os.environ, **home.settings.dbt_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.fixture(scope="module")
def steps(small_home: Home, tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """The models up to the facts, in the order of their building, as dbt compiles them: anew, then kept."""
    home = Home(tmp_path_factory.mktemp("steps") / "data", small_home.input)
    shutil.copytree(small_home.data, home.data, symlinks=True)
    nodes = home.manifest["nodes"]
    kept_relations = [relation_name(nodes[f"model.customer360.{name}"]) for name in FACTS]
    with duckdb.connect(str(home.settings.warehouse_path)) as connection:
        for relation in kept_relations:
            connection.execute(f"drop table {relation}")
    anew, kept = home.data / "anew", home.data / "kept"
    dbt_run(home, anew)
    dbt_run(home, kept)

    log = (kept / "dbt.log").read_text(encoding="utf-8")
    found = []
    for name in re.findall(r"Began executing node (model\.\S+)", log):
        path, kind = nodes[name]["original_file_path"], nodes[name]["config"]["materialized"]
        run = re.findall(rf"On {re.escape(name)}: /\*.*?\*/\s(.*?)\n\d\d:\d\d:\d\d\.\d+ \[", log, flags=re.DOTALL)
        hooks = [statement for statement in run if statement.strip().startswith("delete from")]
        assert len(hooks) == (kind == "incremental"), name
        built, rebuilt = (
            (target / "compiled" / "customer360" / path).read_text(encoding="utf-8") for target in (anew, kept)
        )
        assert (built != rebuilt) == (kind == "incremental"), name
        found.append(Step(relation_name(nodes[name]), kind == "view", built, rebuilt, "".join(hooks)))
    assert {step.relation for step in found if step.hook} == set(kept_relations)
    return found


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


@dataclass(frozen=True)
class Shop:
    """A tiny shop: files of order lines, and what a warehouse makes of them."""

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

    def contents(self) -> dict[str, str]:
        """Content hash of each table."""
        tables = [step.relation for step in self.steps if not step.is_view]
        return {table: table_content(self.connection, table).content_hash for table in tables}


class Loads(RuleBasedStateMachine):
    """Deliveries in any order; after a build all facts are those of a build from nothing, and of a plain model."""

    steps: ClassVar[list[Step]]
    groups: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.baskets: dict[int, Basket] = {}
        # Which lines stand in which file, in their order: a basket and a product.
        self.files: dict[str, list[tuple[int, int]]] = {}
        self.described: dict[int, str] = {}
        self.as_of = FIRST_DAY + timedelta(days=DAYS)
        self.shop = Shop(duckdb.connect(config={"threads": 1}), self.steps)
        self.shop.connection.execute(f"attach ':memory:' as warehouse; use warehouse; {RAW}")
        self.shop.connection.execute(f"create table features.department_groups as from read_csv('{self.groups}')")

    def teardown(self) -> None:
        """Closes the warehouse."""
        self.shop.connection.close()

    @initialize(sales=st.lists(SALES, min_size=2, max_size=6))
    def first_build(self, sales: list[Sale]) -> None:
        """Some baskets are there when the warehouse is made."""
        for sale in sales:
            self.sell(sale)
        self.deliver()
        self.shop.build(anew=True)

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

    @rule()
    def build(self) -> None:
        """What is kept is what a build from nothing gives, and what a plain model says."""
        self.deliver()
        self.shop.build(anew=False)
        kept = self.shop.contents()
        self.compare()
        self.shop.connection.execute("begin")
        self.shop.build(anew=True)
        anew = self.shop.contents()
        self.shop.connection.execute("rollback")
        assert kept == anew

    # Rules are chosen alike; this one makes a third of the steps builds.
    @rule()
    def build_again(self) -> None:
        """A build, as often as a sale."""
        self.build()

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
        connection = self.shop.connection
        connection.execute("delete from raw.transactions; delete from raw.products; delete from control.refresh")
        connection.execute("insert into control.refresh values (?)", [self.as_of])
        for table, values in (("transactions", rows), ("products", products)):
            if values:
                places = ", ".join("(" + ", ".join("?" * len(values[0])) + ")" for _ in values)
                connection.execute(f"insert into raw.{table} values {places}", [cell for row in values for cell in row])

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
        query = self.shop.connection.execute
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


def test_any_sequence_of_loads_gives_what_one_build_gives(steps: list[Step]) -> None:
    """Late, corrected, repeated, shuffled, withdrawn files and products described late, in any order."""
    Loads.steps, Loads.groups = steps, DBT_PROJECT_DIR / "seeds" / "department_groups.csv"
    run_state_machine_as_test(
        Loads,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=8,
            deadline=None,
            derandomize=not EXHAUSTIVE,
            suppress_health_check=list(HealthCheck),
        ),
    )
