"""Readiness: what stops a refresh is said before it, what would be gained too, and no value of a person."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from orchestration.cli import main
from orchestration.dbt_project import thresholds
from orchestration.landing import LandingError
from orchestration.purchase_rhythm import Rhythm, make_order_days, propose, read_rhythm
from orchestration.readiness import Readiness, check_data
from orchestration.settings import SettingsError, load_settings
from orchestration.sources import load_source
from tests.generated_shops import BUY_ONCE, FIRST_DAY, NEWCOMER, SUBSCRIPTION, WHOLESALER, Shop, tables, write
from tests.pipeline import SAMPLE

NOW = datetime(2025, 1, 2, tzinfo=UTC)
Tables = dict[str, pd.DataFrame]
SMALL = Shop(customers=300, days=200, gap_days=14, campaigns=2)


def checked(folder: Path, data: Path, now: datetime = NOW, **settings: Any) -> Readiness:
    """The report on a folder in the contract's shape."""
    given = {"data": data, "source": "contract", "input": folder, "threads": 2}
    return check_data(
        load_settings(**(given | settings)),
        load_source("contract"),
        now,
    )


@pytest.fixture(scope="module")
def whole() -> Tables:
    """A business's tables without a fault."""
    return tables(SMALL)


@pytest.fixture
def told(tmp_path: Path) -> Callable[[Tables], Readiness]:
    """Writes tables and looks at them, the day after their last."""

    def look(made: Tables) -> Readiness:
        now = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + pd.Timedelta(days=SMALL.days + 1)
        return checked(write(made, tmp_path / "input"), tmp_path / "data", now)

    return look


def of_table(report: Readiness, table: str, *, blocking: bool) -> str:
    """What was found in a table."""
    return "\n".join(one.text for one in report.findings if one.table == table and one.blocks == blocking)


# Businesses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shop, windows, trained",
    [
        (WHOLESALER, {"activity": (14, 21), "prediction": (7, 7), "value": (28, 28)}, {"churn", "value", "segments"}),
        (BUY_ONCE, {"activity": (140, 280), "prediction": (70, 182), "value": (182, 182)}, {"segments", "demand"}),
        (SUBSCRIPTION, {"activity": (35, 42), "prediction": (35, 35), "value": (182, 182)}, {"churn", "response"}),
    ],
    ids=["wholesaler", "buy-once", "subscription"],
)
def test_windows_and_models_of_a_business(
    tmp_path: Path, shop: Shop, windows: dict[str, tuple[int, int]], trained: set[str]
) -> None:
    report = checked(write(tables(shop), tmp_path / "input"), tmp_path / "data")
    assert report.can_run, report.text()
    assert report.proposal is not None
    for name, (low, high) in windows.items():
        assert low <= report.proposal.windows[f"{name}_window_days"] <= high
    assert trained <= {verdict.model for verdict in report.proposed_verdicts if verdict.enough}
    for line in report.proposal.environment():
        assert line in report.text()
    # What is proposed can be set.
    again = checked(tmp_path / "input", tmp_path / "data", NOW, **report.proposal.windows)
    assert again.verdicts == report.proposed_verdicts
    assert again.proposal == report.proposal


def test_windows_of_the_sample_are_near_those_that_its_models_were_chosen_with() -> None:
    at = "transaction_timestamp at time zone 'UTC' at time zone 'America/New_York'"
    with duckdb.connect() as connection:
        query = f"select household_id as customer_id, ({at})::date as order_date from '{SAMPLE}/transactions.parquet'"
        make_order_days(connection, query, date(2018, 1, 1))
        rhythm = read_rhythm(connection)
    proposal = propose(rhythm)
    assert proposal is not None and (rhythm.customers, rhythm.quantile(0.5)) == (2469, 6)
    assert proposal.windows["activity_window_days"] == pytest.approx(thresholds()["dormant_after_days"], abs=7)
    assert proposal.windows["prediction_window_days"] == thresholds()["churn_window_days"]
    assert proposal.windows["churned_after_days"] == pytest.approx(thresholds()["churned_after_days"], abs=7)
    assert proposal.windows["value_window_days"] == thresholds()["value_window_days"]


