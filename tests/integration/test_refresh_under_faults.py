"""Whole refreshes under kills, rivals, readers, damage and rearranged rows: always one version, always the same.

What is compared is the content hash of every published table.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pytest

from orchestration.content_hash import table_content
from orchestration.resources.publication import Publication
from orchestration.settings import PROJECT_ROOT
from tests.pipeline import EXHAUSTIVE, HISTORY_TABLES, Home, rewrite

STEPS = (
    *("landing", "landing_gate", "warehouse", "features_gate", "models__response", "scores__response", "scores_gate"),
    *("scores__monitoring", "monitoring_gate", "marts", "marts_gate", "publication__published_marts"),
)
SAMPLED_STEPS = ("scores__response", "marts_gate")


def inbox(home: Home) -> Path:
    """The home's own input files."""
    assert home.input is not None
    return home.input


def copy_of(home: Home, folder: Path) -> Home:
    """A home of its own with the same state and files."""
    subprocess.run(["cp", "-a", str(home.data), str(folder / "data")], check=True)
    subprocess.run(["cp", "-a", str(home.input), str(folder / "input")], check=True)
    return Home(folder / "data", folder / "input")


def change(home: Home) -> None:
    """Files that give another version: a household less."""
    rewrite(inbox(home), "transactions", "from rows where household_id < (select max(household_id) from rows)")


def start(home: Home, **environment: str) -> "subprocess.Popen[str]":
    """A refresh under way, with its dbt in one process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration", "refresh"],
        cwd=PROJECT_ROOT,
        env=home.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def runs(home: Home) -> set[Path]:
    """The event logs of the home's runs."""
    return set((home.settings.dagster_home / "history" / "runs").glob("*-*.db"))


def wait_for(home: Home, step: str, before: set[Path], refresh: "subprocess.Popen[str]") -> None:
    """Returns once the new run has finished a step; its event log says so."""
    query = "select count(*) from event_logs where dagster_event_type = 'STEP_SUCCESS' and step_key = ?"
    deadline = time.monotonic() + 600  # a refresh that waits for ever, say for what a killed one holds
    while refresh.poll() is None and time.monotonic() < deadline:
        for log in runs(home) - before:
            try:
                with sqlite3.connect(f"file:{log}?mode=ro", uri=True) as connection:
                    if connection.execute(query, [step]).fetchone() != (0,):
                        return
            except sqlite3.OperationalError:
                pass  # being made
        time.sleep(0.01)
    raise AssertionError(f"the refresh ended, or hung, before {step} had succeeded:\n{kill(refresh)}")


def kill(refresh: "subprocess.Popen[str]") -> str:
    """Ends a refresh with all its processes, wherever it stands; what it had printed."""
    if refresh.poll() is None:
        os.killpg(refresh.pid, signal.SIGKILL)
    output, _ = refresh.communicate()
    return output


def hashes(publication: Publication) -> dict[str, str]:
    """Content hash of each table that does not describe the run itself."""
    return {
        table.table_name: table.content_hash
        for table in publication.tables
        if table.table_name != "data_quality_results"
    }


def current_hashes(home: Home) -> dict[str, str]:
    """The hashes of the current version, whose tables are all what it says: intact, and of one version."""
    publication = home.store.verify()
    with duckdb.connect(str(home.store.current_file()), read_only=True) as connection:
        rows = connection.execute("select table_name, version, content_hash from marts.publication").fetchall()
        found = {name: table_content(connection, f"marts.{name}").content_hash for name, *_ in rows}
    assert {version for _, version, _ in rows} == {publication.version}
    assert {name: content_hash for name, _, content_hash in rows} == found
    return hashes(publication)


# Rivals, readers, and what must not matter --------------------------------------------------------


@dataclass(frozen=True)
class Rivalry:
    """Two refreshes of changed files at once, a third that waits, and a reader all the while.

    Attributes:
        old: Content before.
        new: Content of the refresh that ran alone on the warehouse.
        waited: Content of the one that waited, with one thread, in another time zone and another locale.
        refused: Exit code and output of the one that did not wait.
        seconds: What a refresh takes once it has the lock.
        reads: What the reader read first and last.
    """

    old: dict[str, str]
    new: dict[str, str]
    waited: dict[str, str]
    refused: tuple[int, str]
    seconds: float
    reads: list[tuple[str, int]]


