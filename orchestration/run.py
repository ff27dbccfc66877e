"""One run of the daily refresh in this process, and what became of any run, as Dagster's instance has it.

The stock command loads the code location several times over and starts a process more; this loads it once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb
from dagster import AssetKey, DagsterEventType, DagsterInstance, DagsterRunStatus, Definitions, RunsFilter
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.execution.plan.objects import StepFailureData

from orchestration.jobs import DAILY_REFRESH
from orchestration.resources.warehouse import WarehouseError, exclusive_lock
from orchestration.settings import Settings

# Who starts a run with a command hears of it there and then; the sensors leave it alone.
STARTED_BY_COMMAND: Mapping[str, str] = {"customer360/started_by": "command"}

# A run takes the lock soon after it has begun.
GONE_AFTER_SECONDS = 300
ENDS_WITHIN_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        run_id: Dagster's id of the run.
        failures: What went wrong, a line or more each; none where the run did all it promised.
    """

    run_id: str
    failures: tuple[str, ...]


def _reason(failure: StepFailureData) -> str:
    """What a step said when it gave up, else the error that stopped it."""
    said = failure.user_failure_data.description if failure.user_failure_data else None
    if said or failure.error is None:
        return said or "it failed without a word"
    cause = failure.error
    while cause.cls_name != duckdb.OutOfMemoryException.__name__:
        if cause.cause is None:
            return failure.error.to_string()
        cause = cause.cause
    return f"CUSTOMER360_MEMORY_LIMIT was not enough ({cause.message.splitlines()[0]}). Give more"


def failures_of(instance: DagsterInstance, run_id: str) -> list[str]:
    """What went wrong in a run, a line or more each: what stopped its steps, and the blocking checks that failed."""
    failures = []
    events = {DagsterEventType.STEP_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION}
    for entry in instance.all_logs(run_id, of_type=events):
        event = entry.get_dagster_event()
        if event.event_type == DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            if error is not None and error.cls_name == DagsterAssetCheckFailedError.__name__:
                continue  # what the check found is told below
            failures.append(f"{event.step_key}: {_reason(event.step_failure_data)}")
        else:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed and evaluation.blocking and evaluation.description:
                failures.append(evaluation.description)
    return failures


def broken_promises(instance: DagsterInstance, run_id: str) -> list[AssetKey]:
    """Assets that a run planned and has not materialized. A step that is skipped leaves a run green all the same."""

    def keys(event_type: DagsterEventType) -> set[Any]:
        entries: Iterable[Any] = instance.all_logs(run_id, of_type=event_type)
        return {entry.dagster_event.asset_key for entry in entries}

    planned = keys(DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    return sorted(planned - keys(DagsterEventType.ASSET_MATERIALIZATION))


def describe_promises(keys: Iterable[AssetKey]) -> str:
    """The sentence about assets that were left out."""
    names = ", ".join(key.to_user_string() for key in keys)
    return f"the run promised {names} and did not materialize them. Look at their steps, then refresh again"


def _is_ending(instance: DagsterInstance, run_id: str, now: datetime) -> bool:
    """Whether a run has just done all it promised: it lets go of the lock a moment before it says that it has ended."""
    if broken_promises(instance, run_id) or any(step.end_time is None for step in instance.get_run_step_stats(run_id)):
        return False
    newest = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return bool(newest) and abs(now.timestamp() - newest[0].timestamp) < ENDS_WITHIN_SECONDS


def end_killed_runs(instance: DagsterInstance, now: datetime | None = None) -> int:
    """A killed run could not say that it has ended: it would count as running, and keep its pool's slot, for ever.

    Args:
        instance: With the runs; whoever calls this holds the lock, so that no run that is alive does.
        now: Aware; the clock's by default.

    Returns:
        How many have been ended.
    """
    now = now or datetime.now(UTC)
    runs = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    killed = [run for run in runs if not _is_ending(instance, run.run_id, now)]
    for run in killed:
        instance.report_run_failed(run, "The process of the run is gone.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return len(killed)


def end_gone_runs(instance: DagsterInstance, settings: Settings, now: datetime | None = None) -> int:
    """The same for the daemon, which would start nothing more: ends runs that began a while ago and hold no lock.

    Args:
        instance: With the runs.
        settings: Where the lock is.
        now: Aware; the clock's by default.

    Returns:
        How many; none while a refresh runs.
    """
    now = now or datetime.now(UTC)
    at = now.timestamp()
    begun = [record.start_time for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED]))]
    if not begun or any(start is None or abs(at - start) < GONE_AFTER_SECONDS for start in begun):
        return 0
    try:
        with exclusive_lock(settings.warehouse_path.with_suffix(".lock"), 0):
            return end_killed_runs(instance, now)
    except WarehouseError:
        return 0


def run_daily_refresh(
    as_of_date: date, settings: Settings, log_level: str = "INFO", definitions: Definitions | None = None
) -> Outcome:
    """Runs the job for a day in the instance of DAGSTER_HOME.

    Args:
        as_of_date: The day.
        settings: Those of the environment.
        log_level: Of what is printed.
        definitions: Whose job; those of the environment by default.

    Raises:
        WarehouseError: Another refresh is running.
    """
    from orchestration.definitions import defs

    job = (definitions or defs).resolve_job_def(DAILY_REFRESH)
    with DagsterInstance.get() as instance:
        # Who gets the lock knows that nobody else is running.
        with exclusive_lock(settings.warehouse_path.with_suffix(".lock"), settings.lock_timeout_seconds):
            end_killed_runs(instance)
        result = job.execute_in_process(
            partition_key=as_of_date.isoformat(),
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": log_level}}}},
            tags=dict(STARTED_BY_COMMAND),
        )
        failures = failures_of(instance, result.run_id)
        if not result.success and not failures:
            failures = [event.message or str(event.event_type) for event in result.all_events if event.is_failure]
        left_out = broken_promises(instance, result.run_id)
        if result.success and left_out:
            failures.append(describe_promises(left_out))
    return Outcome(result.run_id, tuple(failures))
