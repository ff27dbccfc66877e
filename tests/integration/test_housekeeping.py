"""What keeps years in bounds and whole: pruning by policy, verifying, one screen of status, and replaying a past."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from dagster import DagsterInstance

from orchestration import cli
from orchestration.housekeeping import prune
from orchestration.landing import in_force, read_ledger
from orchestration.replay import cut_files, days_between, span_of_days
from orchestration.resources.warehouse import exclusive_lock
from orchestration.settings import SettingsError, load_settings
from orchestration.status import WIDTH, status
from tests.integration.test_alerts_of_refreshes import backdate
from tests.integration.test_gates_block import inbox
from tests.pipeline import HISTORY_TABLES, Home, rewrite


def instance_of(home: Home) -> DagsterInstance:
    """Dagster's records of a home, in its own folder."""
    return DagsterInstance.local_temp(str(home.settings.dagster_home))


def flip_a_bit(path: Path, at: float = 0.5) -> None:
    """Turns one bit of a file, so far into it."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(bytes(content))


# Pruning -------------------------------------------------------------------------------------------


def test_what_is_old_goes_and_what_is_needed_stays(copied_home: Home) -> None:
    home = copied_home
    rewrite(inbox(home), "demographics", "from rows limit 4")
    assert home.refresh(CUSTOMER360_MIN_VOLUME_RATIO="0").returncode == 0
    scores = home.settings.scores_dir / "churn"
    old, kept = scores / "2016-11-01.churn.parquet", scores / "2017-01-01.churn.parquet"
    for path in (old, kept):
        shutil.copy(scores / "2018-01-01.churn.parquet", path)
    fits = home.settings.fits_dir
    fits.mkdir(parents=True)
    for name, age in (("used.json", 80), ("unused.json", 91)):
        (fits / name).touch()
        os.utime(fits / name, times=((datetime.now(UTC) - timedelta(days=age)).timestamp(),) * 2)
    with duckdb.connect(str(home.settings.warehouse_path)) as connection:
        connection.execute("update control.check_results set checked_at = timestamp '2001-01-01'")
        (all_results,) = connection.execute("select count(*) from control.check_results").fetchall()[0]
    hashes = home.published_hashes()
    settings = load_settings(data=home.data, keep_raw_loads=1)
    with instance_of(home) as instance:
        runs = instance.get_runs()
        assert len(runs) == 2
        backdate_run(home, runs[-1].run_id)
        removed = {pruned.what: pruned for pruned in prune(settings, instance)}
        assert {run.run_id for run in instance.get_runs()} == {run.run_id for run in runs[:-1]}
        assert list(instance.all_logs(runs[-1].run_id)) == []
        assert not (home.settings.dagster_home / "storage" / runs[-1].run_id / "compute_logs").exists()

    assert (removed["superseded raw files"].count, removed["score files"].count, removed["runs"].count) == (1, 1, 1)
    assert removed["superseded raw files"].bytes > 0
    assert not old.exists() and kept.exists()
    assert [path.name for path in fits.iterdir()] == ["used.json"] and removed["fits"].count == 1
    assert len(list((home.settings.raw_dir / "demographics").glob("*.parquet"))) == 1
    assert all(
        (home.settings.raw_dir / entry.raw_file).exists()
        for entries in in_force(read_ledger(home.settings.raw_dir)).values()
        for entry in entries
    )
    with duckdb.connect(str(home.settings.warehouse_path), read_only=True) as connection:
        left, checks = connection.execute(
            "select count(*), count(distinct (check_name, table_name)) from control.check_results"
        ).fetchall()[0]
    # Beside the newest of each check stands the publication before: it says which day readers had.
    assert left == checks + 1 < all_results and removed["check results"].count == all_results - left

    # What is left is enough: the same day again, and nothing that was pruned is missed.
    assert home.run("verify").returncode == 0
    outcome = home.refresh()
    assert outcome.returncode == 0, outcome.stderr
    assert home.published_hashes() == hashes


def backdate_run(home: Home, run_id: str) -> None:
    """As if a run had ended long ago."""
    with sqlite3.connect(home.settings.dagster_home / "history" / "runs.db") as store:
        store.execute("update runs set update_timestamp = '2001-01-01 00:00:00' where run_id = ?", (run_id,))


def test_nothing_is_pruned_while_a_refresh_runs(copied_home: Home) -> None:
    with exclusive_lock(copied_home.settings.warehouse_path.with_suffix(".lock"), 0):
        outcome = copied_home.run("prune")
    assert outcome.returncode == 2 and "another refresh is running" in outcome.stderr


def test_a_new_home_has_nothing_to_prune(tmp_path: Path) -> None:
    home = Home(tmp_path / "data")
    outcome = home.run("prune")
    assert outcome.returncode == 0, outcome.stderr
    assert "0 superseded raw files" in outcome.stdout and "0 runs" in outcome.stdout


# Verifying -----------------------------------------------------------------------------------------


def test_all_is_whole_after_a_refresh(small_home: Home) -> None:
    outcome = small_home.run("verify")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    whole = ("published versions", "raw files", "registered models", "scores", "warehouse")
    assert outcome.stdout.splitlines() == [f"{what}: whole" for what in whole]


@pytest.mark.parametrize(
    "find, words",
    [
        (lambda home: home.store.current_file(), ["Published version", "is damaged", "make rollback"]),
        (
            lambda home: next(home.settings.raw_dir.glob("products/*.parquet")),
            ["is damaged; land products.parquet again"],
        ),
        (lambda home: home.settings.warehouse_path, ["warehouse.duckdb is damaged", "Remove it"]),
    ],
)
def test_a_flipped_bit_is_found_and_named(copied_home: Home, find: Callable[[Home], Path], words: list[str]) -> None:
    path = find(copied_home)
    in_use = path == copied_home.settings.warehouse_path
    flip_a_bit(path, place_of_data(path) if in_use else 0.5)
    outcome = copied_home.run("verify")
    assert outcome.returncode == 1
    (problem,) = outcome.stderr.splitlines()
    assert all(word in problem for word in words), problem


def place_of_data(path: Path) -> float:
    """A place in a DuckDB file that holds values: blocks that are free may turn as they like."""
    with duckdb.connect(str(path), read_only=True) as connection:
        blocks = connection.execute(
            "select distinct block_id from pragma_storage_info('features.customer_features') where block_id >= 0"
        ).fetchall()
        (size,) = connection.execute("select block_size from pragma_database_size()").fetchall()[0]
    return float((3 * 4096 + blocks[0][0] * size + size // 2) / path.stat().st_size)


def test_a_score_file_cut_short_and_a_damaged_ledger_are_found(copied_home: Home) -> None:
    path = copied_home.settings.scores_dir / "churn" / "2018-01-01.churn.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    ledger = copied_home.settings.raw_dir / "ledger.jsonl"
    ledger.write_text("{}\n" + ledger.read_text())
    outcome = copied_home.run("verify")
    assert outcome.returncode == 1
    raw, scores = outcome.stderr.splitlines()
    assert "line 1 is damaged" in raw
    assert f"{path} cannot be read" in scores and "make refresh AS_OF=2018-01-01 makes it again" in scores


# Status --------------------------------------------------------------------------------------------


def screen(home: Home, now: datetime | None = None) -> tuple[str, bool]:
    with instance_of(home) as instance:
        return status(home.settings, home.source, instance, now or datetime.now(UTC))


def test_the_status_is_one_screen(copied_home: Home) -> None:
    text, is_well = screen(copied_home)
    current = copied_home.store.current()
    assert is_well and current is not None and current.version in text
    lines = text.splitlines()
    assert len(lines) <= 30 and max(map(len, lines)) <= WIDTH
    said = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    assert {"published", "landed", "runs", "failed", "models"} <= set(said)
    assert "as of 2018-01-01  success" in said["runs"]
    assert "8 files in force" in said["landed"] and said["models"].split()[1:4] == ["churn", "nobody", "scores:"]


def test_the_status_says_what_failed_and_that_readers_are_late(copied_home: Home) -> None:
    products = inbox(copied_home) / "products.parquet"
    products.write_bytes(products.read_bytes()[:-1000])
    assert copied_home.refresh().returncode == 1
    backdate(copied_home, timedelta(days=3))
    text, is_well = screen(copied_home)
    assert max(map(len, text.splitlines())) <= WIDTH
    said = " ".join(text.split())
    assert not is_well and "late: the next was due by" in said
    assert "failure" in said and "products.parquet is not a whole Parquet file" in said
    assert copied_home.run("status").returncode == 1


def test_the_status_of_nothing_and_of_damage(tmp_path: Path, copied_home: Home) -> None:
    outcome = Home(tmp_path / "new").run("status")
    assert outcome.returncode == 0, outcome.stderr
    assert "nothing yet: run make refresh" in outcome.stdout and "nobody scores yet" in outcome.stdout
    current = copied_home.store.current()
    assert current is not None
    flip_a_bit(copied_home.store.root / "versions" / f"{current.version}.json")
    text, is_well = screen(copied_home)
    assert not is_well and "is damaged" in text


# Replaying -----------------------------------------------------------------------------------------


def test_days_and_spans() -> None:
    assert days_between(date(2017, 1, 1), date(2017, 1, 20), 7) == [date(2017, 1, day) for day in (1, 8, 15)]
    assert [span_of_days(text) for text in ("7", "7d", "1w")] == [7, 7, 7]
    for text in ("", "d", "7 days", "-1", "1m"):
        with pytest.raises(ValueError, match="give it as 7, 7d or 1w"):
            span_of_days(text)


def test_files_of_a_day_end_at_its_midnight(small_home: Home, tmp_path: Path) -> None:
    assert small_home.input is not None
    cut_files(small_home.source, small_home.input, date(2017, 10, 2), tmp_path / "files")
    cut_files(small_home.source, small_home.input, date(2017, 10, 2), tmp_path / "files")  # once more, over the same
    with duckdb.connect() as connection:
        (cut, newest), (expected,) = (
            connection.execute(query).fetchall()[0]
            for query in (
                f"select count(*), max(transaction_timestamp) from '{tmp_path}/files/transactions.parquet'",
                f"select count(*) from '{small_home.input}/transactions.parquet'"
                " where transaction_timestamp < timestamp '2017-10-02 04:00:00'",
            )
        )
    assert cut == expected and newest < datetime(2017, 10, 2, 4)
    assert (tmp_path / "files" / "products.parquet").resolve() == small_home.input / "products.parquet"


@pytest.mark.exhaustive
def test_a_replay_goes_on_past_a_failed_day_and_where_it_was_stopped(
    new_home: Callable[[], Home], small_home: Home
) -> None:
    """A file that is cut short stops the second day; delivered again, the same replay goes on from there."""
    home = new_home()
    outcome = home.run("replay", "2017-12-18", "2017-12-18")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    first = home.store.current()
    assert first is not None and first.as_of_date == date(2017, 12, 18)
    assert "2017-12-18    1 of 1" in outcome.stdout and first.version in outcome.stdout

    products = inbox(home) / "products.parquet"
    whole = products.read_bytes()
    products.write_bytes(whole[:-1000])
    outcome = home.run("replay", "2017-12-18", "2018-01-01", "14d")
    assert outcome.returncode == 1
    assert "1 days are behind what is published" in outcome.stdout
    assert "not published" in outcome.stdout and "products.parquet is not a whole Parquet file" in outcome.stdout
    assert home.store.current() == first

    products.write_bytes(whole)
    outcome = home.run("replay", "2017-12-18", "2018-01-01", "14d")
    assert outcome.returncode == 0, outcome.stdout
    current = home.store.current()
    assert current is not None and current.as_of_date == date(2018, 1, 1)
    # As it happened, or all at once: the newest day is the same.
    replayed, at_once = home.published_hashes(), small_home.published_hashes()
    assert {name: replayed[name] for name in replayed.keys() - HISTORY_TABLES} == {
        name: at_once[name] for name in at_once.keys() - HISTORY_TABLES
    }
    outcome = home.run("replay", "2017-12-18", "2018-01-01", "14d")
    assert outcome.returncode == 2 and "a replay goes forward" in outcome.stderr


def test_a_replay_without_a_day_is_refused(
    small_home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUSTOMER360_DATA", str(small_home.data))
    assert cli.main(["replay", "2018-01-01", "2017-01-01"]) == 2
    assert "there is no day" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="there is no day"):
        days_between(date(2017, 1, 1), date(2017, 1, 2), 0)
