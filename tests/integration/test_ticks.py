"""Ticks of the schedule by Dagster's own scheduler, queue and sensors: missed, fired twice, beside a run by hand."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import InstigatorType, TickStatus
from dagster._core.storage.tags import PARTITION_NAME_TAG, SCHEDULE_NAME_TAG, SCHEDULED_EXECUTION_TIME_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from orchestration import cli
from orchestration.run import end_gone_runs
from orchestration.schedules import forget_ticks_ahead
from orchestration.settings import PROJECT_ROOT
from tests.faults import current_hashes, inbox, kill, runs, start, wait_for
from tests.pipeline import Home

logger = logging.getLogger(__name__)
MONDAY = datetime(2026, 11, 23, 6, tzinfo=ZoneInfo("America/New_York"))
WEDNESDAY, THURSDAY = MONDAY + timedelta(days=2), MONDAY + timedelta(days=3)


@dataclass(frozen=True)
class Daemon:
    """What the daemon does, one turn at a time and at any hour; the code location is a process of its own, as in life.

    Attributes:
        home: Whose.
        context: With the code location.
        told: File that alerts are appended to.
    """

    home: Home
    context: WorkspaceProcessContext
    told: Path

    @property
    def instance(self) -> DagsterInstance:
        return self.context.instance

    def tick(self, at: datetime) -> list[DagsterRun]:
        """The scheduler's turn at an instant; all runs that it ever asked for, oldest first."""
        problems = [found for found in launch_scheduled_runs(self.context, logger, at, {}) if found]
        assert problems == []
        filters = RunsFilter(tags={SCHEDULE_NAME_TAG: "daily_refresh_schedule"})
        return list(reversed(self.instance.get_runs(filters)))

    def dequeue(self) -> list[DagsterRunStatus]:
        """The queue's turn; what became of the schedule's runs, oldest first."""
        assert [found for found in QueuedRunCoordinatorDaemon(1).run_iteration(self.context) if found] == []
        filters = RunsFilter(tags={SCHEDULE_NAME_TAG: "daily_refresh_schedule"})
        return [run.status for run in reversed(self.instance.get_runs(filters))]

    def wait(self, run: DagsterRun) -> DagsterRunStatus:
        """How a run that was launched ends."""
        while True:
            found = self.instance.get_run_by_id(run.run_id)
            assert found is not None
            if found.is_finished:
                return found.status
            time.sleep(0.2)

    def alerts(self) -> list[str]:
        """The sensors' turn, as if their intervals were over; all that was told so far."""
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            data = state.instigator_data
            if data is not None:
                woken = data._replace(last_tick_start_timestamp=0.0, last_tick_timestamp=0.0)  # type: ignore[call-arg]
                self.instance.update_instigator_state(state.with_data(woken))
        for found in execute_sensor_iteration(self.context, logger, None, None):
            assert found is None, found
        return self.told.read_text().splitlines() if self.told.exists() else []


@pytest.fixture
def daemon(copied_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Daemon]:
    told = tmp_path / "told"
    environment = copied_home.environment(CUSTOMER360_ALERT_COMMAND=f"sh -c 'cat >> {told}; echo >> {told}'")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cli.prepare(copied_home.settings, copied_home.source)
    monkeypatch.setenv("DAGSTER_HOME", str(copied_home.settings.dagster_home))
    for name, value in copied_home.settings.dbt_environment().items():
        monkeypatch.setenv(name, value)
    location = ModuleTarget("orchestration.definitions", None, str(PROJECT_ROOT), "customer360")
    with DagsterInstance.get() as instance, WorkspaceProcessContext(instance, location) as context:
        yield Daemon(copied_home, context, told)


def test_ticks_that_were_missed_fired_twice_or_met_a_run_by_hand(daemon: Daemon) -> None:
    home, undisturbed = daemon.home, current_hashes(daemon.home)
    version = home.store.versions()[-1]
    assert daemon.tick(MONDAY) == [] and daemon.alerts() == []

    # The daemon was down for two days: one refresh, of the day that is due now.
    (run,) = daemon.tick(WEDNESDAY)
    assert run.tags[PARTITION_NAME_TAG] == "2018-01-01"
    assert run.tags[SCHEDULED_EXECUTION_TIME_TAG] == "2026-11-25T10:00:00+00:00"

    # It was killed once it had asked for the run and before it had noted so; and its clock goes back.
    (schedule,) = [
        state
        for state in daemon.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
        if state.instigator_name == "daily_refresh_schedule"
    ]
    (tick,) = daemon.instance.get_ticks(schedule.instigator_origin_id, schedule.selector_id)
    daemon.instance.update_tick(tick.with_status(TickStatus.STARTED))
    for at in (WEDNESDAY, WEDNESDAY - timedelta(hours=3), WEDNESDAY):
        assert daemon.tick(at) == [run]

    # Somebody refreshes by hand, and is killed: the schedule's run waits, and then finds its way.
    before = runs(home)
    by_hand = start(home)
    wait_for(home, "landing", before, by_hand)
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    assert daemon.dequeue() == [DagsterRunStatus.QUEUED]
    assert end_gone_runs(daemon.instance, home.settings, in_an_hour) == 0
    kill(by_hand)
    assert end_gone_runs(daemon.instance, home.settings) == 0, "one that has just begun may not have the lock yet"
    assert daemon.dequeue() == [DagsterRunStatus.QUEUED]
    assert end_gone_runs(daemon.instance, home.settings, in_an_hour) == 1
    assert daemon.dequeue() in ([DagsterRunStatus.STARTING], [DagsterRunStatus.STARTED])

    # The next tick comes while the run is under way: the same day, as no order has come, and it waits.
    _, following = daemon.tick(THURSDAY)
    assert following.tags[PARTITION_NAME_TAG] == "2018-01-01"
    assert daemon.dequeue()[1] == DagsterRunStatus.QUEUED
    assert daemon.wait(run) == DagsterRunStatus.SUCCESS
    published = home.store.versions()[-1]
    assert int(published.version[:6]) == int(version.version[:6]) + 1
    assert current_hashes(home) == undisturbed
    assert daemon.alerts() == []

    # What fails is told once, however often the sensors look.
    (inbox(home) / "transactions.parquet").unlink()
    daemon.dequeue()
    assert daemon.wait(following) == DagsterRunStatus.FAILURE
    assert daemon.dequeue() == [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]
    for _ in range(2):
        (alert,) = daemon.alerts()
        assert "transactions.parquet is missing" in alert and published.version in alert


def test_ticks_of_a_clock_that_was_a_year_ahead_do_not_stop_the_schedule(daemon: Daemon) -> None:
    daemon.tick(MONDAY)
    (ahead,) = daemon.tick(MONDAY + timedelta(days=366))
    assert daemon.tick(WEDNESDAY) == [ahead], "Dagster has seen a later tick"
    assert forget_ticks_ahead(daemon.instance, WEDNESDAY - timedelta(hours=3)) >= 1
    _, due = daemon.tick(WEDNESDAY)
    assert due.tags[SCHEDULED_EXECUTION_TIME_TAG] == "2026-11-25T10:00:00+00:00"
    assert forget_ticks_ahead(daemon.instance, WEDNESDAY) == 0
