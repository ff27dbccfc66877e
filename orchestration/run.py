"""One run of the daily refresh in this process, recorded in Dagster's instance like a run from the UI.

The stock command loads the code location several times over and starts a process more; this loads it once.
"""

from dataclasses import dataclass
from datetime import date

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.execution.plan.objects import StepFailureData

from orchestration.jobs import DAILY_REFRESH
from orchestration.resources.warehouse import exclusive_lock
from orchestration.settings import Settings


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
    return said or (failure.error.to_string() if failure.error else "it failed without a word")


def _end_killed_runs(instance: DagsterInstance) -> None:
    """A killed run could not say that it has ended: it would count as running, and keep its pool's slot, for ever."""
    for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        instance.report_run_failed(run, "The process of the run is gone.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def run_daily_refresh(as_of_date: date, settings: Settings) -> Outcome:
    """Runs the job for a day in the instance of DAGSTER_HOME.

    Raises:
        WarehouseError: Another refresh is running.
    """
    from orchestration.definitions import defs

    job = defs.resolve_job_def(DAILY_REFRESH)
    with DagsterInstance.get() as instance:
        # Who gets the lock knows that nobody else is running.
        with exclusive_lock(settings.warehouse_path.with_suffix(".lock"), settings.lock_timeout_seconds):
            _end_killed_runs(instance)
        result = job.execute_in_process(
            partition_key=as_of_date.isoformat(),
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {}}},
        )
        failures = []
        for event in result.all_events:
            if event.event_type == DagsterEventType.STEP_FAILURE:
                failures.append(f"{event.step_key}: {_reason(event.step_failure_data)}")
            elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                if not evaluation.passed and evaluation.blocking and evaluation.description:
                    failures.append(evaluation.description)
        if not result.success and not failures:
            failures = [event.message or str(event.event_type) for event in result.all_events if event.is_failure]
    return Outcome(result.run_id, tuple(failures))
