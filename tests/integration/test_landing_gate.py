"""Gate 1 on files, without dbt: the smallest fault of each kind trips its rule, and good files pass.

Also the catalogue of what publication asks for: every check of every gate, none missing.
"""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from orchestration.assets.publication import required_checks
from orchestration.checks.expectations import GUARDS
from orchestration.checks.features import features_suites
from orchestration.checks.landing import check_raw_table, landing_suites, profile_raw_table
from orchestration.checks.marts import marts_suites
from orchestration.checks.monitoring import monitoring_suites
from orchestration.checks.records import CheckResult, record
from orchestration.checks.scores import SUITES as SCORES_SUITES
from orchestration.landing import (
    in_force,
    land,
    raw_content_hash,
    raw_view_sql,
    read_ledger,
    resolve_as_of,
    tables_in_force,
)
from orchestration.resources.warehouse import Warehouse
from orchestration.settings import load_settings
from orchestration.sources import Source, load_source
from tests.pipeline import Home, rewrite

SOURCE = load_source("complete_journey")
SETTINGS = load_settings()
SMALL_TABLES = [table.name for table in SOURCE.tables if table.name != "promotions"]


class Gate:
    """Gate 1 on a folder of files: each check lands the files as they then are, as a refresh does."""

    def __init__(self, input_dir: Path, home: Path, source: Source = SOURCE) -> None:
        self.source = source
        self.input = input_dir
        self.raw = home / "raw"
        self.warehouse = Warehouse(
            path=str(home / "warehouse.duckdb"),
            duckdb_config={},
            lock_timeout_seconds=0,
            scores_dir=str(home / "scores"),
        )
        self.as_of_date = resolve_as_of(source, input_dir, None)
        self.runs = 0

    def check(self, table: str, as_of_date: date | None = None) -> list[CheckResult]:
        """Lands one table, checks it, and records what was found."""
        source = replace(self.source, tables=tuple(given for given in self.source.tables if given.name == table))
        land(source, self.input, self.raw)
        ledger = tables_in_force(source, self.raw)
        self.warehouse.show_raw(source, ledger, self.raw)
        content_hash = raw_content_hash(ledger[table])
        self.runs += 1
        with self.warehouse.connect() as connection:
            day = as_of_date or self.as_of_date
            whole = profile_raw_table(connection, source, source.tables[0], SETTINGS, day)
            results = check_raw_table(connection, source, source.tables[0], SETTINGS, day, ledger[table])
            # What is kept of files that were counted before makes no difference.
            kept = profile_raw_table(connection, source, source.tables[0], SETTINGS, day, ledger[table])
            pd.testing.assert_frame_equal(kept.table, whole.table)
            pd.testing.assert_frame_equal(kept.columns, whole.columns)
            record(connection, results, run_id=f"run {self.runs}", as_of_date=day)
        assert {result.content_hash for result in results} == {content_hash}
        return results


@pytest.fixture
def gate(small_input: Path, tmp_path: Path) -> Gate:
    """Gate 1 on input files of its own, links to the shared ones until a test replaces one."""
    folder = tmp_path / "input"
    folder.mkdir()
    for path in small_input.iterdir():
        (folder / path.name).symlink_to(path)
    return Gate(folder, tmp_path)


def broken(results: list[CheckResult]) -> dict[str, str]:
    """Message of each broken rule."""
    return {result.check_name: str(result.message) for result in results if not result.passed}


@pytest.mark.parametrize("table", [table.name for table in SOURCE.tables])
def test_good_files_pass(gate: Gate, table: str) -> None:
    results = gate.check(table)
    assert broken(results) == {}
    with gate.warehouse.connect() as connection:
        (rows,) = connection.execute(f"select count(*) from raw.{table}").fetchall()[0]
    assert {result.row_count for result in results} == {rows}


Fault = tuple[str, str, str]  # the table, the query that gives it the fault, words of the message

