"""What dbt builds, as assets: staging, core and features first, then the marts, then the suites on the marts.

dbt runs in a process of its own, as in this one it would keep the warehouse's lock after it has finished.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from errno import ENOSPC
from pathlib import Path
from typing import Any

import duckdb
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    Failure,
    MetadataValue,
    Output,
    PartitionsDefinition,
    multi_asset_check,
)
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from orchestration.checks.asset_checks import asset_check_result, is_asked
from orchestration.checks.dbt_tests import out_of_memory, relation_name, test_results, tested_tables
from orchestration.checks.marts import marts_suites, read_frame
from orchestration.checks.records import DBT_SCHEMAS, record
from orchestration.content_hash import TableContent
from orchestration.dbt_project import dbt_vars, run_folder
from orchestration.landing import raw_content_hash, tables_in_force
from orchestration.markdown import markdown_picture, markdown_table
from orchestration.partitions import partition_day
from orchestration.pictures import PICTURES
from orchestration.policies import WAREHOUSE_POOL
from orchestration.resources.dbt import Dbt
from orchestration.resources.warehouse import Warehouse
from orchestration.settings import Settings
from orchestration.sources import Source, source_of


def relation_key(relation: str) -> AssetKey:
    """Asset key of a table: its schema and its name."""
    return AssetKey(relation.split("."))


class Translator(DagsterDbtTranslator):
    """Assets go by schema and table; what keeps history is partitioned by day."""

    def __init__(self, partitions: PartitionsDefinition) -> None:
        super().__init__()
        self._partitions = partitions

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> AssetKey:
        """Schema and table."""
        return relation_key(relation_name(dbt_resource_props))

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The group named in the model's meta, else its schema."""
        group = dbt_resource_props.get("config", {}).get("meta", {}).get("dagster", {}).get("group")
        return str(group or dbt_resource_props["schema"])

    def get_partitions_def(self, dbt_resource_props: Mapping[str, Any]) -> PartitionsDefinition | None:
        """The days, for incremental models of features and marts; what is below is kept by other days."""
        is_incremental = dbt_resource_props.get("config", {}).get("materialized") == "incremental"
        return self._partitions if is_incremental and dbt_resource_props["schema"] in ("features", "marts") else None


def raw_hashes(settings: Settings) -> dict[str, str]:
    """Content hash of each raw table in force."""
    ledger = tables_in_force(source_of(settings), settings.raw_dir)
    return {f"raw.{table}": raw_content_hash(entries) for table, entries in ledger.items()}


def _build(
    context: AssetExecutionContext,
    dbt: Dbt,
    warehouse: Warehouse,
    settings: Settings,
    source: Source,
    manifest: Mapping[str, Any],
    schemas: Collection[str],
) -> Iterator[Any]:
    """Runs the selected part of the project, and records what its tests found for the tables as they then are."""
    as_of_date = partition_day(context.partition_key) if context.has_partition_key else None
    if as_of_date is not None:
        warehouse.begin_refresh(as_of_date, context.run_id)
    run_results = run_folder(settings) / "run_results.json"
    run_results.unlink(missing_ok=True)
    arguments = ["build", "--exclude-resource-type", "unit_test", "--indirect-selection", "buildable"]
    with warehouse.lend(schemas):
        invocation = dbt.cli(
            [*arguments, "--vars", dbt_vars(settings, source)],
            context=context,
            target_path=run_folder(settings),
            raise_on_error=False,
        )
        # While dbt runs nobody else can open the warehouse: the events wait for what the tables hold.
        events = list(invocation.stream())

    results, contents = [], {}
    with warehouse.connect() as connection:
        if run_results.exists():
            contents = warehouse.contents(connection, tested_tables(manifest, run_results), raw_hashes(settings))
            results = list(test_results(manifest, run_results, connection, contents))
            record(connection, results, run_id=context.run_id, as_of_date=as_of_date)
        for event in events:
            yield _with_content(event, context, connection, contents) if isinstance(event, Output) else event
    if not invocation.is_successful():
        told = [result.describe_failure() for result in results if result.blocks]
        starved = out_of_memory(run_results) if run_results.exists() else []
        if starved:
            given = f"CUSTOMER360_MEMORY_LIMIT, {settings.memory_limit},"
            told.insert(0, f"{given} was not enough for {', '.join(starved)}. Give more")
        raise Failure(
            description="\n".join(dict.fromkeys(told)) or why_not_built(invocation.get_error(), run_folder(settings)),
            allow_retries=False,
        )