def test_a_newcomer_runs_without_models_and_is_told_why(tmp_path: Path) -> None:
    now = datetime(2023, 2, 2, tzinfo=UTC)
    report = checked(write(tables(NEWCOMER), tmp_path / "input"), tmp_path / "data", now)
    assert report.can_run and report.proposal is None
    assert {verdict.enough for verdict in report.verdicts} == {False}
    for words in ("4 complete weeks, needed are 26", "40 customers, needed are 200", "skipped: no campaign data"):
        assert words in report.text()
    assert "too few to propose windows" in report.text()


def test_one_product_leaves_nothing_to_recommend(told: Callable[[Tables], Readiness], whole: Tables) -> None:
    lines = whole["order_lines"].assign(product_id="P1").groupby(["order_id", "product_id"], as_index=False).sum()
    verdicts = {verdict.model: verdict for verdict in told(whole | {"order_lines": lines}).verdicts}
    assert verdicts["recommendations"].enough is False
    assert "1 product sold, so that there is nothing to choose from" in verdicts["recommendations"].reasons


def test_who_buys_once_is_told_of(tmp_path: Path) -> None:
    report = checked(write(tables(BUY_ONCE), tmp_path / "input"), tmp_path / "data")
    assert report.rhythm is not None and report.rhythm.one_time_share > 0.7
    assert "most order once" in report.text()


def test_every_customer_counts_once() -> None:
    # One who buys daily for years, and sixty who come back after fifty days.
    rhythm = Rhythm(61, 61, 1060, ((1, 1.0), (50, 60.0)))
    assert (rhythm.quantile(0.01), rhythm.quantile(0.5), rhythm.quantile(0.95)) == (1, 50, 50)
    proposal = propose(rhythm)
    assert proposal is not None
    assert proposal.windows["activity_window_days"] == proposal.windows["prediction_window_days"] == 56


def test_proposals_stay_within_what_can_be_set() -> None:
    for days in (1, 10, 100, 300, 1000, 5000):
        proposal = propose(Rhythm(100, 100, 1000, ((days, 100.0),)))
        assert proposal is not None
        load_settings(**proposal.windows)
        assert proposal.windows["churned_after_days"] > proposal.windows["activity_window_days"]
        assert proposal.windows["activity_window_days"] >= proposal.windows["prediction_window_days"]


# Tables and columns --------------------------------------------------------------------------------


def test_nothing_is_written_and_no_person_is_named(
    told: Callable[[Tables], Readiness], whole: Tables, tmp_path: Path
) -> None:
    broken = whole["customers"].assign(birth_date="CanaryBirthday")
    report = told(whole | {"customers": broken})
    assert "birth_date: 300 values are no date, first in customers.parquet, line 1" in report.text()
    assert "Canary" not in report.text() and "canary" not in report.text()
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


def test_a_table_that_is_missing(told: Callable[[Tables], Readiness], whole: Tables) -> None:
    report = told({name: frame for name, frame in whole.items() if name not in ("products", "campaigns")})
    assert "missing; a refresh needs it, as products.csv, products.parquet" in of_table(
        report, "products", blocking=True
    )
    assert "would enable campaigns" in of_table(report, "campaigns", blocking=False)
    assert "skipped: no campaign data" in report.text()
    assert not report.can_run and report.text().endswith("can run: no: 1 problem, marked with !")


def test_a_file_that_cannot_be_read_hides_no_other(
    told: Callable[[Tables], Readiness], whole: Tables, tmp_path: Path
) -> None:
    folder = write({name: frame for name, frame in whole.items() if name != "orders"}, tmp_path / "input")
    (folder / "orders.parquet").write_bytes(b"PAR1 cut short")
    report = checked(folder, tmp_path / "data")
    assert "not a whole Parquet file" in of_table(report, "orders", blocking=True)
    assert "300 rows" in of_table(report, "customers", blocking=False)
    assert report.as_of_date is None and report.verdicts == ()


