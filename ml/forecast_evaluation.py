"""How good a demand forecast is: rolling origins, metrics beside baselines, and gate 3.

Everything is measured forward in time: at each origin the contest, the calendar, LightGBM and the intervals are learned
anew from what was known there. Which series there are, and what is part of what, is taken from the newest frame.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ml.decision import CHAMPION, Decision, without_challenger
from ml.evaluation import DRAWS, Interval
from ml.forecast import DemandModel
from ml.forecast_contest import Rolling
from ml.forecast_history import REST, History, read_history
from ml.forecast_specification import BASELINES, ForecastSpecification
from ml.specification import Moment, TooLittleDataError

MODEL = "model"


class ForecastRule(BaseModel):
    """When a new forecast becomes the champion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    level: str = Field(default="department", description="Level that is judged.")
    guarded_level: str = Field(default="total", description="Level at which it must not be worse than its baseline.")
    min_origins: Annotated[int, Field(ge=2)] = Field(
        default=6, description="Origins tested without which nothing is known."
    )
    min_advantage: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="By how much the lower end of the interval of the advantage over the baseline must be above 0.",
    )
    covered: int = Field(default=80, description="Percent of the interval that must be calibrated.")
    min_coverage: Annotated[float, Field(ge=0, le=1)] = Field(default=0.70, description="Share it must cover.")
    max_coverage: Annotated[float, Field(ge=0, le=1)] = Field(default=0.90, description="Share it may cover.")