# By the rule that has to trip: the smallest faults, which trip no other rule.
FAULTS: dict[str, list[Fault]] = {
    "column_profile_columns_are_present": [
        ("demographics", "select * exclude (income) from rows", "column_name=income"),
        ("products", "select * exclude (product_id) from rows", "column_name=product_id"),
    ],
    "column_profile_columns_are_declared": [
        ("demographics", "select *, 'x' as nickname from rows", "column_name=nickname"),
    ],
    "column_profile_types_fit": [
        ("transactions", "select * replace (sales_value::varchar as sales_value) from rows", "found_type=VARCHAR"),
        ("transactions", "select * replace (quantity + 0.5 as quantity) from rows", "column_name=quantity"),
        ("demographics", "select * replace (5 as kids_count) from rows", "column_name=kids_count"),
        ("campaign_descriptions", "select * replace ([start_date] as start_date) from rows", "column_name=start_date"),
        (
            "transactions",
            "select * replace (transaction_timestamp::timestamptz as transaction_timestamp) from rows",
            "column_name=transaction_timestamp",
        ),
    ],
    "column_profile_nulls_are_few": [
        ("demographics", "select * replace (null::varchar as age) from rows", "column_name=age"),
        (
            "transactions",
            "select * replace (case when row_number() over () % 100 > 0 then basket_id end as basket_id) from rows",
            "column_name=basket_id",
        ),
        # Nullable as declared, but not for all rows.
        ("products", "select * replace (null::varchar as package_size) from rows", "column_name=package_size"),
    ],
    "column_profile_values_are_finite": [
        (
            "transactions",
            f"select * replace (case row_number() over () when 5 then '{value}'::double else {column} end as {column})"
            " from rows",
            f"column_name={column}",
        )
        for value, column in [("nan", "sales_value"), ("inf", "retail_disc"), ("-inf", "coupon_disc")]
    ],
    "table_profile_keys_do_not_conflict": [
        (
            "transactions",
            "from rows union all (select * replace (sales_value + 1 as sales_value) from rows"
            " where basket_id = (select min(basket_id) from rows) limit 1)",
            "conflicts=basket_id=",
        ),
        (
            "products",
            "from rows union all (select * replace ('other' as brand) from rows order by product_id limit 1)",
            "conflicts=product_id=",
        ),
        # A copy that says less is not a copy.
        (
            "demographics",
            "from rows union all"
            " (select * replace (null as marital_status) from rows where marital_status is not null limit 1)",
            "conflicts=household_id=",
        ),
    ],
    "table_profile_orders_are_fresh": [
        (
            "transactions",
            "from rows where transaction_timestamp < (select max(transaction_timestamp) from rows) - interval 9 day",
            "days_without_orders=",
        ),
        (
            # One order far behind all others: its date is wrong, however fresh it looks.
            "transactions",
            "select * from rows where transaction_timestamp < timestamp '2017-12-01' union all"
            " (select * from rows where transaction_timestamp >= timestamp '2017-12-31 12:00:00' limit 1)",
            "days_without_orders=",
        ),
    ],
    "table_profile_volume_holds": [
        ("products", "from rows limit (select floor(0.79 * count(*)) from rows)", "previous_row_count="),
    ],
}


def test_every_rule_of_the_gate_has_a_fault_and_every_fault_a_rule() -> None:
    rules = {
        name
        for table in SOURCE.tables
        for suite in landing_suites(SOURCE, table, SETTINGS)
        for name in suite.check_names
        # A profile always has its rows and finite figures; the guards' mutants are with the adapter's tests.
        if not name.endswith(GUARDS)
    }
    assert rules == set(FAULTS)


@pytest.mark.parametrize("rule, table, query, words", [(rule, *fault) for rule in FAULTS for fault in FAULTS[rule]])
def test_a_fault_trips_its_rule_alone(gate: Gate, rule: str, table: str, query: str, words: str) -> None:
    if rule == "table_profile_volume_holds":
        assert broken(gate.check(table)) == {}
    rewrite(gate.input, table, query)

    found = broken(gate.check(table))

    assert set(found) == {rule}
    assert words in found[rule]
    assert "eliver" in found[rule] and table in found[rule]


def test_a_renamed_column_is_missing_and_undeclared(gate: Gate) -> None:
    rewrite(gate.input, "demographics", "select * rename (income as earnings) from rows")
    found = broken(gate.check("demographics"))
    assert set(found) == {"column_profile_columns_are_present", "column_profile_columns_are_declared"}
    assert "column_name=income, found_type=missing" in found["column_profile_columns_are_present"]
    assert "column_name=earnings" in found["column_profile_columns_are_declared"]


