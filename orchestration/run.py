"""One run of the daily refresh in this process, recorded in Dagster's instance like a run from the UI.

The stock command loads the code location several times over and starts a process more; this loads it once.
"""

from dataclasses import dataclass
from datetime import date

from dagster import DagsterEventType, DagsterInstance
from dagster._core.execution.plan.objects import StepFailureData

from orchestration.jobs import DAILY_REFRESH


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


def run_daily_refresh(as_of_date: date) -> Outcome:
    """Runs the job for a day in the instance of DAGSTER_HOME."""
    from orchestration.definitions import defs

    job = defs.resolve_job_def(DAILY_REFRESH)
    with DagsterInstance.get() as instance:
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