def test_columns_missing_and_extra(told: Callable[[Tables], Readiness], whole: Tables) -> None:
    report = told(
        whole
        | {
            "order_lines": whole["order_lines"].drop(columns="quantity"),
            "orders": whole["orders"].assign(till="K7"),
            "products": whole["products"].drop(columns="category"),
        }
    )
    assert "lacks the column quantity" in of_table(report, "order_lines", blocking=True)
    assert "till: kept in raw and not used" in of_table(report, "orders", blocking=False)
    assert "without category; would enable demand" in of_table(report, "products", blocking=False)
    assert len(report.problems) == 1


def test_a_column_of_the_wrong_type_in_a_source_of_typed_files(tmp_path: Path) -> None:
    source, folder = load_source("complete_journey"), tmp_path / "input"
    write({"products": pd.DataFrame({"product_id": ["seven"], "colour": ["red"]})}, folder)
    report = check_data(load_settings(data=tmp_path / "data", input=folder), source, NOW)
    assert "product_id is VARCHAR, expected is bigint" in of_table(report, "products", blocking=True)
    assert "colour: not declared; take them out" in of_table(report, "products", blocking=True)
    assert "brand is missing; a refresh needs it" in of_table(report, "products", blocking=True)
    assert "transactions.parquet" in of_table(report, "transactions", blocking=True)


# Types and keys ------------------------------------------------------------------------------------


def test_values_that_do_not_read_as_their_type(told: Callable[[Tables], Readiness], whole: Tables) -> None:
    lines = whole["order_lines"].copy()
    lines["net_sales"] = lines["net_sales"].astype(str)
    lines.loc[[4, 9], "net_sales"] = "twelve"
    report = told(whole | {"order_lines": lines})
    assert "net_sales: 2 values are no decimal(18,2), first in order_lines.parquet, line 5" in report.text()
    assert report.can_run  # two rows of thousands
    lines["net_sales"] = "twelve"
    report = told(whole | {"order_lines": lines})
    assert "(100.00%) cannot be used and go to quarantine; 0.50% block" in of_table(
        report, "order_lines", blocking=True
    )


def test_keys_that_are_missing_doubled_or_conflicting(told: Callable[[Tables], Readiness], whole: Tables) -> None:
    customers, orders = whole["customers"], whole["orders"].copy()
    orders["customer_id"] = None
    report = told(
        whole
        | {
            "customers": pd.concat([customers, customers.head(3), customers.head(2).assign(region="east")]),
            "orders": orders,
        }
    )
    assert "customer_id is never filled, allowed are 0.50%; fill it" in of_table(report, "orders", blocking=True)
    assert "2 values of customer_id stand for rows that differ" in of_table(report, "customers", blocking=True)
    assert "3 rows (0.98%) are copies of others" in of_table(report, "customers", blocking=False)


def test_rows_that_name_what_is_not_there(told: Callable[[Tables], Readiness], whole: Tables) -> None:
    report = told(
        whole
        | {
            "customers": whole["customers"].head(200),
            "orders": whole["orders"].tail(-50),
            "products": whole["products"].tail(-5),
            "campaigns": whole["campaigns"].head(1),
        }
    )
    assert "name a customer_id that is not in customers; they are kept" in of_table(report, "orders", blocking=False)
    lines = of_table(report, "order_lines", blocking=True)
    assert "name a product_id that is not in products; they count as unknown, 1.00% block" in lines
    assert "cannot be used and go to quarantine; 0.50% block" in lines
    assert "name a order_id that is not in orders" in of_table(report, "order_lines", blocking=False)
    assert "100 rows (50.00%) name a campaign_id" in of_table(report, "campaign_members", blocking=False)
    assert "100 rows (50.00%) cannot be used" in of_table(report, "campaign_members", blocking=True)


