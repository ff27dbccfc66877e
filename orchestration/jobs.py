"""The jobs. Which steps there are follows from the assets; here stands only what is run together."""

from dagster import AssetSelection, PartitionsDefinition, define_asset_job
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

DAILY_REFRESH = "daily_refresh"


def daily_refresh_job(partitions: PartitionsDefinition) -> UnresolvedAssetJobDefinition:
    """Everything, for one day: landing, gates, staging, core, features, marts, publication."""
    return define_asset_job(
        DAILY_REFRESH,
        selection=AssetSelection.all(),
        partitions_def=partitions,
        description="Lands the source's files, rebuilds the marts as of a day, publishes them if every gate passes.",
    )
