"""Refreshes under a clock that is wrong or jumps: the same content, versions that go up, no alarm false or lost.

What a version holds follows from the files and the day alone, so every refresh here is compared with one by the right
clock. Files are delivered with their rows in another order: they land anew, and hold the same.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, build_sensor_context

from orchestration.landing import in_force, read_ledger
from orchestration.resources.publication import Publication
from orchestration.status import status
from tests.clock import Clock
from tests.faults import current_hashes, inbox, runs, start, wait_for
from tests.integration.test_alerts_of_refreshes import definitions_of
from tests.pipeline import Home, rewrite
from tests.unit.test_alerts import serving
from tests.unit.test_alerts import status as answer

YEAR, DAY, HOUR = timedelta(days=365), timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def deliver(home: Home, order: str) -> None:
    """The same orders in a new file."""
    rewrite(inbox(home), "transactions", f"from rows order by hash(basket_id, product_id, '{order}')")


def newest_load(home: Home) -> datetime:
    """When the file of orders in force was loaded; it has to be the one delivered last."""
    (entry,) = in_force(read_ledger(home.settings.raw_dir))["transactions"]
    assert entry == [entry for entry in read_ledger(home.settings.raw_dir) if entry.table == "transactions"][-1]
    return datetime.fromisoformat(entry.loaded_at)


def publish(home: Home, clock: Clock, jumps: dict[str, timedelta]) -> Publication:
    """A refresh during which the clock jumps after a step; what is current then is its version."""
    before, published = runs(home), home.store.current()
    refresh = start(home, **clock.environment)
    for step, off in jumps.items():
        wait_for(home, step, before, refresh)
        clock.set(off)
    output, _ = refresh.communicate()
    assert refresh.returncode == 0, output
    current = home.store.current()
    assert current is not None and published is not None
    assert int(current.version[:6]) == int(published.version[:6]) + 1
    assert current == home.store.versions()[-1]
    return current


def seen_by(home: Home, off: timedelta = timedelta()) -> tuple[str, bool]:
    """The words of the status at a time, and whether all is well."""
    with DagsterInstance.local_temp(str(home.settings.dagster_home)) as instance:
        text, is_well = status(home.settings, home.source, instance, datetime.now(UTC) + off)
    words = " ".join(text.split())
    assert " -" not in words.split("models")[0], "no age is negative"
    return words, is_well


def alarms(home: Home) -> list[str]:
    """Subjects of what the sensor tells in two ticks."""
    with serving(answer(200)) as server, DagsterInstance.ephemeral() as instance:
        sensor = definitions_of(home, alert_webhook=server.address).resolve_sensor_def("missed_refresh_sensor")
        told = sensor.evaluate_tick(build_sensor_context(instance=instance))
        sensor.evaluate_tick(build_sensor_context(instance=instance, cursor=told.cursor))
    return [alert["subject"] for alert in server.received]


@pytest.mark.exhaustive
def test_a_year_ahead(copied_home: Home, clock: Clock) -> None:
    """Published and pruned by a clock that is a year ahead, seen by the right one."""
    home, undisturbed = copied_home, current_hashes(copied_home)
    clock.set(YEAR)
    deliver(home, "in a year")
    ahead = publish(home, clock, {})
    assert current_hashes(home) == undisturbed
    assert newest_load(home) - datetime.now(UTC) > YEAR - DAY

    # Whoever looks by the right clock is told, once; nobody reads that the version is fresh for a year.
    text, is_well = seen_by(home)
    assert not is_well and "which is yet to come: a clock is or was wrong. Set it, then run make refresh" in text
    assert "the newest landed at" in text and seen_by(home, YEAR)[1]
    assert home.query("select age_hours, is_fresh from marts.freshness") == [(0, False)]
    assert alarms(home) == ["Whether a refresh of complete_journey is due cannot be told: a clock is or was wrong."]

    # What is pruned is old by the wrong clock: runs, and what their checks found. What is needed stays.
    outcome = home.run("prune", **clock.environment)
    assert outcome.returncode == 0, outcome.stderr
    assert "0 superseded raw files" in outcome.stdout and "0 score files" in outcome.stdout
    assert "0 model versions" in outcome.stdout and len(home.store.versions()) == 2
    assert home.run("verify").returncode == 0
    assert home.store.rollback() == home.store.versions()[0] and home.store.rollback(ahead.version) == ahead


def test_a_clock_that_is_behind_the_orders_lands_nothing(copied_home: Home, clock: Clock) -> None:
    """They would be quarantined for being later than the load, and stay there when the clock is right again."""
    home, before = copied_home, newest_load(copied_home)
    deliver(home, "by a clock of another year")
    clock.set(datetime(2017, 6, 1, 12, tzinfo=UTC) - datetime.now(UTC))
    outcome = home.refresh(**clock.environment)
    assert outcome.returncode == 1
    assert "days after now, 2017-06-01 12:" in outcome.stderr and "Set the clock if it is behind" in outcome.stderr
    assert newest_load(home) == before


@pytest.mark.exhaustive
def test_jumps_in_the_middle_of_one_refresh_after_another(copied_home: Home, clock: Clock) -> None:
    """Each begins by the clock that the one before has ended with; in the last one it is right again."""
    home, undisturbed = copied_home, current_hashes(copied_home)
    jumps = {"landing": -HOUR, "warehouse": -DAY, "scores__monitoring": HOUR, "marts_gate": YEAR, "landing_gate": DAY}
    jumps["marts"] = timedelta()
    for after, off in jumps.items():
        deliver(home, after)
        publish(home, clock, {after: off})
        newest_load(home)
        assert current_hashes(home) == undisturbed
        text, is_well = seen_by(home)
        assert ("yet to come" in text.split("landed")[0]) == (off > HOUR)
        assert is_well or abs(off) > HOUR
    assert home.run("verify").returncode == 0 and alarms(home) == []
    assert f"version {home.store.versions()[-1].version}" in text
    # What another run found when the clock was ahead is of a later time, and is not what the status tells.
    later = "select max(checked_at) > max(published_at) from marts.data_quality_results, marts.publication"
    assert home.query(later) == [(True,)]
