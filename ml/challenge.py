"""One day's challenge of the champion: train, test on a hold-out, judge; in terms that fit every model.

What comes out is plain: bytes, numbers, frames and pictures. Who registers, scores or publishes is not decided here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ml.artefact import sha256_of
from ml.decision import CHALLENGER, CHAMPION, HOLD_OUT, PERFORMANCE_COLUMNS, Challenge, without_challenger
from ml.evaluation import Metrics
from ml.forecast import DemandModel
from ml.forecast_evaluation import MODEL, ForecastBacktest, ForecastRule, forecast_backtest
from ml.forecast_report import forecast_card, forecast_plot
from ml.forecast_specification import ForecastSpecification
from ml.model_card import model_card
from ml.plots import calibration_and_lift, importance
from ml.propensity import PropensityModel, backtest
from ml.specification import (
    Moment,
    Specification,
    TooLittleDataError,
    closes_at,
    days,
    eligible,
    holdout_times,
    labels_of,
    preflight,
)

TOTAL = "total"


def challenge_propensity(
    specification: Specification,
    frame: pd.DataFrame,
    as_of: Moment,
    champion: PropensityModel | None = None,
    threads: int = 0,
) -> Challenge:
    """Trains a propensity model on what was known at `as_of`, and judges it on the newest cut-offs held out.

    Args:
        specification: The model, with a time column.
        frame: Feature rows with labels.
        as_of: A midnight.
        champion: The one in force; None where there is none.
        threads: Of LightGBM.

    Returns:
        The challenge; where there is too little data, or a column that cannot be learned from, one without an artefact
        whose decision says what is there and what is needed.
    """
    try:
        times = _times_to_test(specification, frame, as_of)
        tested = backtest(specification, frame, times, champion=champion, threads=threads)
        model = PropensityModel(specification, threads).fit(frame, as_of)
    except ValueError as error:
        return Challenge(without_challenger(str(error), has_champion=champion is not None))
    decision = tested.judge()
    metrics = {name: tested.metrics(name) for name in tested.names}
    text = model.text()
    first, last = pd.Timestamp(min(map(pd.Timestamp, times))), _last_day(specification, frame, times)
    tested_on = f"{len(times)} cut-offs held out, labels from {first.date()} to {last.date()}"
    ours, baseline = metrics[specification.score], metrics[specification.gate_baseline]
    pictures = {
        "calibration_and_lift": calibration_and_lift(
            f"{specification.name}: {tested_on}", ours, baseline, specification.gate_baseline
        ),
        "importance": importance(f"{specification.name}: what it looks at", specification, model.importance_),
    }
    return Challenge(
        decision=decision,
        artefact=text,
        performance=pd.DataFrame(
            list(_performance(specification, metrics, first, last)), columns=list(PERFORMANCE_COLUMNS)
        ),
        parameters={**specification.parameters.model_dump(), "seed": specification.seed, "rows": model.rows_}
        | {"positives": model.positives_, "features": len(model.blend_.preprocessor.features_)},
        pictures=pictures,
        card=model_card(model, metrics, tested_on, decision, sha256_of(text)),
    )


def challenge_demand(
    specification: ForecastSpecification,
    weekly: pd.DataFrame,
    as_of: Moment,
    promotions: pd.DataFrame | None = None,
    daily: pd.DataFrame | None = None,
    champion: DemandModel | None = None,
) -> Challenge:
    """Fits a demand forecast on what was known at `as_of`, and judges it on the newest rolling origins.

    Args:
        specification: The model.
        weekly: As for `DemandModel.fit`.
        as_of: A midnight.
        promotions: As for `fit`.
        daily: As for `fit`.
        champion: The one in force; None where there is none.

    Returns:
        The challenge; where there is too little data, or a series that cannot be read, one without an artefact.
    """
    try:
        tested = forecast_backtest(specification, weekly, as_of, promotions, daily, champion=champion)
        model = tested.fit()
        coming = model.predict(weekly, as_of, promotions)
    except ValueError as error:
        return Challenge(without_challenger(str(error), has_champion=champion is not None))
    decision, text = tested.judge(), model.text()
    pictures = {}
    for level in (TOTAL, *(["department"] if (coming["level"] == "department").any() else [])):
        series = _largest(weekly, level)
        history = weekly[(weekly["level"] == level) & (weekly["series_id"] == series)]
        ahead = coming[(coming["level"] == level) & (coming["series_id"] == series)]
        past = tested.predictions[(tested.predictions["level"] == level) & (tested.predictions["series_id"] == series)]
        whole = past.groupby("origin")["horizon"].transform("size") == past.groupby("origin").size().max()
        shown = past[whole & (past["origin"] == past.loc[whole, "origin"].max())]
        name = series if level == TOTAL else f"{level} {series}"
        pictures[f"forecast_{level}"] = forecast_plot(f"{name}: the coming weeks", history, ahead)
        pictures[f"against_actuals_{level}"] = forecast_plot(
            f"{name}: what was forecast on {shown['origin'].max().date()}, and what came", history, shown
        )
    return Challenge(
        decision=decision,
        artefact=text,
        performance=pd.DataFrame(list(_forecast_performance(tested)), columns=list(PERFORMANCE_COLUMNS)),
        parameters={**specification.parameters.model_dump(), "seed": specification.seed, "weeks": model.weeks_}
        | {f"winner_{level}": " + ".join(names) for level, names in model.winners_.items()},
        pictures=pictures,
        card=forecast_card(model, tested, decision, sha256_of(text)),
    )


def _largest(weekly: pd.DataFrame, level: str) -> str:
    rows = weekly[weekly["level"] == level]
    return str(rows.groupby("series_id")["net_sales"].sum().astype(float).idxmax())


def _forecast_performance(tested: ForecastBacktest) -> Iterator[tuple[Any, ...]]:
    ahead = f"1 to {tested.specification.judged_horizon} weeks ahead"
    # What is judged comes first: who takes one figure takes that of the departments.
    table = tested.performance().sort_values("level", key=lambda level: level != ForecastRule().level, kind="stable")
    columns = (table[name] for name in ("level", "name", "metric", "value", "split_start", "split_end"))
    for level, tested_name, metric, value, first, last in zip(*columns, strict=True):
        name = CHALLENGER if tested_name == MODEL else tested_name
        role = name if name in (CHALLENGER, CHAMPION) else "baseline"
        where = f"{level}, {ahead}", first.date(), last.date()
        yield name, role, *where, metric, float(value), None, None
        # Beside its error, by how much it is below that of the best baseline, and how sure that is.
        if name == CHALLENGER and metric == "wape":
            best = tested.best_baseline(level)
            interval = tested.advantage(best, level)
            if interval is not None:
                yield name, role, *where, f"wape_below_{best}", interval.estimate, interval.lower, interval.upper


def _times_to_test(specification: Specification, frame: pd.DataFrame, as_of: Moment) -> list[Moment]:
    """The cut-offs to test on, once there is enough to learn from and to judge by.

    Raises:
        TooLittleDataError: There is not.
    """
    missing = list(preflight(specification, frame, as_of))
    times, rule = holdout_times(specification, frame, as_of), specification.promotion
    rows = eligible(specification, frame)
    label = labels_of(specification, rows)
    label = label[days(rows, str(specification.time_column)).isin([pd.Timestamp(time) for time in times])].dropna()
    rarer = int(min(label.sum(), len(label) - label.sum()))
    if len(label) < rule.min_rows:
        missing.append(f"{len(label)} labelled rows to judge by, needed are {rule.min_rows}")
    if rarer < rule.min_positives:
        missing.append(f"{rarer} of them of the rarer class, needed are {rule.min_positives}")
    if missing:
        raise TooLittleDataError(f"{specification.name}: too little data as of {as_of}: " + "; ".join(missing))
    return times


def _last_day(specification: Specification, frame: pd.DataFrame, times: list[Moment]) -> pd.Timestamp:
    """Of the rows tested: others may begin on the same day and end later."""
    tested = days(frame, str(specification.time_column)).isin([pd.Timestamp(time) for time in times])
    rows = frame[tested & labels_of(specification, frame).notna()]
    return pd.Timestamp(closes_at(specification, rows).max()) - pd.Timedelta(days=1)


def _performance(
    specification: Specification, metrics: Mapping[str, Metrics], first: pd.Timestamp, last: pd.Timestamp
) -> Iterator[tuple[Any, ...]]:
    for column, measured in metrics.items():
        is_ours = column in (specification.score, CHAMPION)
        name = CHALLENGER if column == specification.score else column
        numbers: dict[str, float | None] = {
            metric: value for metric, value in measured.numbers().items() if not metric.endswith(("_lower", "_upper"))
        }
        if is_ours:
            for tenth in measured.deciles:
                numbers |= {f"lift_decile_{tenth.decile}": tenth.lift, f"capture_decile_{tenth.decile}": tenth.capture}
        for metric, value in numbers.items():
            if value is None:
                continue
            interval = measured.intervals.get(metric)
            ends = (None, None) if interval is None else (interval.lower, interval.upper)
            role = name if is_ours else "baseline"
            yield name, role, HOLD_OUT, first.date(), last.date(), metric, float(value), *ends
