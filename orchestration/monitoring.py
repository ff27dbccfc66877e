"""How the models in force do: which features, scores and outcomes of a day are laid beside which earlier ones.

`ml.monitoring` measures; this hands it the columns. Labels are kept for the grid of cut-offs alone, and scores are made
on any day: what became of them is read from the days on which customers ordered, with the windows of the labels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.dbt_project import thresholds
from orchestration.models import ChurnModel, CustomerSegments, CustomerValue
from orchestration.resources.registry import RegisteredModel
from orchestration.scores import ScoreFiles
from orchestration.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from ml.monitoring import Limits

# The table of scores that this is written to.
MONITORING = "monitoring"
FEATURE_DRIFT, SCORE_DRIFT, HOLD_OUT, MATURED, AGE = "feature_drift", "score_drift", "hold_out", "matured", "age"
WINDOW = "window"
COLUMNS = ("kind", "metric", "value", "expected", "warn_limit", "block_limit", "status", "row_count", "compared_with")

# A quarter of weekly cut-offs, the newest that taught the model: what it saw last.
REFERENCE_CUT_OFFS = 12
# So many customers at most tell it, drawn by the hash of their names: more add nothing to shares of ten bins.
REFERENCE_CUSTOMERS = 10_000
# These grow with the calendar, or with how much of a customer's life is known; they are told without a limit.
GROWING = (
    *("tenure_days", "count_active_", "count_campaigns", "count_open_campaigns", "days_since_campaign"),
    *("lifetime_", "count_visits", "count_gaps_over_", "residual_gap_days", "longest_gap_days", "own_hazard_"),
    *("count_categories", "count_departments", "count_stores"),
)
# Before so many days the windows of features are still filling, and everything drifts.
HISTORY_DAYS = 182
# Fewer rows, or rows of the rarer outcome, say nothing of a model's skill.
MIN_ROWS, MIN_OUTCOMES = 200, 20
WEEKS_JUDGED = 4
WEEKS_BEFORE = 8

Pair = tuple["pd.DataFrame", "pd.DataFrame"]


@dataclass(frozen=True)
class Outcome:
    """What became of the predictions of an earlier day.

    Attributes:
        scored_on: That day.
        values: By metric.
        rows: Predictions that could be judged.
    """

    scored_on: date
    values: Mapping[str, float]
    rows: int


@dataclass(frozen=True)
class Watched:
    """How a model is watched.

    Attributes:
        score: Its column in its table of scores.
        keys: Columns that name a row there; scores are compared for the rows that both days have.
        metric: The skill that a limit of decay is set on.
        split: Where the hold-out's is told.
        features: Rows that taught it last, and those of the day; None where features are not compared.
        matured: What became of an earlier day's scores; None where nothing can be told.
        windows: Variables that say what a score foretells: scores of other windows are not comparable.
        is_drawn_by_version: Whether a score is a class that each version draws anew: what is not of one version is told
            without a limit.
    """

    score: str
    keys: tuple[str, ...]
    metric: str | None = None
    split: str = "hold_out"
    features: "Callable[[duckdb.DuckDBPyConnection, date, RegisteredModel, Mapping[str, Any]], Pair] | None" = None
    matured: "Callable[[duckdb.DuckDBPyConnection, date, ScoreFiles, Mapping[str, Any]], Outcome | None] | None" = None
    windows: tuple[str, ...] = ()
    is_drawn_by_version: bool = False


# Features ------------------------------------------------------------------------------------------


def newest_that_taught(
    model: ChurnModel | CustomerValue,
    connection: duckdb.DuckDBPyConnection,
    trained_on: date,
    known: "Callable[[pd.DataFrame], pd.DataFrame]",
    window_days: int,
) -> "pd.DataFrame":
    """The rows of the newest cut-offs that a model of a day was taught by, of some customers where there are many.

    Args:
        model: Its examples.
        connection: The warehouse.
        trained_on: The day.
        known: Those of some examples that taught.
        window_days: How long after a cut-off it is known what became of it.
    """
    # Reading all takes seconds and memory. So many are enough where each taught; where not, all are read.
    open_from = trained_on - timedelta(days=window_days - 1)
    days = (REFERENCE_CUT_OFFS + 1) * int(thresholds()["feature_grid_days"])
    for since in (open_from - timedelta(days=days), date.min):
        rows = known(model.examples(connection, open_from, since, REFERENCE_CUSTOMERS))
        newest = sorted(rows["as_of_date"].unique())[-REFERENCE_CUT_OFFS:]
        if len(newest) == REFERENCE_CUT_OFFS:
            break
    return rows[rows["as_of_date"].isin(newest)]


def _churn_features(
    connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel, limits: Mapping[str, Any]
) -> Pair:
    from ml.specification import eligible, known_at

    model, trained_on = ChurnModel(0, limits), scorer.as_of_date
    spec = model.specification()
    taught = newest_that_taught(
        model, connection, trained_on, lambda rows: known_at(spec, rows, trained_on)[0], limits["churn_window_days"]
    )
    numbers = [name for name in spec.features or () if name not in spec.categorical]
    today = connection.execute("from features.customer_features where as_of_date = $day", {"day": day}).df()
    return taught[numbers], eligible(spec, today)[numbers]


def _value_features(
    connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel, limits: Mapping[str, Any]
) -> Pair:
    from ml.value_specification import closed_rows

    model, trained_on = CustomerValue(0, limits), scorer.as_of_date
    spec = model.specification()
    taught = newest_that_taught(
        model, connection, trained_on, lambda rows: closed_rows(spec, rows, trained_on), spec.window_days
    )
    numbers = list(spec.features)
    today = connection.execute("from features.customer_features where as_of_date = $day", {"day": day}).df()
    return taught[numbers], today[numbers]


def _segment_features(
    connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel, limits: Mapping[str, Any]
) -> Pair:
    """Beside the customers of the newest cut-off before the segments were found, which features are kept of."""
    model = CustomerSegments()
    (found_on,) = connection.execute(
        "select max(as_of_date) from features.customer_features where as_of_date <= $day", {"day": scorer.as_of_date}
    ).fetchall()[0]
    features = list(model.specification().features)
    if found_on is None:
        return model.customers(connection, day)[features][:0], model.customers(connection, day)[features]
    return model.customers(connection, found_on)[features], model.customers(connection, day)[features]


def _demand_features(
    connection: duckdb.DuckDBPyConnection, day: date, scorer: RegisteredModel, limits: Mapping[str, Any]
) -> Pair:
    """Each week of each series as a share of the weeks before it: those that taught beside the newest whole one."""
    weeks = connection.execute(
        """
        select
            period_start,
            (
                net_sales / nullif(
                    avg(net_sales) over (
                        partition by level, series_id order by period_start
                        rows between $before preceding and 1 preceding
                    ), 0
                )
            )::double as sales_to_weeks_before
        from features.weekly_sales where is_complete and period_start <= $day::date - 7
        """,
        {"before": WEEKS_BEFORE, "day": day},
    ).df()
    newest, taught = weeks["period_start"].max(), weeks["period_start"].dt.date < scorer.as_of_date
    is_newest = weeks["period_start"] == newest
    columns = ["sales_to_weeks_before"]
    return weeks[taught & ~is_newest][columns], weeks[is_newest][columns]


# Outcomes ------------------------------------------------------------------------------------------


def _newest_before(files: ScoreFiles, day: date, days: int) -> date | None:
    """The newest day with scores of which so many days have passed."""
    return next((scored_on for scored_on in files.days(day) if scored_on + timedelta(days=days) <= day), None)


def _probabilities(scored_on: date, rows: "pd.DataFrame") -> Outcome | None:
    """Skill of probabilities, columns `score` and `happened`; None where there are too few to tell."""
    from ml.evaluation import measure

    happened = int(rows["happened"].sum())
    if len(rows) < MIN_ROWS or min(happened, len(rows) - happened) < MIN_OUTCOMES:
        return None
    found = measure(rows["happened"].astype(int), rows["score"].astype(float), draws=0)
    values = {name: found.numbers()[name] for name in ("roc_auc", "average_precision", "ece")}
    return Outcome(scored_on, values | {"bias": float(rows["score"].astype(float).sum()) / happened - 1}, len(rows))


def _churned(
    connection: duckdb.DuckDBPyConnection, day: date, files: ScoreFiles, limits: Mapping[str, Any]
) -> Outcome | None:
    window = int(limits["churn_window_days"])
    scored_on = _newest_before(files, day, window)
    if scored_on is None:
        return None
    rows = connection.execute(
        "with ordered as (select distinct customer_id from features.customer_days"
        " where order_date >= $scored_on and order_date < $end)"
        " select churn_probability as score, ordered.customer_id is null as happened"
        " from read_parquet($file) as scores left join ordered on scores.customer_id = ordered.customer_id"
        " where churn_probability is not null",
        {"scored_on": scored_on, "end": scored_on + timedelta(days=window), "file": str(files.path(scored_on))},
    ).df()
    return _probabilities(scored_on, rows)


def _responded(
    connection: duckdb.DuckDBPyConnection, day: date, files: ScoreFiles, limits: Mapping[str, Any]
) -> Outcome | None:
    """Of the campaigns that were under way when they were scored, those that are over now."""
    for scored_on in files.days(day):
        rows = connection.execute(
            "select response_probability as score, members.has_responded as happened"
            " from read_parquet($file) as scores"
            " inner join features.campaign_member_features as members"
            " on scores.campaign_id = members.campaign_id and scores.customer_id = members.customer_id"
            " where members.is_label_closed and members.end_date >= $scored_on and response_probability is not null",
            {"scored_on": scored_on, "file": str(files.path(scored_on))},
        ).df()
        found = _probabilities(scored_on, rows)
        if found is not None:
            return found
    return None


def _spent(
    connection: duckdb.DuckDBPyConnection, day: date, files: ScoreFiles, limits: Mapping[str, Any]
) -> Outcome | None:
    window = int(limits["value_window_days"])
    scored_on = _newest_before(files, day, window)
    if scored_on is None:
        return None
    rows = connection.execute(
        "with spent as (select customer_id, sum(net_sales) as net_sales from features.customer_days"
        " where order_date >= $scored_on and order_date < $end group by customer_id)"
        " select predicted_clv::double as predicted, coalesce(spent.net_sales, 0)::double as actual,"
        " scores.lower_80::double as lower_80, scores.upper_80::double as upper_80"
        " from read_parquet($file) as scores left join spent on scores.customer_id = spent.customer_id"
        " where predicted_clv is not null",
        {"scored_on": scored_on, "end": scored_on + timedelta(days=window), "file": str(files.path(scored_on))},
    ).df()
    if len(rows) < MIN_ROWS:
        return None
    from ml.value_challenge import measure_value

    found = measure_value(rows["actual"], rows["predicted"], rows["lower_80"], rows["upper_80"], draws=0)
    names = ("spearman", "normalised_gini", "bias", "coverage_80")
    return Outcome(scored_on, {name: found[name].estimate for name in names if name in found}, len(rows))


def _sold(
    connection: duckdb.DuckDBPyConnection, day: date, files: ScoreFiles, limits: Mapping[str, Any]
) -> Outcome | None:
    """Of the newest forecast whose first weeks are all over, the departments."""
    scored_on = _newest_before(files, day, 7 * WEEKS_JUDGED)
    while scored_on is not None:
        rows = connection.execute(
            "with judged as (select *, dense_rank() over (order by period_start) as ahead from read_parquet($file))"
            " select judged.forecast::double as forecast, sales.net_sales::double as actual,"
            " judged.lower_80 <= sales.net_sales and sales.net_sales <= judged.upper_80 as is_covered, ahead"
            " from judged left join features.weekly_sales as sales on judged.level = sales.level"
            " and judged.series_id = sales.series_id and judged.period_start = sales.period_start"
            " where judged.level = 'department' and ahead <= $weeks and forecast is not null",
            {"file": str(files.path(scored_on)), "weeks": WEEKS_JUDGED},
        ).df()
        known = rows.dropna(subset=["actual"])
        if not rows.empty and known["ahead"].nunique() == WEEKS_JUDGED:
            from ml.monitoring import wape

            error = wape(known["actual"], known["forecast"])
            if error is None:
                return None
            bias = float(known["forecast"].sum()) / float(known["actual"].sum()) - 1
            covered = float(known["is_covered"].astype(float).mean())
            return Outcome(scored_on, {"wape": error, "bias": bias, "coverage_80": covered}, len(known))
        scored_on = _newest_before(files, scored_on + timedelta(days=7 * WEEKS_JUDGED - 1), 7 * WEEKS_JUDGED)
    return None


# The offers of one campaign differ from those of the next by design, so features of a response are not compared.
WATCHED: Mapping[str, Watched] = {
    "churn": Watched(
        *("churn_probability", ("customer_id",), "roc_auc", "hold_out", _churn_features, _churned),
        windows=("dormant_after_days", "churn_window_days"),
    ),
    "response": Watched(
        "response_probability", ("campaign_id", "customer_id"), "roc_auc", "hold_out", None, _responded
    ),
    "demand": Watched(
        *("forecast", ("level", "series_id", "period_start"), "wape"),
        *("department, 1 to 4 weeks ahead", _demand_features, _sold),
    ),
    "value": Watched(
        *("predicted_clv", ("customer_id",), "spearman", "hold_out", _value_features, _spent),
        windows=("value_window_days",),
    ),
    "segments": Watched("segment_id", ("customer_id",), features=_segment_features, is_drawn_by_version=True),
}


# A day ---------------------------------------------------------------------------------------------


def monitor(
    connection: duckdb.DuckDBPyConnection, model: str, day: date, scorer: RegisteredModel | None, settings: Settings
) -> "pd.DataFrame":
    """How a model does on a day: a row per feature, score and metric, columns `COLUMNS`; none where nobody scores.

    Args:
        connection: The warehouse, built for the day.
        model: One of `WATCHED`.
        day: The refreshed day; its scores are written.
        scorer: Who made them.
        settings: With the limits.
    """
    import pandas as pd

    rows = [] if scorer is None else list(_rows(connection, model, day, scorer, settings))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(
    connection: duckdb.DuckDBPyConnection, model: str, day: date, scorer: RegisteredModel, settings: Settings
) -> Iterator[tuple[object, ...]]:
    from ml.monitoring import Limits

    files = ScoreFiles(settings.scores_dir, model)
    watched = WATCHED[model]
    age = (day - scorer.as_of_date).days
    yield AGE, "days_since_training", float(age), None, None, None, "ok", None, scorer.as_of_date
    variables = thresholds(settings)
    for window in watched.windows:
        yield WINDOW, window, float(variables[window]), None, None, None, "ok", None, None
    drift = Limits(settings.warn_drift, settings.block_drift)
    yield from _feature_drifts(connection, watched, day, scorer, files, drift, variables)
    yield from _score_drift(connection, watched, day, scorer, files, drift, variables)
    held_out = _held_out(connection, watched, day, files, scorer)
    if held_out is not None:
        yield HOLD_OUT, watched.metric, held_out, None, None, None, "ok", None, scorer.as_of_date
    yield from _decay(connection, watched, day, files, settings)


def _row(
    kind: str,
    metric: str,
    value: float,
    limits: "Limits | None",
    expected: float | None,
    rows: int,
    beside: date | None,
) -> tuple[object, ...]:
    told = (None, None, "ok") if limits is None else (limits.warn, limits.block, limits.status(value))
    return kind, metric, value, expected, *told, rows, beside


def _feature_drifts(
    connection: duckdb.DuckDBPyConnection,
    watched: Watched,
    day: date,
    scorer: RegisteredModel,
    files: ScoreFiles,
    limits: "Limits",
    variables: Mapping[str, Any],
) -> Iterator[tuple[object, ...]]:
    """Beside the rows that taught last. What drifted slowly asks for training; what drifted at once may be broken."""
    from ml.monitoring import drift

    if watched.features is None:
        return
    taught, today = watched.features(connection, day, scorer, variables)
    (history,) = connection.execute(
        "select max(tenure_days) from features.customer_features where as_of_date = $day", {"day": day}
    ).fetchall()[0]
    is_filling = history is None or history < HISTORY_DAYS
    found = {str(name): drift(taught[name], today[name]) for name in today.columns}
    drifts = {name: value for name, value in found.items() if value is not None}
    limited = {name: None if is_filling or name.startswith(GROWING) else limits for name in drifts}
    far = {name: value for name, value in drifts.items() if limited[name] is not None and value > limits.block}
    slowly = _drifted_slowly(connection, watched, day, scorer, files, limits, variables, far) if far else set()
    for name, value in drifts.items():
        kind, metric, told, expected, warn, block, status, *rest = _row(
            FEATURE_DRIFT, name, value, limited[name], None, len(today), scorer.as_of_date
        )
        yield kind, metric, told, expected, warn, block, "warn" if name in slowly else status, *rest


def _drifted_slowly(
    connection: duckdb.DuckDBPyConnection,
    watched: Watched,
    day: date,
    scorer: RegisteredModel,
    files: ScoreFiles,
    limits: "Limits",
    variables: Mapping[str, Any],
    far: Mapping[str, float],
) -> set[str]:
    """Of features that are far from the rows that taught, those that were nearly as far at the cut-off before.

    One that blocked the last time goes on to block: what is broken does not heal by being there for a week.
    """
    from ml.monitoring import drift

    (before,) = connection.execute(
        "select max(as_of_date) from features.customer_features where as_of_date < $day", {"day": day}
    ).fetchall()[0]
    if before is None or watched.features is None:
        return set()
    taught, earlier = watched.features(connection, before, scorer, variables)
    blocked = _blocked_last(connection, files, day)
    steps = {name: value - (drift(taught[name], earlier[name]) or 0.0) for name, value in far.items()}
    return {name for name, step in steps.items() if step <= limits.block and name not in blocked}


def _blocked_last(connection: duckdb.DuckDBPyConnection, files: ScoreFiles, day: date) -> set[str]:
    """Features whose drift blocked on the newest day before that was monitored."""
    told = files.beside(MONITORING)
    before = next(iter(told.days(day)), None)
    if before is None:
        return set()
    rows = connection.execute(
        "select metric from read_parquet($file) where kind = $kind and status = 'block'",
        {"file": str(told.path(before)), "kind": FEATURE_DRIFT},
    ).fetchall()
    return {metric for (metric,) in rows}


def _has_these_windows(
    connection: duckdb.DuckDBPyConnection, watched: Watched, files: ScoreFiles, day: date, variables: Mapping[str, Any]
) -> bool:
    """Whether the scores of a day foretold what those of today do; where that day did not say so, they did."""
    told = {name: _told(connection, files, day, WINDOW, name) for name in watched.windows}
    return all(days is None or days == variables[name] for name, days in told.items())


def _score_drift(
    connection: duckdb.DuckDBPyConnection,
    watched: Watched,
    day: date,
    scorer: RegisteredModel,
    files: ScoreFiles,
    limits: "Limits",
    variables: Mapping[str, Any],
) -> Iterator[tuple[object, ...]]:
    """Against the newest earlier day, for the rows that both days have."""
    from ml.monitoring import drift

    before = next(iter(files.days(day)), None)
    if before is None or not files.path(day).exists():
        return
    if not _has_these_windows(connection, watched, files, before, variables):
        return
    rows = connection.execute(
        f"select now.{watched.score}::double as score, earlier.{watched.score}::double as score_before"
        f" from read_parquet($now) as now inner join read_parquet($before) as earlier using ({', '.join(watched.keys)})"
        f" where now.{watched.score} is not null and earlier.{watched.score} is not null",
        {"now": str(files.path(day)), "before": str(files.path(before))},
    ).df()
    found = drift(rows["score_before"], rows["score"])
    if found is not None:
        is_of_one_version = scorer.as_of_date <= before
        limited = limits if is_of_one_version or not watched.is_drawn_by_version else None
        yield _row(SCORE_DRIFT, watched.score, found, limited, None, len(rows), before)


def _held_out(
    connection: duckdb.DuckDBPyConnection, watched: Watched, day: date, files: ScoreFiles, scorer: RegisteredModel
) -> float | None:
    """What the hold-out of the version that scores showed, when it was last measured."""
    measured = files.beside("performance")
    for told_on in (day, *measured.days(day)):
        if told_on < scorer.as_of_date or not measured.path(told_on).exists():
            continue
        row = connection.execute(
            "select value from read_parquet($file) where version = $version and metric = $metric and split = $split",
            {"file": str(measured.path(told_on)), "version": scorer.version}
            | {"metric": watched.metric, "split": watched.split},
        ).fetchone()
        if row is not None:
            return float(row[0])
    return None


def _decay(
    connection: duckdb.DuckDBPyConnection, watched: Watched, day: date, files: ScoreFiles, settings: Settings
) -> Iterator[tuple[object, ...]]:
    from ml.monitoring import limits_of_decay

    outcome = None if watched.matured is None else watched.matured(connection, day, files, thresholds(settings))
    if outcome is None or not _has_these_windows(connection, watched, files, outcome.scored_on, thresholds(settings)):
        return
    expected = _told(connection, files, outcome.scored_on, HOLD_OUT, watched.metric)
    for metric, value in outcome.values.items():
        if metric != watched.metric or expected is None:
            yield _row(MATURED, metric, value, None, None, outcome.rows, outcome.scored_on)
        else:
            limits = limits_of_decay(metric, expected, settings.warn_decay, settings.block_decay)
            yield _row(MATURED, metric, value, limits, expected, outcome.rows, outcome.scored_on)


def _told(
    connection: duckdb.DuckDBPyConnection, files: ScoreFiles, day: date, kind: str, metric: str | None
) -> float | None:
    """What was told of a metric on the day of the scores."""
    path = files.beside(MONITORING).path(day)
    if not path.exists():
        return None
    row = connection.execute(
        "select value from read_parquet($file) where kind = $kind and metric = $metric",
        {"file": str(path), "kind": kind, "metric": metric},
    ).fetchone()
    return None if row is None else float(row[0])


def evidence(model: str, day: date, settings: Settings) -> list[str]:
    """What the newest earlier day found beyond its limits: why the model should be trained anew, a sentence each."""
    found = ScoreFiles(settings.scores_dir, model).beside(MONITORING)
    newest = next(iter(found.days(day)), None)
    if newest is None:
        return []
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select kind, metric, value, warn_limit from read_parquet($file) where status != 'ok' order by all",
            {"file": str(found.path(newest))},
        ).fetchall()
    return [
        f"{kind} of {metric} on {newest}: {value:.3f}, the limit is {limit:.3f}" for kind, metric, value, limit in rows
    ]