def test_several_currencies(told: Callable[[Tables], Readiness], whole: Tables) -> None:
    orders = whole["orders"].copy()
    orders.loc[:6, "currency"] = "usd"
    assert "several currencies (EUR" in of_table(told(whole | {"orders": orders}), "orders", blocking=True)


# Orders --------------------------------------------------------------------------------------------


def test_orders_that_are_old_late_or_to_come(
    told: Callable[[Tables], Readiness], whole: Tables, tmp_path: Path
) -> None:
    folder = write(whole, tmp_path / "input")
    assert "days old; from a live system" in checked(folder, tmp_path / "data").text()
    orders = whole["orders"].copy()
    orders.loc[orders.index[-3:], "ordered_at"] = pd.Timestamp("2030-01-01")
    assert "3 rows are later than now" in told(whole | {"orders": orders}).text()
    late = whole["orders"]
    # A shop that was shut for a month before its last day.
    last = late["ordered_at"].max()
    late = late[(late["ordered_at"] < last - pd.Timedelta(days=30)) | (late["ordered_at"] == last)]
    report = told(whole | {"orders": late})
    assert "days without an order among the newest days, allowed are 7" in of_table(report, "orders", blocking=True)


def test_a_day_that_cannot_be_refreshed(tmp_path: Path, whole: Tables) -> None:
    folder = write(whole, tmp_path / "input")
    for day in (FIRST_DAY, date(2030, 1, 1)):
        report = checked(folder, tmp_path / "data", as_of=day)
        assert f"AS_OF {day} has no order before it, or has not begun" in of_table(report, "orders", blocking=True)


# The command ---------------------------------------------------------------------------------------


def test_csv_is_read_as_a_refresh_would(tmp_path: Path, whole: Tables) -> None:
    parquet = checked(write(whole, tmp_path / "parquet"), tmp_path / "data")
    csv = checked(write(whole, tmp_path / "csv", "csv"), tmp_path / "data")
    assert csv.can_run, csv.text()
    assert (csv.verdicts, csv.proposal, csv.findings) == (parquet.verdicts, parquet.proposal, parquet.findings)
    with (tmp_path / "csv" / "orders.csv").open("a") as file:
        file.write("O-x,K1,2023-03-01 10:00:00,EUR,one,field,too,many\n")
    assert (
        "1 lines cannot be split into fields, first in orders.csv"
        in checked(tmp_path / "csv", tmp_path / "data").text()
    )


def test_a_database_is_read_aside(tmp_path: Path, whole: Tables) -> None:
    files = checked(write(whole, tmp_path / "input"), tmp_path / "data")
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        for name, frame in whole.items():
            frame.to_sql(name, connection, index=False)
    database = checked(tmp_path / "shop.sqlite", tmp_path / "data")
    assert database.text().startswith("contract: the database that INPUT names for a refresh as of")
    assert (database.verdicts, database.proposal) == (files.verdicts, files.proposal)
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


def test_exit_codes(
    tmp_path: Path, whole: Tables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUSTOMER360_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SOURCE", "contract")
    monkeypatch.setenv("INPUT", str(write(whole, tmp_path / "input")))
    assert main(["check-data"]) == 0
    assert capsys.readouterr().out.endswith("can run: yes\n")
    (tmp_path / "input" / "products.parquet").unlink()
    assert main(["check-data"]) == 1
    monkeypatch.setenv("INPUT", str(tmp_path / "nowhere"))
    assert main(["check-data"]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_no_input_at_all(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="source contract needs INPUT"):
        check_data(load_settings(data=tmp_path, source="contract"), load_source("contract"))
    with pytest.raises(LandingError, match="is not a folder"):
        checked(tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    report = checked(tmp_path / "empty", tmp_path)
    assert {finding.table for finding in report.problems} == {"customers", "orders", "order_lines", "products"}
