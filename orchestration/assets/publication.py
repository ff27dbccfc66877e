"""Gate 4 and publication: the marts alone, as a new version, once every gate has passed for exactly these tables."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    FreshnessPolicy,
    MaterializeResult,
    MetadataValue,
    asset,
)

from orchestration.assets.warehouse import raw_hashes, relation_key
from orchestration.checks import scores
from orchestration.checks.dbt_tests import relation_name, required_tests
from orchestration.checks.features import features_suites
from orchestration.checks.landing import landing_suites
from orchestration.checks.marts import marts_suites
from orchestration.checks.monitoring import monitoring_suites
from orchestration.checks.records import CheckResult, reasons_not_to_publish, record
from orchestration.freshness import fresh_until, longest_wait
from orchestration.markdown import markdown_table
from orchestration.partitions import partition_day
from orchestration.policies import OWNERS, TRANSIENT, WAREHOUSE_POOL
from orchestration.resources.publication import Publication, PublicationError, PublicationStore
from orchestration.resources.warehouse import Warehouse
from orchestration.run import broken_promises, describe_promises
from orchestration.settings import MODELS, Settings
from orchestration.sources import Source

GATE = "publication"


def published_tables(manifest: Mapping[str, Any]) -> list[str]:
    """The marts, as `marts.<table>`."""
    return sorted(
        relation_name(node)
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] == "marts"
    )


def required_checks(settings: Settings, source: Source, manifest: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Every check that must have passed before publication, as (check_name, table_name): the catalogue of the gates."""
    landing = [suite for table in source.tables for suite in landing_suites(source, table, settings)]
    of_scores = [scores.SUITES[model] for model in MODELS]
    suites = (*landing, *features_suites(settings), *of_scores, *monitoring_suites(settings), *marts_suites(settings))
    blocking = [suite for suite in suites if suite.severity == "error"]
    return required_tests(manifest) | {(name, suite.table_name) for suite in blocking for name in suite.check_names}


def publish_marts(
    warehouse: Warehouse,
    store: PublicationStore,
    settings: Settings,
    source: Source,
    manifest: Mapping[str, Any],
    run_id: str,
) -> Publication:
    """Publishes the marts if gate 4 lets them pass.

    Raises:
        PublicationError: A required check failed, never ran, or saw other content; or the disk refused the file.
            What is published stays as it was.
    """
    required = required_checks(settings, source, manifest)
    tables = published_tables(manifest)
    with warehouse.connect() as connection:
        hashes = raw_hashes(settings)
        contents = warehouse.contents(connection, {table for _, table in required} | set(tables), hashes)
        is_built = "features.current_day" in contents
        row = connection.execute("select as_of_date from features.current_day").fetchone() if is_built else None
        as_of_date = row[0] if row else None
        reasons = reasons_not_to_publish(connection, required, contents)
        missing = [table for table in tables if table not in contents]
        reasons += [f"{table} does not exist. Run the whole refresh" for table in missing]
        if as_of_date is None:
            reasons.append("no day has been built. Run the whole refresh")
        gate = CheckResult(
            gate=GATE,
            check_name="all_gates_passed",
            table_name="marts",
            passed=not reasons,
            row_count=len(required),
            unexpected_rows=len(reasons),
            message="\n".join(reasons) or None,
        )
        record(connection, [gate], run_id=run_id, as_of_date=as_of_date)
        if reasons or as_of_date is None:
            raise PublicationError("gate publication: nothing was published. " + "\n".join(reasons))
        # The gate's own result is part of what is published.
        contents |= warehouse.contents(connection, ["marts.data_quality_results"], hashes)
    expected = {table.removeprefix("marts."): contents[table] for table in tables}
    return store.publish(
        settings.warehouse_path,
        expected,
        as_of_date=as_of_date,
        source=source.name,
        fresh_until=fresh_until(datetime.now(UTC), settings, source),
    )


def build_publication(settings: Settings, source: Source, manifest: Mapping[str, Any]) -> AssetsDefinition:
    """The asset of the published version."""

    @asset(
        key=["publication", "published_marts"],
        deps=[relation_key(table) for table in published_tables(manifest)],
        group_name="publication",
        kinds={"duckdb"},
        owners=OWNERS,
        description="The version that readers open: a new file of all marts, swapped in by one rename.",
        retry_policy=TRANSIENT,
        pool=WAREHOUSE_POOL,
        freshness_policy=FreshnessPolicy.time_window(fail_window=longest_wait(settings, source)),
    )
    def published_marts(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult[None]:
        """Gate 4, then the new version."""
        # This asset is the last one promised, and about to be kept.
        broken = [key for key in broken_promises(context.instance, context.run_id) if key != context.asset_key]
        if broken:
            raise Failure(description=f"gate publication: {describe_promises(broken)}", allow_retries=False)
        store = PublicationStore(settings.published_dir, settings.keep_versions, settings.duckdb_config())
        try:
            publication = publish_marts(warehouse, store, settings, source, manifest, context.run_id)
        except PublicationError as error:
            raise Failure(description=str(error), allow_retries=False) from error
        context.log.info(f"published version {publication.version}")
        if context.has_partition_key and partition_day(context.partition_key) < publication.as_of_date:
            context.log.info(f"{context.partition_key} was rebuilt; the current tables show {publication.as_of_date}")
        rows = [(table.table_name, table.row_count, table.content_hash) for table in publication.tables]
        return MaterializeResult(
            metadata={
                "version": publication.version,
                "as_of_date": publication.as_of_date.isoformat(),
                "published_at": MetadataValue.timestamp(publication.published_at),
                "tables": markdown_table(("table", "rows", "content hash"), rows),
                "path": MetadataValue.path(str(settings.published_dir / "current.duckdb")),
            }
        )

    return published_marts
