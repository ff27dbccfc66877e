"""The source `contract`: the sample in its shape gives the sample's marts, and the required tables alone are enough."""

import shutil
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.contract_export import REQUIRED_TABLES, export_contract
from tests.pipeline import Home, rewrite

# Lines that a real export has now and then: appended to a file, with the reason that the quarantine gives.
BAD_LINES = {
    "orders": (
        ("nobody's order,,2017-06-01 12:00:00", "customer_id is missing"),
        ("order of the future,1,2100-01-01 00:00:00", "ordered_at is later than the load"),
        ("order of no day,1,someday", "ordered_at is not a time"),
        (",1,2017-06-01 12:00:00", "order_id is missing"),
    ),
    "order_lines": (
        ("no such order,1000002,1,2.50", "order_id is not in orders, or its order is in quarantine"),
        ("nobody's order,1000002,1,2.50", "order_id is not in orders, or its order is in quarantine"),
        ("order of a stranger,1000002,one,2.50", "quantity is not a number"),
        ("order of a stranger,1000002,1,free", "net_sales is not an amount"),
        ("order of a stranger,1000002,-1,2.50", "quantity and net_sales have opposite signs"),
    ),
}
GOOD_LINES = {
    # Who is not in `customers` is a customer all the same, and so is who has never ordered.
    "orders": ("order of a stranger,stranger,2017-06-01 12:00:00", "order without lines,stranger,2017-06-02 12:00:00"),
    "order_lines": (
        "order of a stranger,1000002,1,2.50",
        "order of a stranger,1000002,1,2.50",  # a copy
        "order of a stranger,1000002,-1,-2.50",
        "order of a stranger,never described,2,5.00",
    ),
    "customers": ("silent",),
}
UNSPLIT = "order of a stranger,1000002,1,2.50,one more"


@pytest.fixture(scope="module")
def minimal(small_input: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, CompletedProcess[str]]:
    """The four required tables in CSV with their required columns alone, among their rows bad ones; refreshed."""
    folder = tmp_path_factory.mktemp("minimal")
    export_contract(small_input, folder / "input", REQUIRED_TABLES, "csv", required_columns_alone=True)
    for table, lines in GOOD_LINES.items():
        append(folder / "input" / f"{table}.csv", *lines)
    for table, bad in BAD_LINES.items():
        append(folder / "input" / f"{table}.csv", *(line for line, _ in bad))
    append(folder / "input" / "order_lines.csv", UNSPLIT)
    home = Home(folder / "data", folder / "input", "contract")
    outcome = home.refresh("2018-01-01")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return home, outcome


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def line_numbers(path: Path) -> dict[str, int]:
    """The last line on which each text stands, from 1."""
    return {line: number for number, line in enumerate(path.read_text().splitlines(), start=1)}


def test_the_sample_in_the_contracts_shape_gives_the_same_marts(small_home: Home, contract_home: Home) -> None:
    assert contract_home.published_hashes() == small_home.published_hashes()


def test_every_row_of_the_export_is_accounted_for(contract_home: Home) -> None:
    accounting = contract_home.warehouse(
        "select table_name, rows_landed = rows_accepted + rows_quarantined + rows_duplicate, rows_quarantined"
        " from staging.stg_contract__row_accounting"
    )
    assert sorted(accounting) == sorted((table.name, True, 0) for table in contract_home.source.tables)


