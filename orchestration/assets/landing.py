"""Raw tables as assets: landing, and gate 1 on what landed."""

from collections.abc import Iterator
from datetime import date

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    Failure,
    MaterializeResult,
    multi_asset,
    multi_asset_check,
)

from orchestration.checks.asset_checks import asset_check_result, is_asked
from orchestration.checks.landing import check_raw_table
from orchestration.checks.records import record
from orchestration.landing import (
    LandingError,
    in_force,
    land,
    raw_content_hash,
    read_ledger,
    resolve_as_of,
    verify_raw,
)
from orchestration.markdown import markdown_table
from orchestration.partitions import partition_day
from orchestration.policies import OWNERS, TRANSIENT, WAREHOUSE_POOL
from orchestration.resources.warehouse import Warehouse
from orchestration.settings import Settings
from orchestration.sources import RawTable, Source


def raw_key(table: RawTable) -> AssetKey:
    """Asset key of a raw table."""
    return AssetKey(["raw", table.name])


def _as_of_date(
    context: AssetExecutionContext | AssetCheckExecutionContext, settings: Settings, source: Source
) -> date:
    """The day of the run, or for a run without one the day that a refresh would take now."""
    asked = partition_day(context.partition_key) if context.has_partition_key else settings.as_of
    return resolve_as_of(source, source.input_dir(settings.input), asked)


def build_landing(settings: Settings, source: Source) -> tuple[AssetsDefinition, AssetChecksDefinition]:
    """The raw assets of a source and gate 1."""

    @multi_asset(
        name="landing",
        specs=[
            AssetSpec(
                raw_key(table),
                description=table.description,
                group_name="raw",
                kinds={"parquet"},
                owners=OWNERS,
                metadata={
                    "columns": markdown_table(
                        ("column", "type", "description"),
                        [(column.name, column.data_type, column.description) for column in table.columns],
                    )
                },
            )
            for table in source.tables
        ],
        retry_policy=TRANSIENT,
        pool=WAREHOUSE_POOL,
    )
    def landing(context: AssetExecutionContext, warehouse: Warehouse) -> Iterator[MaterializeResult[None]]:
        """Lands every file of the source; files that are in force already change nothing."""
        try:
            _as_of_date(context, settings, source)  # a day that cannot be refreshed is refused before anything lands
            reports = land(source, source.input_dir(settings.input), settings.raw_dir)
            damaged = verify_raw(settings.raw_dir)
        except LandingError as error:
            raise Failure(description=f"landing: {error}", allow_retries=False) from error
        if damaged:
            raise Failure(description="landing: " + "; ".join(damaged), allow_retries=False)
        warehouse.show_raw(source, in_force(read_ledger(settings.raw_dir)), settings.raw_dir)
        for report in reports:
            seen = "landed" if report.is_new else "in force already"
            context.log.info(f"{report.table}: {report.rows:,} rows, {report.bytes:,} bytes, {seen}")
            yield MaterializeResult(
                asset_key=AssetKey(["raw", report.table]),
                metadata={
                    "dagster/row_count": report.rows,
                    "bytes": report.bytes,
                    "rejects": report.rejects,
                    "seconds": round(report.seconds, 3),
                    "is_new": report.is_new,
                    "source_file": report.source_file,
                },
            )

    @multi_asset_check(
        name="landing_gate",
        specs=[
            AssetCheckSpec(
                "landing_gate",
                asset=raw_key(table),
                description="Volume, keys, freshness, columns, types, NULLs and finite values, by Great Expectations.",
                blocking=True,
            )
            for table in source.tables
        ],
        can_subset=True,
        pool=WAREHOUSE_POOL,
    )
    def landing_gate(context: AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[AssetCheckResult]:
        """Gate 1: blocks staging."""
        as_of_date = _as_of_date(context, settings, source)
        ledger = in_force(read_ledger(settings.raw_dir))
        with warehouse.connect() as connection:
            for table in source.tables:
                if not is_asked(context, raw_key(table)):
                    continue
                content_hash = raw_content_hash(ledger[table.name])
                context.log.info(f"gate 1 on {table.name}")
                results = check_raw_table(connection, source, table, settings, as_of_date, content_hash)
                record(connection, results, run_id=context.run.run_id, as_of_date=as_of_date)
                yield asset_check_result(context, results, raw_key(table), "landing_gate")

    return landing, landing_gate