def test_a_conflict_names_its_keys_and_how_many(gate: Gate) -> None:
    rewrite(
        gate.input,
        "products",
        "from rows union all (select * replace ('other' as brand) from rows order by product_id limit 7)",
    )
    with duckdb.connect() as connection:
        keys = connection.execute(f"select distinct product_id from '{gate.input}/products.parquet' order by 1 limit 6")
        *shown, hidden = (key for (key,) in keys.fetchall())
    (message,) = broken(gate.check("products")).values()
    assert "; ".join(f"product_id={key}" for key in shown) in message
    assert f"product_id={hidden}" not in message
    assert "conflicting_keys=7" in message


@pytest.mark.parametrize("table", ["transactions", "products", "coupons", "promotions"])
def test_exact_copies_and_another_order_of_rows_pass(gate: Gate, table: str) -> None:
    assert broken(gate.check(table)) == {}
    rewrite(gate.input, table, "from (from rows union all (from rows limit 500)) order by hash(columns(*))")
    assert broken(gate.check(table)) == {}


def test_columns_in_another_order_and_narrower_types_pass(gate: Gate) -> None:
    rewrite(gate.input, "transactions", "select week::utinyint as week, * exclude (week) from rows")
    rewrite(gate.input, "campaign_descriptions", "select * replace (start_date::date as start_date) from rows")
    assert broken(gate.check("transactions")) == {}
    assert broken(gate.check("campaign_descriptions")) == {}


def test_rows_without_a_whole_key_are_left_to_quarantine(gate: Gate) -> None:
    rewrite(gate.input, "products", "from rows union all (select * replace (null as product_id) from rows limit 9)")
    assert broken(gate.check("products")) == {}


def test_volume_is_held_against_the_last_load_that_was_good(gate: Gate) -> None:
    whole = gate.input / "products.parquet"
    assert broken(gate.check("products")) == {}
    rewrite(gate.input, "products", "from rows limit (select ceil(0.81 * count(*)) from rows)")
    kept = whole.read_bytes()
    assert broken(gate.check("products")) == {}

    # A load that was refused is no measure: neither one that is too small, nor a larger one with another fault.
    rewrite(gate.input, "products", "from rows limit 5")
    assert set(broken(gate.check("products"))) == {"table_profile_volume_holds"}
    assert set(broken(gate.check("products"))) == {"table_profile_volume_holds"}
    whole.write_bytes(kept)
    rewrite(
        gate.input,
        "products",
        "select *, 1 as extra from rows union all by name"
        " select * exclude (copy) replace (product_id + 10_000_000 * copy as product_id)"
        " from rows, (select unnest([1, 2, 3]) as copy)",
    )
    assert "column_profile_columns_are_declared" in broken(gate.check("products"))
    whole.write_bytes(kept)
    assert broken(gate.check("products")) == {}


def test_orders_are_stale_the_day_after_the_pause_is_too_long(gate: Gate) -> None:
    last_good = gate.as_of_date + timedelta(days=SETTINGS.max_days_without_orders - 1)
    assert broken(gate.check("transactions", last_good)) == {}
    found = broken(gate.check("transactions", last_good + timedelta(days=1)))
    assert set(found) == {"table_profile_orders_are_fresh"}
    assert f"days_without_orders={SETTINGS.max_days_without_orders + 1}" in found["table_profile_orders_are_fresh"]


def test_a_day_before_all_orders_is_not_fresh(gate: Gate) -> None:
    assert set(broken(gate.check("transactions", date(2016, 12, 1)))) == {"table_profile_orders_are_fresh"}


@pytest.mark.parametrize("table", SMALL_TABLES)
def test_an_empty_view_fails(gate: Gate, table: str) -> None:
    gate.check(table)
    (raw_table,) = (given for given in SOURCE.tables if given.name == table)
    with gate.warehouse.connect() as connection:
        entries = in_force(read_ledger(gate.raw))[table]
        view = raw_view_sql(raw_table, entries, gate.raw)
        connection.execute(f"{view} where false")
        connection.execute("delete from control.check_results")
        results = check_raw_table(connection, SOURCE, raw_table, SETTINGS, gate.as_of_date, entries)
    assert {result.row_count for result in results} == {0}
    assert "column_profile_nulls_are_few" in broken(results)


# A source whose files may be text ------------------------------------------------------------------

