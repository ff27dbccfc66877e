"""When the daily refresh runs by itself."""

from datetime import datetime

from dagster import (
    DagsterInstance,
    DefaultScheduleStatus,
    JobDefinition,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    schedule,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.scheduler.instigation import ScheduleInstigatorData, SensorInstigatorData

from orchestration.alerts import Alert, send
from orchestration.extraction import order_day
from orchestration.freshness import readers_have
from orchestration.landing import LandingError
from orchestration.resources.publication import CLOCK_TOLERANCE
from orchestration.settings import Settings, SettingsError
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
        try:
            as_of_date = order_day(settings, source, settings.as_of, context.scheduled_execution_time)
        except (LandingError, SettingsError) as error:  # there will be no run that a sensor could see
            subject = f"The refresh of {source.name} could not start; what is published stays as it was."
            alert = Alert("failed", subject, (f"landing: {error}",), readers_have(settings, source))
            for problem in send(alert, settings):
                context.log.warning(problem)
            raise
        return RunRequest(partition_key=as_of_date.isoformat())

    return daily_refresh_schedule


def housekeeping_schedule(job: JobDefinition, settings: Settings, source: Source) -> ScheduleDefinition:
    """When what is old is removed by itself."""
    return ScheduleDefinition(
        name="housekeeping_schedule",
        job=job,
        cron_schedule=settings.housekeeping_cron,
        execution_timezone=settings.schedule_time_zone or source.time_zone,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Removes what the settings no longer keep.",
    )


def forget_ticks_ahead(instance: DagsterInstance, now: datetime) -> int:
    """Lets schedules and sensors go on after a clock was ahead: to Dagster every tick before the last one is over.

    Args:
        instance: With their states.
        now: Aware.

    Returns:
        How many there were.
    """
    at, count = now.timestamp(), 0
    mended: ScheduleInstigatorData | SensorInstigatorData
    for state in instance.all_instigator_state():
        data, ticks = state.instigator_data, instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        times = [tick.timestamp for tick in ticks]
        if isinstance(data, ScheduleInstigatorData):
            times += [data.start_timestamp or 0, data.last_iteration_timestamp or 0]
            mended = data._replace(start_timestamp=min(data.start_timestamp or at, at), last_iteration_timestamp=at)
        else:
            assert isinstance(data, SensorInstigatorData)
            times += [data.last_tick_timestamp or 0, data.last_tick_start_timestamp or 0]
            mended = data._replace(
                last_tick_timestamp=None, last_tick_start_timestamp=None, last_tick_success_timestamp=None
            )
        if max(times, default=0) > at + CLOCK_TOLERANCE.total_seconds():
            instance.purge_ticks(state.instigator_origin_id, state.selector_id, max(times) + 1)
            instance.update_instigator_state(state.with_data(mended))
            count += 1
    return count