@dataclass(frozen=True)
class ForecastMetrics:
    """What was measured of one forecaster; None where it cannot be.

    Attributes:
        n: Weeks of series tested.
        wape: Sum of absolute errors over sum of sales (Kolassa & Schütz 2007).
        mase: Mean absolute error over that of the week before within the history of the series, mean over all
            (Hyndman & Koehler 2006, "Another look at measures of forecast accuracy").
        bias: Sum of errors over sum of sales; above 0 where too much was forecast.
        coverage: Share of weeks within the interval, by percent; empty for baselines.
    """

    n: int
    wape: float | None
    mase: float | None
    bias: float | None
    coverage: Mapping[int, float]

    def numbers(self) -> dict[str, float]:
        """The measured numbers by name."""
        found = {"wape": self.wape, "mase": self.mase, "bias": self.bias}
        found |= {f"coverage_{percent}": share for percent, share in self.coverage.items()}
        return {name: float(value) for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class ForecastBacktest:
    """Forecasts of past weeks beside what was sold.

    Attributes:
        specification: Of the model tested.
        predictions: One row per level, series_id, origin and period_start: horizon (1 is the first week), actual,
            scale (for MASE), forecast, lower_80, upper_80, …, a column per baseline, and champion where there is one.
        winners: By origin, who won at each level.
        rolling: The forecasts of the members.
    """

    specification: ForecastSpecification
    predictions: pd.DataFrame
    winners: Mapping[str, Mapping[str, tuple[str, ...]]]
    rolling: Rolling

    def fit(self) -> DemandModel:
        """The model fitted at the day the backtest was made: as `DemandModel.fit`, but what was computed is reused."""
        return DemandModel(self.specification).fit_at(self.rolling, len(self.rolling.history.starts))

    @property
    def names(self) -> tuple[str, ...]:
        """Who was tested: the model, the baselines, the champion."""
        there = [name for name in (*BASELINES, CHAMPION) if name in self.predictions]
        return (MODEL, *there)

    def _rows(self, level: str, horizon: int | None) -> pd.DataFrame:
        rows = self.predictions[self.predictions["level"] == level]
        return rows[rows["horizon"] <= (horizon or self.specification.judged_horizon)]

    def metrics(self, level: str, horizon: int | None = None, name: str = MODEL) -> ForecastMetrics:
        """Metrics of one forecaster at one level.

        Args:
            level: Of the series.
            horizon: Weeks ahead that count, from 1 on; the judged ones without it.
            name: One of `names`.
        """
        rows = self._rows(level, horizon)
        forecast = rows["forecast" if name == MODEL else name].to_numpy(dtype=np.float64)
        actual = rows["actual"].to_numpy(dtype=np.float64)
        if not len(rows) or not np.isfinite(forecast).all():
            return ForecastMetrics(0, None, None, None, {})
        error, sold = forecast - actual, float(np.abs(actual).sum())
        scale = rows["scale"].to_numpy(dtype=np.float64)
        scaled = np.abs(error[scale > 0]) / scale[scale > 0]
        coverage = {}
        if name == MODEL:
            for percent in self.specification.intervals:
                # What is known to the cent is covered by an interval without width.
                slack = 1e-9 * np.abs(actual) + 1e-9
                inside = (rows[f"lower_{percent}"] <= actual + slack) & (actual - slack <= rows[f"upper_{percent}"])
                coverage[percent] = float(inside.mean())
        return ForecastMetrics(
            n=len(rows),
            wape=float(np.abs(error).sum()) / sold if sold > 0 else None,
            mase=float(scaled.mean()) if len(scaled) else None,
            bias=float(error.sum()) / sold if sold > 0 else None,
            coverage=coverage,
        )

    def best_baseline(self, level: str, horizon: int | None = None) -> str:
        """The baseline with the least WAPE on the very same rows: the hardest to beat."""
        found = {name: self.metrics(level, horizon, name).wape for name in self.names if name in BASELINES}
        known = {name: wape for name, wape in found.items() if wape is not None}
        return min(known, key=lambda name: known[name]) if known else BASELINES[0]

    def advantage(self, other: str, level: str, horizon: int | None = None, draws: int = DRAWS) -> Interval | None:
        """By how much the model's WAPE is below another's on the same rows: paired block bootstrap over origins.

        Origins a week apart are tested on nearly the same weeks, so runs of them, as long as the weeks judged, are
        drawn together, on a circle (Politis & Romano 1992, "A circular block-resampling procedure for stationary
        data"). All series of an origin stay together, as one week is good or bad for many.

        Returns:
            95 % interval, above 0 if the model is better; None where it cannot be measured.
        """
        rows = self._rows(level, horizon)
        if not len(rows) or other not in rows or not np.isfinite(rows[other].to_numpy(dtype=np.float64)).all():
            return None
        table = (
            pd.DataFrame(
                {
                    "origin": rows["origin"],
                    "gain": (rows[other] - rows["actual"]).abs() - (rows["forecast"] - rows["actual"]).abs(),
                    "sold": rows["actual"].abs(),
                }
            )
            .groupby("origin")
            .sum()
            .sort_index()
        )
        gain, sold = table["gain"].to_numpy(dtype=np.float64), table["sold"].to_numpy(dtype=np.float64)
        origins = len(table)
        if origins < 4 or not sold.sum() > 0:
            return None
        length = min(self.specification.judged_horizon, origins // 2)
        generator = np.random.default_rng(self.specification.seed)
        first = generator.integers(0, origins, size=(draws, -(-origins // length)))
        drawn = ((first[:, :, None] + np.arange(length)) % origins).reshape(draws, -1)[:, :origins]
        values = gain[drawn].sum(axis=1) / np.maximum(sold[drawn].sum(axis=1), 1e-12)
        lower, upper = np.quantile(values, [0.025, 0.975])
        return Interval(float(gain.sum() / sold.sum()), float(lower), float(upper))

    def judge(self, rule: ForecastRule | None = None) -> Decision:
        """Gate 3 on this hold-out: `decide_forecast` with the best baseline, and the champion where there is one."""
        rule = rule or ForecastRule()
        baseline = self.best_baseline(rule.level)
        guarded = len(self._rows(rule.guarded_level, None)) > 0
        return decide_forecast(
            origins=int(self._rows(rule.level, None)["origin"].nunique()),
            baseline=baseline,
            over_baseline=self.advantage(baseline, rule.level),
            over_guarded=self.advantage(self.best_baseline(rule.guarded_level), rule.guarded_level)
            if guarded
            else None,
            coverage=self.metrics(rule.level).coverage.get(rule.covered),
            has_champion=CHAMPION in self.predictions,
            over_champion=self.advantage(CHAMPION, rule.level),
            rule=rule,
        )

    def performance(self) -> pd.DataFrame:
        """One row per level, name and metric: level, name, metric, value, split_start, split_end (last day tested)."""
        found = []
        for level in dict.fromkeys(self.predictions["level"]):
            rows = self._rows(level, None)
            end = rows["period_start"].max() + pd.Timedelta(days=6)
            for name in self.names:
                for metric, value in self.metrics(level, name=name).numbers().items():
                    found.append((level, name, metric, value, rows["period_start"].min(), end))
        return pd.DataFrame(found, columns=["level", "name", "metric", "value", "split_start", "split_end"])


def decide_forecast(
    origins: int,
    baseline: str,
    over_baseline: Interval | None,
    over_guarded: Interval | None,
    coverage: float | None,
    has_champion: bool = False,
    over_champion: Interval | None = None,
    rule: ForecastRule | None = None,
) -> Decision:
    """Whether a new forecast beats the baseline beyond noise, is calibrated, and is not worse than the champion.

    It fails closed: what was not measured, or is not finite, speaks against it.

    Args:
        origins: Rolling origins tested.
        baseline: Name of the best baseline.
        over_baseline: Advantage over it in WAPE at the judged level.
        over_guarded: Advantage over the best baseline at the guarded level.
        coverage: Share of weeks within the interval at the judged level.
        has_champion: Whether there is one.
        over_champion: Advantage over it, on the same rows.
        rule: Limits; the default ones where None.
    """
    rule = rule or ForecastRule()
    checks = [
        (
            f"the hold-out has {origins} origins"
            + ("" if origins >= rule.min_origins else f"; needed are {rule.min_origins}"),
            origins >= rule.min_origins,
        )
    ]
    if over_baseline is None or not over_baseline.is_finite:
        checks.append((f"{rule.level}: the advantage over the baseline could not be measured", False))
    else:
        holds = over_baseline.lower > rule.min_advantage
        checks.append(
            (
                f"{rule.level}: {'better' if holds else 'not better'} than {baseline} beyond noise,"
                f" WAPE lower by {over_baseline}",
                holds,
            )
        )
    if over_guarded is None or not over_guarded.is_finite:
        checks.append((f"{rule.guarded_level}: the difference to its baseline could not be measured", False))
    else:
        holds = over_guarded.upper >= 0
        checks.append(
            (
                f"{rule.guarded_level}: {'not worse' if holds else 'worse'} than its baseline beyond noise,"
                f" WAPE lower by {over_guarded}",
                holds,
            )
        )
    if coverage is None or not math.isfinite(coverage):
        checks.append((f"{rule.level}: the coverage of the {rule.covered} % interval could not be measured", False))
    else:
        holds = rule.min_coverage <= coverage <= rule.max_coverage
        checks.append(
            (
                f"{rule.level}: {'calibrated' if holds else 'not calibrated'}: the {rule.covered} % interval covers"
                f" {coverage:.1%}, allowed are {rule.min_coverage:.0%} to {rule.max_coverage:.0%}",
                holds,
            )
        )
    if not has_champion:
        checks.append(("there is no champion to compare with", True))
    elif over_champion is None or not over_champion.is_finite:
        checks.append(("the difference to the champion could not be measured", False))
    else:
        holds = over_champion.upper >= 0
        checks.append(
            (
                f"{'not worse' if holds else 'worse'} than the champion beyond noise, WAPE lower by {over_champion}",
                holds,
            )
        )
    against = tuple(said for said, holds in checks if not holds)
    if not against:
        return Decision(True, tuple(said for said, _ in checks), "challenger")
    return without_challenger(*against, has_champion=has_champion)


def forecast_backtest(
    specification: ForecastSpecification,
    weekly: pd.DataFrame,
    as_of: Moment,
    promotions: pd.DataFrame | None = None,
    daily: pd.DataFrame | None = None,
    origins: int = 12,
    champion: DemandModel | None = None,
) -> ForecastBacktest:
    """Forecasts from the newest origins whose judged weeks have closed, beside baselines and the champion.

    Promotions of a week are taken to have been planned as they came, as they are known `horizon` weeks ahead.

    Args:
        specification: Of the model to test.
        weekly: As for `DemandModel.fit`.
        as_of: A midnight.
        promotions: As for `fit`.
        daily: As for `fit`.
        origins: Weeks to forecast from, the newest, as far as there is history before them.
        champion: Scores the same rows: itself where it was fitted by an origin, else its specification fitted anew
            there, as it would have seen what it is tested on.

    Raises:
        TooLittleDataError: Too few weeks for a single origin.
        ValueError: A frame cannot be read.
    """
    spec = specification
    ahead = max(spec.horizon, champion.specification.horizon if champion is not None else 0)
    history = read_history(weekly, as_of, promotions, daily, spec.max_gap_weeks, ahead)
    newest = len(history.starts) - spec.judged_horizon
    tested = range(max(spec.min_weeks, newest - origins + 1), newest + 1)
    if not len(tested):
        raise TooLittleDataError(
            f"{spec.name}: {len(history.starts)} complete weeks, needed are {spec.min_weeks + spec.judged_horizon}"
            f" to test {spec.judged_horizon} weeks ahead from one origin"
        )
    rolling = Rolling(spec, history)
    theirs = None if champion is None else Rolling(champion.specification, history)
    parts, winners = [], {}
    for origin in tested:
        model = DemandModel(spec).fit_at(rolling, origin)
        part = model.predict_at(rolling, origin)
        part.insert(2, "origin", rolling.moment(origin))
        part = _with_actual(part, history, rolling, origin)
        if champion is not None and theirs is not None:
            made = part["forecast"]
            if champion.specification != spec or pd.Timestamp(champion.as_of_) <= rolling.moment(origin):
                held = champion
                if pd.Timestamp(champion.as_of_) > rolling.moment(origin):
                    held = DemandModel(champion.specification).fit_at(theirs, origin)
                scored = held.predict_at(Rolling(champion.specification, history), origin)
                keys = ["level", "series_id", "period_start"]
                made = part[keys].merge(scored[[*keys, "forecast"]], on=keys, how="left")["forecast"]
            part[CHAMPION] = made.to_numpy()
        parts.append(part[part["actual"].notna()])
        winners[str(rolling.moment(origin).date())] = model.winners_
    return ForecastBacktest(spec, pd.concat(parts, ignore_index=True), winners, rolling)


def _with_actual(part: pd.DataFrame, history: History, rolling: Rolling, origin: int) -> pd.DataFrame:
    column_of = {
        (level, name): column
        for column, (level, name) in enumerate(zip(history.levels, history.ids, strict=True))
        if level != REST
    }
    columns = np.array([column_of[key] for key in zip(part["level"], part["series_id"], strict=True)])
    weeks = ((part["period_start"] - history.starts[0]).dt.days // 7).to_numpy()
    closed = weeks < len(history.starts)
    actual = np.full(len(part), np.nan)
    actual[closed] = np.nan_to_num(history.sales[weeks[closed], columns[closed]])
    part.insert(4, "horizon", weeks - origin + 1)
    part.insert(5, "actual", actual)
    past = history.sales[:origin]
    step = np.abs(np.diff(past, axis=0))
    known = (~np.isnan(step)).sum(axis=0)
    scale = np.where(known > 0, np.nansum(step, axis=0) / np.maximum(known, 1), 0.0)
    part.insert(6, "scale", scale[columns])
    for name in BASELINES:
        made = rolling.at(origin, name)
        assert made is not None
        part[name] = made[weeks - origin, columns]
    return part