OWN = load_source("contract")
OWN_FILES = {
    "customers": "customer_id,first_name\n1,Canary\n2,Canary\n",
    "orders": "order_id,customer_id,ordered_at\n"
    + "".join(f"{number},1,2018-01-{number:02} 12:00:00\n" for number in range(1, 21)),
    "order_lines": "order_id,product_id,quantity,net_sales\n1,7,1,1.50\n",
    "products": "product_id\n7\n",
}


@pytest.fixture
def own(tmp_path: Path) -> Gate:
    """Gate 1 on a company's own files."""
    folder = tmp_path / "input"
    folder.mkdir()
    for table, content in OWN_FILES.items():
        (folder / f"{table}.csv").write_text(content)
    return Gate(folder, tmp_path, OWN)


@pytest.mark.parametrize("table", [table.name for table in OWN.tables])
def test_files_of_ones_own_pass_and_absent_optional_tables_too(own: Gate, table: str) -> None:
    results = own.check(table)
    assert broken(results) == {}
    (raw_table,) = (given for given in OWN.tables if given.name == table)
    suites = landing_suites(OWN, raw_table, SETTINGS)
    assert [result.check_name for result in results] == [name for suite in suites for name in suite.check_names]
    skipped = {result.message for result in results if result.message is not None}
    assert skipped == (set() if table in OWN_FILES else {"skipped: there is no such table, and there need not be one"})


OWN_FAULTS: dict[str, list[tuple[str, str, str]]] = {
    "column_profile_nulls_are_few": [("customers", "customer_id,first_name\n,a\nNULL,b\n", "column_name=customer_id")],
    "table_profile_keys_do_not_conflict": [
        ("products", "product_id,brand\n7,a\n7,b\n", "product_id=7"),
        ("products", "product_id,brand\n7,a\n 7 ,\n", "product_id=7"),
    ],
    "table_profile_orders_are_fresh": [
        ("orders", OWN_FILES["orders"].replace("2018-01-20", "2018-02-20"), "days_without_orders=32"),
        ("orders", "order_id,customer_id,ordered_at\n1,1,yesterday\n", "days_without_orders="),
    ],
    "unused_columns_columns_are_declared": [("products", "product_id,nickname\n7,x\n", "column_name=nickname")],
}


@pytest.mark.parametrize(
    "rule, table, content, words", [(rule, *fault) for rule in OWN_FAULTS for fault in OWN_FAULTS[rule]]
)
def test_a_fault_of_ones_own_files_trips_its_rule_alone(
    own: Gate, rule: str, table: str, content: str, words: str
) -> None:
    (own.input / f"{table}.csv").write_text(content)
    results = own.check(table, date(2018, 2, 21) if "2018-02-20" in content else None)
    found = broken(results)
    assert set(found) == {rule}
    assert words in found[rule] and "Canary" not in found[rule]
    # Columns that are not used are told; they stop nothing.
    assert any(result.blocks for result in results) == (rule != "unused_columns_columns_are_declared")


@pytest.mark.parametrize("value", ["[7]", "{'id': 7}", "'7'::blob"])
def test_what_is_no_plain_value_does_not_fit(own: Gate, value: str) -> None:
    (own.input / "products.csv").unlink()
    with duckdb.connect() as connection:
        query = f"select 1 as product_id, {value} as brand"
        connection.execute(f"copy ({query}) to '{own.input}/products.parquet' (format parquet)")
    found = broken(own.check("products"))
    assert set(found) == {"column_profile_types_fit"}
    assert "column_name=brand" in found["column_profile_types_fit"]


def test_a_required_table_is_never_excused(own: Gate) -> None:
    own.check("customers")
    (customers,) = (table for table in OWN.tables if table.name == "customers")
    with own.warehouse.connect() as connection:
        connection.execute("insert into control.absent_tables values ('customers')")
        connection.execute(raw_view_sql(customers, [], own.raw))
        results = check_raw_table(connection, OWN, customers, SETTINGS, own.as_of_date, [])
    assert "column_profile_nulls_are_few" in broken(results)


