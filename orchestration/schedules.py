"""When the daily refresh runs by itself."""

from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    schedule,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.landing import resolve_as_of
from orchestration.settings import Settings
from orchestration.sources import Source


def daily_schedule(job: UnresolvedAssetJobDefinition, settings: Settings, source: Source) -> ScheduleDefinition:
    """The schedule of the daily refresh; cron, time zone and source are settings."""

    @schedule(
        job=job,
        name="daily_refresh_schedule",
        cron_schedule=settings.schedule_cron,
        execution_timezone=settings.schedule_time_zone or source.time_zone,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Refreshes the day after the newest order that has arrived, at most today.",
    )
    def daily_refresh_schedule(context: ScheduleEvaluationContext) -> RunRequest:
        as_of_date = resolve_as_of(
            source, source.input_dir(settings.input), settings.as_of, context.scheduled_execution_time
        )
        return RunRequest(partition_key=as_of_date.isoformat())

    return daily_refresh_schedule