def test_the_required_tables_alone_are_published_and_what_is_skipped_is_said(
    minimal: tuple[Home, CompletedProcess[str]],
) -> None:
    home, outcome = minimal
    assert "response: skipped: no campaign data (core.campaigns, core.campaign_members" in outcome.stdout
    for table in ("campaigns", "campaign_members", "campaign_performance", "campaign_member_scores"):
        assert home.query(f"select count(*) from marts.{table}") == [(0,)]
    assert home.query("select distinct status, channel, currency, store_id from marts.orders") == [
        ("completed", "unknown", "unknown", None)
    ]
    assert home.query("select distinct department, category from marts.products") == [("unknown", "unknown")]
    assert home.query("select bool_and(gross_sales = net_sales and discounts = 0) from marts.order_lines") == [(True,)]
    assert home.query("select count(preferred_store_id), bool_and(age_band = 'unknown') from marts.customer_360") == [
        (0, True)
    ]
    ((series, promoted),) = home.warehouse(
        "select count(*), sum(count_products_on_display + count_products_in_mailer) from features.weekly_promotions"
    )
    assert series > 0 and promoted == 0


def test_rejected_rows_are_in_quarantine_with_file_line_and_reason(minimal: tuple[Home, CompletedProcess[str]]) -> None:
    home, _ = minimal
    assert home.input is not None
    expected = []
    for table, bad in BAD_LINES.items():
        numbers = line_numbers(home.input / f"{table}.csv")
        expected += [(table, f"{table}.csv", numbers[line], reason) for line, reason in bad]
    unsplit = line_numbers(home.input / "order_lines.csv")[UNSPLIT]
    found = home.warehouse(
        "select table_name, source_file, row_number, reject_reason from staging.stg_contract__quarantine order by all"
    )
    without_reason = ("order_lines", "order_lines.csv", unsplit)
    assert [row for row in found if row[:3] != without_reason] == sorted(expected)
    assert len([row for row in found if row[:3] == without_reason and row[3]]) == 1

    accounting = home.warehouse(
        "select table_name, rows_landed - rows_accepted - rows_quarantined - rows_duplicate, rows_quarantined,"
        " rows_duplicate from staging.stg_contract__row_accounting where rows_landed > 0 order by all"
    )
    assert accounting == [("customers", 0, 0, 0), ("order_lines", 0, 6, 1), ("orders", 0, 4, 0), ("products", 0, 0, 0)]


def test_strangers_are_customers_and_products_nobody_describes_are_unknown(
    minimal: tuple[Home, CompletedProcess[str]],
) -> None:
    home, _ = minimal
    assert home.query(
        "select customer_id, lifetime_count_orders, lifetime_net_sales::double from marts.customer_360"
        " where customer_id in ('stranger', 'silent') order by all"
    ) == [("silent", 0, 0.0), ("stranger", 2, 5.0)]
    assert home.query(
        "select order_line_id, product_id, line_type from marts.order_lines where customer_id = 'stranger' order by all"
    ) == [
        ("order of a stranger-1000002", "1000002", "return"),
        ("order of a stranger-1000002#2", "1000002", "sale"),
        ("order of a stranger-never described", "unknown", "sale"),
    ]
    ((passed, severity, message),) = home.query(
        "select passed, severity, message from marts.data_quality_results"
        " where check_name = 'stg_contract__customers_are_described' and table_name like '%stg_contract__customers'"
    )
    assert (passed, severity) == (False, "warn") and "deliver them" in message


def test_mixed_currencies_stop_the_refresh_and_name_file_and_remedy(contract_home: Home, tmp_path: Path) -> None:
    assert contract_home.input is not None
    shutil.copytree(contract_home.data, tmp_path / "data", symlinks=True)
    shutil.copytree(contract_home.input, tmp_path / "input")
    home = replace(contract_home, data=tmp_path / "data", input=tmp_path / "input")
    before = home.published_hashes()
    rewrite(
        tmp_path / "input",
        "orders",
        "select * replace (case when order_id = (select min(order_id) from rows) then 'EUR' else currency end"
        " as currency) from rows",
    )
    outcome = home.refresh()
    assert outcome.returncode == 1
    assert "orders_are_in_one_currency" in outcome.stderr
    assert "currency=EUR, _source_file=orders.parquet, row_count=1" in outcome.stderr
    assert "Convert them to one currency before delivery (table orders, column currency)" in outcome.stderr
    assert home.published_hashes() == before
