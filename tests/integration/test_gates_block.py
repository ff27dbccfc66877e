"""Nothing that a gate refuses is published: not within the run, not by a later run of a part, not by hand.

Each fault of the input meets the gate that has to catch it, and the next refresh with good files needs no clean-up.
"""

import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dagster import AssetKey, DagsterEventType, DagsterInstance

from orchestration import cli
from orchestration.assets import warehouse as warehouse_assets
from orchestration.jobs import DAILY_REFRESH
from tests.pipeline import Home, rewrite

PUBLICATION = "publication__published_marts"
FUTURE = "timestamp '2999-01-01'"


def state(home: Home) -> tuple[str, str]:
    """The version that readers have, and the SHA-256 of its file, which has to be intact."""
    publication = home.store.verify()
    return publication.version, publication.sha256


def inbox(home: Home) -> Path:
    """The home's own input files."""
    assert home.input is not None
    return home.input


def in_warehouse(home: Home, *statements: str) -> list[tuple[Any, ...]]:
    """Statements by hand on the working warehouse; the rows of the last."""
    with duckdb.connect(str(home.settings.warehouse_path)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


class Parts:
    """Runs of a part of the job in this process, each a run of its own, as somebody would start it from the UI."""

    def __init__(self, home: Home, models: str = "none", day: date = date(2018, 1, 1), **settings: Any) -> None:
        from orchestration.definitions import build_defs

        self.definitions = build_defs(data=home.data, input=home.input, models=models, **settings)
        self.day = day

    def run(self, **selection: Any) -> dict[str, str]:
        """Runs the selection; the steps that it came to, with what stopped them ('' where nothing did)."""
        job = self.definitions.resolve_job_def(DAILY_REFRESH)
        with DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                **selection,
                partition_key=self.day.isoformat(),
                instance=instance,
                raise_on_error=False,
                run_config={"loggers": {"console": {}}},
            )
        steps: dict[str, str] = {}
        for event in result.all_events:
            step = str(event.step_key)
            if event.event_type == DagsterEventType.STEP_START:
                steps[step] = ""
            elif event.event_type == DagsterEventType.STEP_FAILURE:
                failure = event.step_failure_data
                said = failure.user_failure_data.description if failure.user_failure_data else None
                steps[step] += said or str(failure.error and failure.error.to_string())
            elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                steps[step] += "" if evaluation.passed else str(evaluation.description)
        assert result.success == (not any(steps.values()))
        return steps

    def publish(self) -> str:
        """Publication alone; why it refused, '' where it did not."""
        steps = self.run(asset_selection=[AssetKey(["publication", "published_marts"])])
        assert set(steps) == {PUBLICATION}
        return steps[PUBLICATION]

    def check_marts(self) -> str:
        """The gate on the marts alone; what it found."""
        steps = self.run(op_selection=["marts_gate"])
        assert set(steps) == {"marts_gate"}
        return steps["marts_gate"]

    def build_marts_and_publish(self) -> dict[str, str]:
        """The marts, their gate and publication, without anything upstream."""
        keys = self.definitions.resolve_asset_graph().get_all_asset_keys()
        return self.run(asset_selection=[key for key in keys if key.path[0] in {"marts", "publication"}])


