"""Raw tables as assets: landing, and gate 1 on what landed."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime

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
from orchestration.extraction import extract, in_words
from orchestration.landing import (
    LandingError,
    check_clock,
    land,
    resolve_as_of,
    tables_in_force,
    verify_raw,
)
from orchestration.markdown import markdown_table
from orchestration.partitions import partition_day
from orchestration.policies import OWNERS, TRANSIENT, WAREHOUSE_POOL
from orchestration.resources.warehouse import Warehouse
from orchestration.settings import Settings, SettingsError
from orchestration.sources import RawTable, Source

SHOWN_FILES = 5


def raw_key(table: RawTable) -> AssetKey:
    """Asset key of a raw table."""
    return AssetKey(["raw", table.name])


def _as_of_date(
    context: AssetExecutionContext | AssetCheckExecutionContext, settings: Settings, source: Source
) -> date:
    """The day of the run, or for a run without one the day that a refresh would take now."""
    asked = partition_day(context.partition_key) if context.has_partition_key else settings.as_of
    return resolve_as_of(source, source.input_dir(settings.input), asked)


def _named(files: Sequence[str]) -> str:
    """Some names of files; there may be one per day of years."""
    shown = ", ".join(files[:SHOWN_FILES]) or "none"
    return shown if len(files) <= SHOWN_FILES else f"{shown} and {len(files) - SHOWN_FILES:,} more"


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
            for extracted in extract(settings, source):
                context.log.info(f"read from the database: {in_words(extracted)}")
            # A day that cannot be refreshed is refused before anything lands, and so is a clock that cannot be right.
            _as_of_date(context, settings, source)
            now = datetime.now(UTC)
            check_clock(source, source.input_dir(settings.input), now)
            reports = land(source, source.input_dir(settings.input), settings.raw_dir, now)
            damaged = verify_raw(settings.raw_dir)
        except (LandingError, SettingsError) as error:
            raise Failure(description=f"landing: {error}", allow_retries=False) from error
        if damaged:
            raise Failure(description="landing: " + "; ".join(damaged), allow_retries=False)
        ledger = tables_in_force(source, settings.raw_dir)
        warehouse.show_raw(source, ledger, settings.raw_dir)
        for table in source.tables:
            given = [report for report in reports if report.table == table.name]
            new = [report for report in given if report.is_new]
            for report in new:
                rejects = f", {report.rejects:,} lines that cannot be split" if report.rejects else ""
                context.log.info(
                    f"{table.name}: {report.source_file} landed, {report.rows:,} rows{rejects}, {report.bytes:,} bytes"
                )
            # After years there is a file per day of them.
            if len(given) > len(new):
                old = [report for report in given if not report.is_new]
                files = "1 file" if len(old) == 1 else f"{len(old):,} files"
                rows = sum(report.rows for report in old)
                context.log.info(f"{table.name}: {files} in force already, {rows:,} rows")
            if not ledger[table.name]:
                context.log.info(f"{table.name}: absent, which it may be; what it would feed is skipped")
            yield MaterializeResult(
                asset_key=raw_key(table),
                metadata={
                    "dagster/row_count": sum(entry.rows for entry in ledger[table.name]),
                    "bytes": sum(report.bytes for report in given),
                    "rejects": sum(entry.rejects for entry in ledger[table.name]),
                    "seconds": round(sum(report.seconds for report in given), 3),
                    "is_new": bool(new),
                    "source_file": _named([report.source_file for report in given]),
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
        ledger = tables_in_force(source, settings.raw_dir)
        with warehouse.connect() as connection:
            for table in source.tables:
                if not is_asked(context, raw_key(table)):
                    continue
                context.log.info(f"gate 1 on {table.name}")
                results = check_raw_table(connection, source, table, settings, as_of_date, ledger[table.name])
                record(connection, results, run_id=context.run.run_id, as_of_date=as_of_date)
                yield asset_check_result(context, results, raw_key(table), "landing_gate")

    return landing, landing_gate