def _with_content(
    output: Output[Any],
    context: AssetExecutionContext,
    connection: duckdb.DuckDBPyConnection,
    contents: Mapping[str, TableContent],
) -> Output[Any]:
    """A table's output with its rows, and a preview and picture of what is published anyway."""
    relation = ".".join(context.asset_key_for_output(output.output_name).path)
    metadata: dict[str, Any] = {**output.metadata}
    content = contents.get(relation)
    if content is not None and content.row_count is not None:
        metadata |= {"dagster/row_count": content.row_count, "content_hash": content.content_hash}
    if relation.startswith("marts."):
        preview = connection.execute(f"select * from {relation} limit 5")
        metadata["preview"] = markdown_table([name for name, *_ in preview.description or ()], preview.fetchall())
    if relation in PICTURES:
        png = PICTURES[relation](connection)
        metadata |= {} if png is None else {"picture": markdown_picture(png)}
    return output.with_metadata(metadata)


def why_not_built(error: Exception | None, folder: Path) -> str:
    """What dbt said last where no test or memory is to blame, and what to do; `folder` holds what it did."""
    said = str(error).strip().splitlines()[-1].strip() if error else "it ended without a result"
    remedy = " Free disk space, then refresh again; no clean-up is needed." if os.strerror(ENOSPC) in str(error) else ""
    return f"dbt could not build the tables: {said}.{remedy} What dbt did is in {folder}"


def build_warehouse(
    settings: Settings,
    source: Source,
    manifest: Mapping[str, Any],
    manifest_path: Path,
    partitions: PartitionsDefinition,
) -> tuple[AssetsDefinition, AssetsDefinition, AssetChecksDefinition]:
    """The assets of dbt, and the suites on the marts."""
    translator = Translator(partitions)
    suites = marts_suites(settings)

    @dbt_assets(
        name="warehouse",
        manifest=manifest_path,
        select="customer360.staging customer360.core customer360.features resource_type:seed",
        dagster_dbt_translator=translator,
        pool=WAREHOUSE_POOL,
    )
    def warehouse_assets(context: AssetExecutionContext, dbt: Dbt, warehouse: Warehouse) -> Iterator[Any]:
        """Staging, core and features."""
        yield from _build(context, dbt, warehouse, settings, source, manifest, DBT_SCHEMAS)

    @dbt_assets(
        name="marts",
        manifest=manifest_path,
        select="customer360.marts",
        dagster_dbt_translator=translator,
        pool=WAREHOUSE_POOL,
    )
    def mart_assets(context: AssetExecutionContext, dbt: Dbt, warehouse: Warehouse) -> Iterator[Any]:
        """What analysts read, built in the working warehouse."""
        yield from _build(context, dbt, warehouse, settings, source, manifest, ["marts"])

    @multi_asset_check(
        name="marts_gate",
        specs=[
            AssetCheckSpec(
                "marts_gate",
                asset=relation_key(suite.table_name),
                description="Rows that make sense, by Great Expectations.",
                metadata={"rules": MetadataValue.md("\n".join(f"- {name}" for name in suite.check_names))},
                blocking=suite.severity == "error",
            )
            for suite in suites
        ],
        can_subset=True,
        pool=WAREHOUSE_POOL,
    )
    def marts_gate(context: AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[AssetCheckResult]:
        """Great Expectations on the marts: blocks publication."""
        as_of_date = partition_day(context.partition_key) if context.has_partition_key else None
        with warehouse.connect() as connection:
            for suite in suites:
                if not is_asked(context, relation_key(suite.table_name)):
                    continue
                content = warehouse.contents(connection, [suite.table_name], {})[suite.table_name]
                results = suite.validate(read_frame(connection, suite), content.content_hash)
                record(connection, results, run_id=context.run.run_id, as_of_date=as_of_date)
                yield asset_check_result(context, results, relation_key(suite.table_name), "marts_gate")

    return warehouse_assets, mart_assets, marts_gate