@pytest.fixture
def parts(copied_home: Home, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Parts of the job on the copied home."""
    monkeypatch.setenv("CUSTOMER360_DATA", str(copied_home.data))
    for name, value in copied_home.settings.dbt_environment().items():
        monkeypatch.setenv(name, value)
    return Parts(copied_home)


# Bad input, from the command ----------------------------------------------------------------------


@pytest.fixture
def home(copied_home: Home) -> Iterator[Home]:
    """A home whose published version a test must leave as it was."""
    before, hashes = state(copied_home), copied_home.published_hashes()
    yield copied_home
    assert (state(copied_home), copied_home.published_hashes()) == (before, hashes)


def without_file(home: Home) -> None:
    (inbox(home) / "transactions.parquet").unlink()


def empty_file(home: Home) -> None:
    (inbox(home) / "transactions.parquet").write_bytes(b"")


def cut_short(home: Home) -> None:
    path = inbox(home) / "transactions.parquet"
    path.write_bytes(path.read_bytes()[:-1000])


def orders_of_the_future(home: Home) -> None:
    rewrite(inbox(home), "transactions", f"select * replace ({FUTURE} as transaction_timestamp) from rows")


def text_for_a_time(home: Home) -> None:
    rewrite(inbox(home), "transactions", "select * replace ('noon' as transaction_timestamp) from rows")


def as_it_is(home: Home) -> None:
    """Only the environment is at fault."""


@pytest.mark.parametrize(
    "fault, environment, words",
    [
        (without_file, {}, ["transactions.parquet is missing", "Put the file there"]),
        (empty_file, {}, ["transactions.parquet is empty", "Deliver the file again"]),
        (cut_short, {}, ["Deliver the file"]),
        (orders_of_the_future, {}, ["has no order up to now", "Deliver the file again"]),
        (text_for_a_time, {}, ["transactions.transaction_timestamp", "Deliver the file"]),
        (as_it_is, {"SOURCE": "nowhere"}, ["unknown source 'nowhere'", "complete_journey"]),
        (as_it_is, {"INPUT": "/nowhere"}, ["/nowhere is not a folder", "Give the folder"]),
        (as_it_is, {"AS_OF": "31.12.2017"}, ["'31.12.2017' is not a day", "YYYY-MM-DD"]),
        (as_it_is, {"AS_OF": "2017-01-01"}, ["first order is of 2017-01-01", "Give a later day"]),
        (as_it_is, {"AS_OF": "2999-01-01"}, ["has not begun", "Give an earlier day"]),
        (as_it_is, {"CUSTOMER360_DATA": __file__}, [f"cannot write to {__file__}", "Give a folder"]),
    ],
)
def test_what_cannot_be_refreshed_is_refused_before_the_run(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Callable[[Home], None],
    environment: dict[str, str],
    words: list[str],
) -> None:
    for name, value in {"CUSTOMER360_DATA": str(home.data), "INPUT": str(home.input), **environment}.items():
        monkeypatch.setenv(name, value)
    fault(home)

    assert cli.main(["refresh"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_bad_files_are_refused_and_good_ones_then_published_without_clean_up(
    copied_home: Home, small_home: Home
) -> None:
    home, good = copied_home, inbox(small_home)
    before, hashes = state(home), home.published_hashes()

    products = inbox(home) / "products.parquet"
    products.write_bytes(products.read_bytes()[:-1000])
    outcome = home.refresh()
    assert outcome.returncode == 1
    assert "what is published stays as it was" in outcome.stderr
    last = outcome.stderr.splitlines()[-1]
    assert "landing: products:" in last and "is not a whole Parquet file" in last and "deliver the file again" in last
    assert state(home) == before

    shutil.copy(good / "products.parquet", products)
    rewrite(inbox(home), "products", "select * exclude (brand) from rows")
    rewrite(
        inbox(home),
        "transactions",
        "from rows union all (select * replace (sales_value + 1 as sales_value) from rows"
        " order by basket_id, product_id limit 1)",
    )
    with duckdb.connect() as connection:
        keys = connection.execute(
            f"select basket_id, product_id from '{good}/transactions.parquet' order by all limit 1"
        ).fetchall()[0]
    outcome = home.refresh()
    assert outcome.returncode == 1
    column, conflict = "column_profile_columns_are_present", "table_profile_keys_do_not_conflict"
    lines = {name: line for line in outcome.stderr.splitlines() for name in (column, conflict) if name in line}
    assert "gate landing: " in lines[column] and "on raw.products failed" in lines[column]
    assert "column_name=brand" in lines[column] and "Deliver products as" in lines[column]
    assert "gate landing: " in lines[conflict] and "on raw.transactions failed" in lines[conflict]
    assert "basket_id={}, product_id={}".format(*keys) in lines[conflict]
    assert "conflicting_keys=1" in lines[conflict] and "deliver transactions again" in lines[conflict]
    assert "Dependencies for step warehouse" in outcome.stdout
    assert state(home) == before

    shutil.copytree(good, inbox(home), dirs_exist_ok=True)
    outcome = home.refresh()
    assert outcome.returncode == 0, outcome.stderr
    assert state(home) != before
    assert home.published_hashes() == hashes


def test_rows_that_cannot_be_used_are_quarantined_while_they_are_few(
    copied_home: Home, small_home: Home, parts: Parts
) -> None:
    home = copied_home
    before, hashes = state(home), home.published_hashes()
    with duckdb.connect() as connection:
        rows, in_50 = connection.execute(
            f"select count(*), count_if(product_id % 50 = 0) from '{home.input}/transactions.parquet'"
        ).fetchall()[0]

    # A test of dbt fails: nothing downstream of it runs, in Python or in dbt, then or later.
    late = f"if(product_id % 50 = 0, {FUTURE}, transaction_timestamp)"
    rewrite(inbox(home), "transactions", f"select * replace ({late} as transaction_timestamp) from rows")
    outcome = home.refresh()
    assert outcome.returncode == 1
    rule = "stg_complete_journey__row_accounting_quarantine_is_small"
    last = outcome.stderr.splitlines()[-1]
    assert f"{rule} on staging.stg_complete_journey__row_accounting failed (1 rows)" in last
    assert "table_name=transactions" in last and "mend the source or the model, then refresh" in last
    assert "Dependencies for step marts" in outcome.stdout
    assert f"Dependencies for step {PUBLICATION}" in outcome.stdout
    accounting = "from staging.stg_complete_journey__row_accounting where table_name = 'transactions'"
    assert in_warehouse(home, f"select rows_landed, rows_quarantined {accounting}") == [(rows, in_50)]
    assert rule in parts.publish()
    assert state(home) == before

    # One such row is put aside, named, and missed by nobody: a copy of a line, dated after the load.
    shutil.copy(inbox(small_home) / "transactions.parquet", inbox(home))
    copy = f"select * replace ({FUTURE} as transaction_timestamp, -1 as basket_id) from rows limit 1"
    rewrite(inbox(home), "transactions", f"from rows union all ({copy})")
    outcome = home.refresh()
    assert outcome.returncode == 0, outcome.stderr
    assert in_warehouse(
        home,
        "select table_name, source_file, copies, reject_reason from staging.stg_complete_journey__quarantine",
    ) == [("transactions", "transactions.parquet", 1, "transaction_timestamp is later than the load")]
    assert in_warehouse(home, f"select rows_landed - rows_accepted, rows_quarantined {accounting}") == [(1, 1)]
    assert state(home) != before
    assert home.published_hashes() == hashes


# No way round -------------------------------------------------------------------------------------


def test_a_table_changed_by_hand_is_not_published(copied_home: Home, parts: Parts) -> None:
    before = state(copied_home)
    in_warehouse(copied_home, "update marts.kpi_daily set orders = orders + 1 where business_date = '2017-06-01'")
    refusal = parts.publish()
    assert "gate publication: nothing was published" in refusal
    assert "marts.kpi_daily is not what" in refusal and "has changed since. Run the whole refresh" in refusal
    assert state(copied_home) == before


def test_marts_built_on_a_table_changed_by_hand_are_not_published(copied_home: Home, parts: Parts) -> None:
    before = state(copied_home)
    in_warehouse(copied_home, "update core.customers set age_band = 'unknown'")
    steps = parts.build_marts_and_publish()
    assert set(steps) == {"marts", "marts_gate", PUBLICATION}
    assert steps["marts"] == steps["marts_gate"] == ""
    assert "core.customers is not what" in steps[PUBLICATION] and "has changed since" in steps[PUBLICATION]
    assert state(copied_home) == before


def test_files_that_landed_after_the_gates_are_not_published(copied_home: Home, parts: Parts) -> None:
    before = state(copied_home)
    rewrite(inbox(copied_home), "demographics", "from rows limit 24")
    steps = parts.run(op_selection=["landing"])
    assert steps == {"landing": ""}
    refusal = parts.publish()
    assert "raw.demographics is not what" in refusal and "has changed since" in refusal
    assert state(copied_home) == before


def test_a_failed_suite_blocks_now_and_later_until_a_refresh_heals(copied_home: Home, parts: Parts) -> None:
    before, hashes = state(copied_home), copied_home.published_hashes()
    broken = (
        "update marts.customer_360 set r_score = 9 where customer_id = (select min(customer_id) from core.customers)"
    )
    in_warehouse(copied_home, broken)
    ((customer_id,),) = in_warehouse(copied_home, "select customer_id from marts.customer_360 where r_score = 9")

    found = parts.check_marts()
    assert "gate marts: customer_360_r_score_is_1_to_5 on marts.customer_360 failed (1 rows)" in found
    assert f"customer_id={customer_id}" in found

    refusal = parts.publish()
    assert "customer_360_r_score_is_1_to_5 on marts.customer_360 failed (gate marts)" in refusal
    assert f"customer_id={customer_id}" in refusal
    assert state(copied_home) == before

    outcome = copied_home.refresh()
    assert outcome.returncode == 0, outcome.stderr
    assert state(copied_home) != before
    assert copied_home.published_hashes() == hashes


@pytest.mark.parametrize(
    "never_ran",
    ["kpi_daily_days_are_unique", "column_profile_types_fit", "reconcile_orders", "unique_core_orders_order_id"],
)
def test_a_check_that_never_ran_blocks(copied_home: Home, parts: Parts, never_ran: str) -> None:
    before = state(copied_home)
    in_warehouse(copied_home, f"delete from control.check_results where check_name = '{never_ran}'")
    refusal = parts.publish()
    assert f"{never_ran} on " in refusal and "never ran. Run the whole refresh" in refusal
    assert state(copied_home) == before


def test_a_check_that_raises_blocks(copied_home: Home, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(copied_home)

    def fail(*_: object) -> None:
        raise MemoryError("the frame is too large")

    monkeypatch.setattr(warehouse_assets, "read_frame", fail)
    steps = parts.build_marts_and_publish()
    assert "the frame is too large" in steps["marts_gate"]
    assert PUBLICATION not in steps
    assert state(copied_home) == before

    # Later, alone: the suites have not seen the marts as they are now.
    in_warehouse(copied_home, "delete from marts.kpi_daily where business_date = '2017-06-01'")
    assert "marts.kpi_daily is not what kpi_daily_has_rows passed: it has changed since" in parts.publish()
    assert state(copied_home) == before


def test_results_of_an_earlier_dbt_run_are_never_taken_for_this_one(
    copied_home: Home, parts: Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A killed dbt leaves no results of its own, but those of the last run still lie about."""
    before = state(copied_home)
    records = "select count(*) from control.check_results"
    recorded = in_warehouse(copied_home, records)
    killed = tmp_path / "dbt"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("orchestration.definitions.dbt_executable", lambda: str(killed))

    steps = Parts(copied_home).build_marts_and_publish()

    assert "dbt could not build the tables" in steps["marts"]
    assert set(steps) == {"marts"}
    assert in_warehouse(copied_home, records) == recorded
    assert state(copied_home) == before


def test_publication_of_a_new_warehouse_says_that_nothing_was_built(copied_home: Home, parts: Parts) -> None:
    before = state(copied_home)
    copied_home.settings.warehouse_path.unlink()
    refusal = parts.publish()
    assert "nothing was published" in refusal and "Run the whole refresh" in refusal
    assert state(copied_home) == before


@pytest.mark.exhaustive
def test_a_newest_day_that_a_gate_has_stopped_holds_up_no_older_one(copied_home: Home) -> None:
    before = copied_home.query("select max(as_of_date) from marts.customer_360")
    stopped = copied_home.refresh("2018-01-03", CUSTOMER360_MAX_FEATURE_DRIFT="0.0000001")
    assert stopped.returncode == 1 and "values_have_not_drifted" in stopped.stderr

    rebuilt = copied_home.refresh("2017-12-20")
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    assert copied_home.query("select max(as_of_date) from marts.customer_360") == before
    days = copied_home.query("select distinct as_of_date from marts.customer_360_history order by all")
    assert days == [(date(2017, 12, 20),), *before]
