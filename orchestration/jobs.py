"""The jobs. Which steps there are follows from the assets; here stands only what is run together."""

from dagster import (
    AssetSelection,
    JobDefinition,
    OpExecutionContext,
    PartitionsDefinition,
    define_asset_job,
    in_process_executor,
    job,
    op,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.housekeeping import prune
from orchestration.settings import Settings

DAILY_REFRESH = "daily_refresh"


def daily_refresh_job(partitions: PartitionsDefinition) -> UnresolvedAssetJobDefinition:
    """Everything, for one day: landing, gates, staging, core, features, marts, publication."""
    return define_asset_job(
        DAILY_REFRESH,
        selection=AssetSelection.all(),
        partitions_def=partitions,
        description="Lands the source's files, rebuilds the marts as of a day, publishes them if every gate passes.",
    )


def housekeeping_job(settings: Settings) -> JobDefinition:
    """Removes what the settings no longer keep."""

    @op(description="Old raw files, scores, runs, results of checks and model versions.")
    def remove_what_is_old(context: OpExecutionContext) -> None:
        for pruned in prune(settings, context.instance):
            context.log.info(f"removed {pruned}")

    @job(executor_def=in_process_executor, description="Prunes by policy; see the settings that begin with KEEP.")
    def housekeeping() -> None:
        remove_what_is_old()

    return housekeeping