@pytest.fixture(scope="module")
def rivalry(small_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Rivalry:
    home = copy_of(small_home, tmp_path_factory.mktemp("rivalry"))
    change(home)
    before, old = runs(home), current_hashes(home)
    read = (
        "select any_value(version), (select sum(lifetime_count_orders) from marts.customer_360) from marts.publication"
    )
    with duckdb.connect(str(home.store.current_file()), read_only=True) as reader:
        reads = reader.execute(read).fetchall()
        first = start(home, CUSTOMER360_THREADS="2", TZ="UTC", LC_ALL="C.UTF-8")
        wait_for(home, "landing", before, first)
        environment = {"CUSTOMER360_THREADS": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
        third = start(home, CUSTOMER360_LOCK_TIMEOUT_SECONDS="600", **environment)
        second = home.refresh()
        assert first.poll() is None, "the first refresh was over before the second had been refused"
        output, _ = first.communicate()
        assert first.returncode == 0, output
        output, _ = third.communicate()
        assert third.returncode == 0, output
        reads += reader.execute(read).fetchall()
    *_, new, waited = home.store.versions()
    refused = (second.returncode, second.stderr)
    seconds = (waited.published_at - new.published_at).total_seconds()
    return Rivalry(old, hashes(new), hashes(waited), refused, seconds, reads)


def test_of_two_refreshes_at_once_one_is_refused_and_one_that_waits_runs_later(rivalry: Rivalry) -> None:
    code, output = rivalry.refused
    assert code != 0
    assert "another refresh is running" in output.splitlines()[-1]
    assert "CUSTOMER360_LOCK_TIMEOUT_SECONDS" in output.splitlines()[-1]
    assert rivalry.new != rivalry.old


def test_threads_time_zone_and_locale_make_no_difference(rivalry: Rivalry) -> None:
    assert rivalry.waited == rivalry.new


def test_a_reader_keeps_the_version_that_it_opened_and_fails_no_refresh(rivalry: Rivalry) -> None:
    first, last = rivalry.reads
    assert first == last


# Kills --------------------------------------------------------------------------------------------


def test_killed_anywhere_readers_have_one_version_and_a_plain_rerun_gives_the_undisturbed_one(
    copied_home: Home, rivalry: Rivalry
) -> None:
    """Every run but the first starts on what a killed one has left, and is killed later than that one at the latest."""
    home = copied_home
    change(home)
    generator = random.Random(20240601)
    instants = sorted(generator.uniform(0, rivalry.seconds) for _ in range(5 if EXHAUSTIVE else 1))
    moments: list[float | str] = [*instants, *(STEPS if EXHAUSTIVE else SAMPLED_STEPS)]
    for moment in moments:
        before = runs(home)
        refresh = start(home)
        if isinstance(moment, str):
            wait_for(home, moment, before, refresh)
        else:
            time.sleep(moment)
        kill(refresh)
        assert current_hashes(home) in (rivalry.old, rivalry.new), f"after a kill at {moment}"

    outcome = home.refresh()
    assert outcome.returncode == 0, outcome.stderr
    assert current_hashes(home) == rivalry.new


# Time, order and damage ---------------------------------------------------------------------------

DAY = date(2017, 10, 2)
MIDNIGHT = "timestamp '2017-10-02 04:00:00'"  # in New York


@pytest.fixture(scope="module")
def past(small_input: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home that only ever refreshed DAY, from files that end there; its warehouse was damaged before."""
    folder = tmp_path_factory.mktemp("past")
    subprocess.run(["cp", "-a", str(small_input), str(folder / "input")], check=True)
    home = Home(folder / "data", folder / "input")
    rewrite(inbox(home), "transactions", f"from rows where transaction_timestamp < {MIDNIGHT}")
    rewrite(inbox(home), "coupon_redemptions", f"from rows where redemption_date < date '{DAY}'")
    home.data.mkdir()
    home.settings.warehouse_path.write_bytes(b"\xff" * 8192)
    yield home


def test_a_damaged_warehouse_is_named_and_removing_it_is_all_there_is_to_do(past: Home) -> None:
    outcome = past.refresh(str(DAY))
    assert outcome.returncode == 1
    last = outcome.stderr.splitlines()[-1]
    assert str(past.settings.warehouse_path) in last and "remove it: the next refresh builds it again" in last
    assert past.store.current() is None

    past.settings.warehouse_path.unlink()
    outcome = past.refresh(str(DAY))
    assert outcome.returncode == 0, outcome.stderr
    assert current_hashes(past)
    assert past.query("select distinct as_of_date from marts.customer_360_history") == [(DAY,)]


def test_rows_from_the_day_on_change_nothing_of_that_day(past: Home, new_home: Callable[[], Home]) -> None:
    home = new_home()
    at_midnight = (
        f"select * replace (-1 as basket_id, {MIDNIGHT} as transaction_timestamp) from rows"
        " where basket_id = (select min(basket_id) from rows)"
    )
    newcomer = (
        f"select * replace (-2 as basket_id, 999999 as household_id, {MIDNIGHT} as transaction_timestamp) from rows"
        " where basket_id = (select max(basket_id) from rows)"
    )
    rewrite(inbox(home), "transactions", f"from rows union all {at_midnight} union all {newcomer}")

    outcome = home.refresh(str(DAY))

    assert outcome.returncode == 0, outcome.stderr
    assert current_hashes(home) == current_hashes(past)


def test_an_old_day_rebuilt_from_rearranged_rows_gives_that_day_and_leaves_the_newest(
    copied_home: Home, small_home: Home, past: Home
) -> None:
    home = copied_home
    for file in inbox(home).glob("*.parquet"):
        rewrite(inbox(home), file.stem, "from (from rows union all (from rows limit 500)) order by hash(columns(*))")

    outcome = home.refresh(str(DAY))

    assert outcome.returncode == 0, outcome.stderr
    assert f"{DAY} was rebuilt in the history" in outcome.stdout
    newest, rebuilt = current_hashes(small_home), current_hashes(home)
    for history in HISTORY_TABLES:
        assert rebuilt.pop(history) != newest.pop(history)
    assert rebuilt == newest

    history = "from marts.customer_360_history where as_of_date {} order by all"
    assert home.query(history.format(f"= '{DAY}'")) == past.query(history.format(f"= '{DAY}'"))
    assert home.query(history.format(f"!= '{DAY}'")) == small_home.query(history.format("is not null"))
    # The newest day follows the rebuilt one now.
    newest_day = str(home.query("select max(as_of_date) from marts.customer_360_history")[0][0])
    assert home.query(
        "select distinct as_of_date::varchar, previous_as_of_date::varchar from marts.segment_transitions order by 1"
    ) == [(str(DAY), None), (newest_day, str(DAY))]
