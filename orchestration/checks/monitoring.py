"""The limits of monitoring as a gate: beyond the one it warns, beyond the other nothing is published."""

from collections.abc import Sequence
from datetime import date

import duckdb
import pandas as pd

from orchestration.checks.expectations import Rule, Suite
from orchestration.settings import Settings

GATE = "models"
TABLE = "scores.monitoring"
REMEDY = (
    "Look at the picture on scores/monitoring and at these features or scores; mend the source, or train with"
    " CUSTOMER360_RETRAIN=always. If the change is real, refresh once with a larger CUSTOMER360_{limit}_DRIFT or"
    " CUSTOMER360_{limit}_DECAY"
)


def monitoring_suites(settings: Settings) -> Sequence[Suite]:
    """What blocks, and what warns."""

    def suite(name: str, severity: str, words: str, allowed: list[str]) -> Suite:
        return Suite(
            name=name,
            gate=GATE,
            table_name=TABLE,
            key=("model", "kind", "metric", "found"),
            remedy=REMEDY.format(limit="BLOCK" if severity == "error" else "WARN"),
            rules=(
                Rule(
                    "is_within_limits", words, "ExpectColumnValuesToBeInSet", {"column": "status", "value_set": allowed}
                ),
                Rule("status_is_known", "a status", "ExpectColumnValuesToNotBeNull", {"column": "status"}),
            ),
            severity=severity,
        )

    drift, decay = settings.block_drift, settings.block_decay
    return (
        suite(
            "monitoring",
            "error",
            f"a population stability index of at most {drift:g}, and at most {decay:.0%} of the skill lost",
            ["ok", "warn"],
        ),
        suite(
            "monitoring_warnings",
            "warn",
            f"a population stability index of at most {settings.warn_drift:g}, and at most {settings.warn_decay:.0%} of"
            " the skill lost",
            ["ok"],
        ),
    )


def read_monitoring(connection: duckdb.DuckDBPyConnection, day: date, models: Sequence[str]) -> pd.DataFrame:
    """The day's rows of monitoring; a model that nothing is known of has one that says so.

    Returns:
        `model`, `kind`, `metric`, `status`, and `found`: the value beside its limits, in words.
    """
    return connection.execute(
        f"""
        with watched as (select unnest($models) as model)
        select
            watched.model as model, coalesce(kind, 'none') as kind, coalesce(metric, 'none') as metric,
            case when rows.model is null then 'ok' else rows.status end as status,
            case
                when warn_limit is null then 'no limit'
                else format('{{:.3f}} (warns at {{:.3f}}, blocks at {{:.3f}})', value, warn_limit, block_limit)
            end as found
        from watched left join {TABLE} as rows on watched.model = rows.model and rows.refresh_date = $day
        order by all
        """,
        {"models": list(models), "day": day},
    ).df()
