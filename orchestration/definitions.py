"""The code location: the one place where everything is put together.

`build_defs` returns fresh definitions, so tests can vary the settings without touching anything global. Loading it
reads the source's declaration and dbt's manifest, and opens neither a database nor a data file.
"""

from typing import Any

from dagster import AssetSpec, Definitions, in_process_executor

from orchestration.assets.landing import build_landing
from orchestration.assets.models import build_models
from orchestration.assets.publication import build_publication
from orchestration.assets.vault import build_vault
from orchestration.assets.warehouse import build_warehouse
from orchestration.console import console_logger
from orchestration.dbt_project import dbt_executable, load_manifest
from orchestration.jobs import daily_refresh_job, housekeeping_job
from orchestration.partitions import as_of_partitions
from orchestration.policies import OWNERS
from orchestration.resources.dbt import Dbt
from orchestration.resources.event_log import keep_engines
from orchestration.resources.registry import registry_of
from orchestration.resources.warehouse import Warehouse
from orchestration.schedules import daily_schedule, housekeeping_schedule
from orchestration.sensors import build_sensors
from orchestration.settings import DBT_PROJECT_DIR, load_settings
from orchestration.sources import source_of


def build_defs(**overrides: Any) -> Definitions:
    """Fresh definitions for the settings of the environment, with `overrides` on top.

    Raises:
        SettingsError: A setting cannot be used.
        DbtProjectError: The manifest has not been made; `make manifest` does.
    """
    settings = load_settings(**overrides)
    source = source_of(settings)
    manifest_path = settings.dbt_target_dir / "manifest.json"
    manifest = load_manifest(manifest_path)
    partitions = as_of_partitions(settings, source)

    landing, landing_gate = build_landing(settings, source)
    warehouse_assets, mart_assets, marts_gate = build_warehouse(settings, source, manifest, manifest_path, partitions)
    model_assets, model_gates = build_models(settings, manifest, partitions)
    control = [
        AssetSpec(["control", "refresh"], group_name="quality", owners=OWNERS, description="The day that dbt builds."),
        AssetSpec(
            ["control", "check_results"],
            group_name="quality",
            owners=OWNERS,
            description="What every check of every run found; the gates append to it.",
        ),
    ]
    job, housekeeping = daily_refresh_job(partitions), housekeeping_job(settings)
    return Definitions(
        assets=[
            landing,
            *build_vault(settings, source),
            warehouse_assets,
            *model_assets,
            mart_assets,
            build_publication(settings, source, manifest),
            *control,
        ],
        asset_checks=[landing_gate, *model_gates, marts_gate],
        jobs=[job, housekeeping],
        schedules=[daily_schedule(job, settings, source), housekeeping_schedule(housekeeping, settings, source)],
        sensors=build_sensors(job, settings, source),
        resources={
            "warehouse": Warehouse(
                path=str(settings.warehouse_path),
                duckdb_config=settings.duckdb_config(),
                lock_timeout_seconds=settings.lock_timeout_seconds,
                scores_dir=str(settings.scores_dir),
            ),
            "registry": registry_of(settings),
            "dbt": Dbt(
                project_dir=str(DBT_PROJECT_DIR), profiles_dir=str(DBT_PROJECT_DIR), dbt_executable=dbt_executable()
            ),
        },
        loggers={"console": console_logger},
        # One process for all steps: a process per step would import everything again, and DuckDB uses the cores itself.
        executor=in_process_executor,
    )


keep_engines()
defs = build_defs()
