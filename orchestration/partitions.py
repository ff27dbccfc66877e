"""The days that keep history: one partition per `as_of_date`, the logical day of a refresh."""

from datetime import date

from dagster import DailyPartitionsDefinition

from orchestration.settings import Settings
from orchestration.sources import Source


def as_of_partitions(settings: Settings, source: Source) -> DailyPartitionsDefinition:
    """Every day from the first one offered to today, in the business time zone."""
    return DailyPartitionsDefinition(
        start_date=(settings.first_as_of or source.first_as_of).isoformat(), timezone=source.time_zone, end_offset=1
    )


def partition_day(partition_key: str) -> date:
    """The `as_of_date` of a partition."""
    return date.fromisoformat(partition_key)
