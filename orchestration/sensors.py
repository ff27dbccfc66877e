"""What watches over refreshes while the daemon is up: who failed, who left something out, and who never came."""

from collections.abc import Sequence

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunStatusSensorContext,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    run_status_sensor,
    sensor,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.tags import PARTITION_NAME_TAG, WILL_RETRY_TAG

from orchestration.alerts import Alert, send, without_trace
from orchestration.freshness import Freshness, current_freshness, readers_have
from orchestration.run import STARTED_BY_COMMAND, broken_promises, describe_promises, end_gone_runs, failures_of
from orchestration.settings import Settings
from orchestration.sources import Source

MISSED_EVERY_SECONDS, GONE_EVERY_SECONDS = 300, 60


def alert_of(instance: DagsterInstance, run: DagsterRun, settings: Settings, source: Source) -> Alert | None:
    """What to tell of a run that has ended; None where there is nothing, or somebody else tells it."""
    is_told = STARTED_BY_COMMAND.items() <= run.tags.items()
    if is_told or run.tags.get(WILL_RETRY_TAG) == "true":
        return None
    day = run.tags.get(PARTITION_NAME_TAG, "a part")
    if run.status == DagsterRunStatus.FAILURE:
        reasons = failures_of(instance, run.run_id) or ["the process of the run is gone. Look at its log in the UI"]
        subject = f"The refresh of {source.name} as of {day} failed; what is published stays as it was."
        return Alert("failed", subject, tuple(map(without_trace, reasons)), readers_have(settings, source), run.run_id)
    left_out = broken_promises(instance, run.run_id)
    if not left_out:
        return None
    subject = f"The refresh of {source.name} as of {day} ended, and left something out."
    return Alert("incomplete", subject, (describe_promises(left_out),), readers_have(settings, source), run.run_id)


def missed_refresh(freshness: Freshness, source: Source) -> Alert | None:
    """What to tell where the version that readers have should have been followed by now."""
    if not freshness.is_late:
        return None
    subject = f"No refresh of {source.name} was published by its time."
    if freshness.is_ahead:
        subject = f"Whether a refresh of {source.name} is due cannot be told: a clock is or was wrong."
    return Alert(
        "missed",
        subject,
        ("look at the ticks of daily_refresh_schedule and at the newest runs in the UI, or run make refresh",),
        f"Readers have {freshness}.",
    )


def build_sensors(job: UnresolvedAssetJobDefinition, settings: Settings, source: Source) -> Sequence[SensorDefinition]:
    """The sensors; they tell what `alerts` is set to tell, and leave a line in their ticks."""

    def tell(context: RunStatusSensorContext) -> SkipReason:
        alert = alert_of(context.instance, context.dagster_run, settings, source)
        if alert is None:
            return SkipReason("Nothing to tell.")
        return SkipReason("\n".join([alert.subject, *send(alert, settings)]))

    def on(status: DagsterRunStatus, name: str, description: str) -> SensorDefinition:
        return run_status_sensor(
            run_status=status,
            name=name,
            monitored_jobs=[job],
            default_status=DefaultSensorStatus.RUNNING,
            description=description,
        )(tell)

    @sensor(
        name="missed_refresh_sensor",
        minimum_interval_seconds=MISSED_EVERY_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Tells once when no refresh was published by its time.",
    )
    def missed_refresh_sensor(context: SensorEvaluationContext) -> SkipReason:
        freshness = current_freshness(settings, source)
        alert = missed_refresh(freshness, source)
        if alert is None or freshness.publication is None:
            return SkipReason("What readers have is not late.")
        if context.cursor == freshness.publication.version:
            return SkipReason("It was told already.")
        context.update_cursor(freshness.publication.version)
        return SkipReason("\n".join([alert.subject, *send(alert, settings)]))

    @sensor(
        name="gone_run_sensor",
        minimum_interval_seconds=GONE_EVERY_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Ends runs whose process is gone, say after a power cut: the next waits for them for ever.",
    )
    def gone_run_sensor(context: SensorEvaluationContext) -> SkipReason:
        count = end_gone_runs(context.instance, settings)
        return SkipReason(f"Ended {count} runs whose process is gone." if count else "No run is gone.")

    return [
        gone_run_sensor,
        on(DagsterRunStatus.FAILURE, "failed_refresh_sensor", "Tells what failed or blocked a refresh."),
        on(DagsterRunStatus.SUCCESS, "incomplete_refresh_sensor", "Tells where a green run left out what it promised."),
        missed_refresh_sensor,
    ]