def test_a_file_more_is_judged_beside_what_was_counted_before(own: Gate) -> None:
    folder = own.input / "products"
    folder.mkdir()
    (own.input / "products.csv").unlink()

    def deliver(name: str, rows: str) -> dict[str, str]:
        (folder / f"{name}.csv").write_text(f"product_id,brand\n{rows}")
        return broken(own.check("products"))

    def counted() -> list[int]:
        with own.warehouse.connect() as connection:
            rows = connection.execute("select counts[1] from control.raw_counts where table_name = 'raw.products'")
            return sorted(count for (count,) in rows.fetchall())

    assert deliver("one", "".join(f"{number},b\n" for number in range(20))) == {} and counted() == [20]
    assert deliver("two", "24,d\n") == {} and counted() == [1, 20]
    # It is told each time, until it is mended.
    conflict = deliver("three", "2,x\n25,e\n")
    assert "product_id=2" in conflict.pop("table_profile_keys_do_not_conflict") and conflict == {}
    assert counted() == [1, 20]
    assert set(deliver("four", "26,f\n")) == {"table_profile_keys_do_not_conflict"} and counted() == [1, 20]
    assert deliver("three", "2,b\n25,e\n") == {} and counted() == [1, 1, 2, 20]
    # The header alone withdraws the file.
    assert deliver("three", "") == {} and counted() == [0, 1, 1, 20]
    found = deliver("five", ",\n" * 78)
    assert set(found) == {"column_profile_nulls_are_few"}
    assert "column_name=product_id, found_type=VARCHAR, null_share=0.78" in found["column_profile_nulls_are_few"]


def test_a_file_is_counted_once(own: Gate) -> None:
    own.check("customers")
    (customers,) = (table for table in OWN.tables if table.name == "customers")
    entries = tables_in_force(OWN, own.raw)["customers"]

    def share_of_nulls() -> float:
        profile = profile_raw_table(connection, OWN, customers, SETTINGS, own.as_of_date, entries)
        return float(profile.columns.set_index("column_name")["null_share"]["customer_id"])

    with own.warehouse.connect() as connection:
        assert share_of_nulls() == 0
        connection.execute("update control.raw_counts set counts = [2] || [0] || counts[3:]")
        assert share_of_nulls() == 1, "it is what is kept"
        connection.execute("update control.raw_counts set counts = [3] || [0] || counts[3:]")
        assert share_of_nulls() == 0, "what is not of the rows that the view shows does not count"


# The catalogue ------------------------------------------------------------------------------------


def test_publication_asks_for_every_check_of_every_gate(small_home: Home) -> None:
    required = required_checks(SETTINGS, SOURCE, small_home.manifest)

    suites = [
        *(suite for suite in marts_suites(SETTINGS) if suite.severity == "error"),
        *features_suites(SETTINGS),
        *SCORES_SUITES.values(),
        *(suite for suite in monitoring_suites(SETTINGS) if suite.severity == "error"),
    ]
    suites += [suite for table in SOURCE.tables for suite in landing_suites(SOURCE, table, SETTINGS)]
    of_suites = {(name, suite.table_name) for suite in suites for name in suite.check_names}
    assert len(of_suites) == sum(len(suite.check_names) for suite in suites)

    # Straight from dbt's manifest: every data test that blocks, and every table that it looks at.
    nodes = {**small_home.manifest["nodes"], **small_home.manifest["sources"]}
    of_dbt = {
        (test["name"], f"{nodes[parent]['schema']}.{nodes[parent].get('alias') or nodes[parent]['identifier']}")
        for test in nodes.values()
        if test["resource_type"] == "test" and test["config"]["severity"].lower() == "error"
        for parent in test["depends_on"]["nodes"]
    }
    assert of_suites and of_dbt
    assert required == of_suites | of_dbt


def test_every_required_check_ran_and_passed_in_a_good_refresh(small_home: Home) -> None:
    required = required_checks(SETTINGS, SOURCE, small_home.manifest)
    passed = small_home.query("select check_name, table_name from marts.data_quality_results where passed")
    assert required <= set(passed)


def test_every_model_of_a_layer_that_is_published_or_feeds_it_is_looked_at(small_home: Home) -> None:
    required = required_checks(SETTINGS, SOURCE, small_home.manifest)
    built = {
        f"{node['schema']}.{node['alias']}"
        for node in small_home.manifest["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] in {"core", "features", "marts"}
    }
    assert built - {table for _, table in required} == {"marts.data_quality_results"}
