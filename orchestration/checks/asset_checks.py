"""Gate results as what Dagster shows: one check per table and gate, with its rules in a table."""

from collections.abc import Sequence

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
)

from orchestration.checks.records import CheckResult
from orchestration.markdown import markdown_table


def is_asked(context: AssetCheckExecutionContext, asset_key: AssetKey) -> bool:
    """Whether the run is to check this asset: a run of a part asks for the checks of its assets alone."""
    return any(key.asset_key == asset_key for key in context.selected_asset_check_keys)


def asset_check_result(
    context: AssetCheckExecutionContext, results: Sequence[CheckResult], asset_key: AssetKey, check_name: str
) -> AssetCheckResult:
    """The rules of one table and gate as one check; each broken rule goes to the log as well."""
    broken = [result.describe_failure() for result in results if not result.passed]
    for line in broken:
        context.log.error(line)
    rows = [
        (result.check_name, "passed" if result.passed else "**failed**", result.unexpected_rows, result.message)
        for result in results
    ]
    return AssetCheckResult(
        passed=not broken,
        asset_key=asset_key,
        check_name=check_name,
        severity=AssetCheckSeverity.ERROR if any(result.blocks for result in results) else AssetCheckSeverity.WARN,
        description="\n".join(broken) or None,
        metadata={
            "rules": markdown_table(("rule", "result", "unexpected rows", "found, and what to do"), rows),
            "rules_checked": len(results),
            "rules_broken": len(broken),
        },
    )
