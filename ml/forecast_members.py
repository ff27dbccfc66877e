"""The members of the forecast contest: history up to an origin in, forecasts of the coming weeks out.

Here are the simple members, those of statsforecast, and LightGBM through mlforecast. Which of them wins, and how their
forecasts are made to add up, is decided in `ml.forecast_contest`. Libraries are imported when a member is asked for.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from ml.forecast_calendar import Matrix

if TYPE_CHECKING:
    pass

YEAR = 52
LEVEL_FEATURE = "level"
# A week with less than this share of the mean week is as far down as the logarithm goes.
MIN_SHARE = 0.02


@dataclass(frozen=True)
class Ground:
    """What members forecast from: everything known at an origin, and what is planned.

    Attributes:
        sales: Shape (weeks, series), the newest last; NaN before the first week of a series.
        index: Calendar index of those weeks and the coming ones, shape (weeks + steps,).
        promotions: Counts of the same weeks, shape (weeks + steps, series, kinds); None where none are known.
        steps: Weeks to forecast.
    """

    sales: Matrix
    index: Matrix
    promotions: Matrix | None
    steps: int

    @property
    def adjusted(self) -> Matrix:
        """Sales over the index, shape (weeks, series): what moves besides the calendar."""
        return np.asarray(self.sales / self.index[: len(self.sales), None])

    @property
    def coming(self) -> Matrix:
        """Index of the coming weeks, shape (steps, 1)."""
        return self.index[len(self.sales) :][: self.steps, None]


def naive(ground: Ground) -> Matrix:
    """The newest week again."""
    return np.repeat(np.nan_to_num(ground.sales[-1:]), ground.steps, axis=0)


def window_average(ground: Ground, weeks: int) -> Matrix:
    """Mean of the newest weeks, or of as many as a series has."""
    recent = ground.sales[-weeks:]
    known = np.maximum((~np.isnan(recent)).sum(axis=0), 1)
    return np.repeat((np.nansum(recent, axis=0) / known)[None], ground.steps, axis=0)


def smoothed(values: Matrix, alpha: float) -> Matrix:
    """Exponentially weighted mean of each column up to each row, weights (1 - alpha)^age over their sum."""
    known = ~np.isnan(values)
    top, below = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    out = np.full(values.shape, np.nan)
    for row in range(len(values)):
        top = (1 - alpha) * top + np.where(known[row], np.nan_to_num(values[row]), 0.0)
        below = (1 - alpha) * below + known[row]
        out[row] = np.divide(top, below, out=np.full_like(top, np.nan), where=below > 0)
    return out


def calendar_level(ground: Ground, alpha: float) -> Matrix:
    """Exponentially weighted level times the calendar index; without one, simple exponential smoothing."""
    level = np.nan_to_num(smoothed(ground.adjusted, alpha)[-1])
    return np.asarray(level[None] * ground.coming)


def seasonal_level(ground: Ground, alpha: float) -> Matrix | None:
    """The level times what the coming week stood for in earlier years, relative to the level around it then.

    The level around a week is the mean of the year with it in the middle, or of what there is of it.

    Returns:
        None with less than a year and the coming weeks.
    """
    weeks, adjusted = len(ground.sales), ground.adjusted
    if weeks < YEAR + ground.steps:
        return None
    frame = pd.DataFrame(adjusted)
    around = frame.rolling(YEAR + 1, center=True, min_periods=YEAR // 2).mean().to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(around > 0, adjusted / around, np.nan)
    phase = np.arange(weeks + ground.steps) % YEAR
    season = np.ones((YEAR, adjusted.shape[1]))
    for week in range(YEAR):
        seen = ratio[phase[:weeks] == week]
        known = (~np.isnan(seen)).sum(axis=0)
        season[week] = np.where(known > 0, np.nansum(seen, axis=0) / np.maximum(known, 1), 1.0)
    season = np.maximum(season, 1e-3)
    level = np.nan_to_num(smoothed(adjusted / season[phase[:weeks]], alpha)[-1])
    return np.asarray(level[None] * season[phase[weeks:]] * ground.coming)


def statistical(ground: Ground, names: Sequence[str], columns: Sequence[int], season: int = 1) -> dict[str, Matrix]:
    """AutoETS and AutoTheta of statsforecast, fitted to each series anew, without parallel work.

    Args:
        ground: The history.
        names: Of `auto_ets`, `auto_theta`, `seasonal_naive`.
        columns: Series to forecast; others stay NaN.
        season: Weeks in a season; 1 for none.
    """
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS, AutoTheta, Naive, SeasonalNaive

    makers = {
        "auto_ets": lambda: AutoETS(season_length=season, alias="auto_ets"),
        "auto_theta": lambda: AutoTheta(season_length=season, alias="auto_theta"),
        "seasonal_naive": lambda: SeasonalNaive(season_length=YEAR, alias="seasonal_naive"),
    }
    found = {name: np.full((ground.steps, ground.sales.shape[1]), np.nan) for name in names}
    weeks = np.arange(len(ground.sales))
    parts = []
    for column in columns:
        known = ~np.isnan(ground.sales[:, column])
        if known.sum() >= 4:
            parts.append(
                pd.DataFrame({"unique_id": column, "ds": weeks[known], "y": ground.sales[known, column]}, copy=False)
            )
    if not parts or not names:
        return found
    engine = StatsForecast([makers[name]() for name in names], freq=1, n_jobs=1, fallback_model=Naive())
    made = engine.forecast(df=pd.concat(parts, ignore_index=True), h=ground.steps)
    for name in names:
        table = made.pivot(index="ds", columns="unique_id", values=name)
        found[name][:, table.columns.to_numpy(dtype=int)] = table.to_numpy(dtype=np.float64)
    return found


class Boost:
    """LightGBM on what a series' adjusted logarithm is above its own level, of the kind mlforecast takes.

    Trees do not extrapolate: told apart from the level of the moment, all series and times are alike, and one model
    serves them all.

    Args:
        settings: Of LightGBM.
        rounds: Trees.
        text: A fitted model; without one, `fit` makes it.
    """

    def __init__(self, settings: Mapping[str, Any], rounds: int, text: str = "") -> None:
        import lightgbm as lgb

        self.settings, self.rounds, self.text = dict(settings), rounds, text
        self.booster: lgb.Booster | None = lgb.Booster(model_str=text) if text else None

    def __sklearn_clone__(self) -> Self:
        return self

    def _relative(self, features: pd.DataFrame) -> tuple[Matrix, Matrix, list[str]]:
        level = features[LEVEL_FEATURE].to_numpy(dtype=np.float64)
        columns = [column for column in features.columns if column != LEVEL_FEATURE]
        table = features[columns].to_numpy(dtype=np.float64, copy=True)
        of_level = [column.startswith(("lag", "rolling_mean")) for column in columns]
        table[:, of_level] -= level[:, None]
        return table, level, columns

    def fit(self, features: pd.DataFrame, target: Any) -> Self:
        """One booster on all rows; shape (rows, features) and (rows,)."""
        import lightgbm as lgb

        table, level, columns = self._relative(features)
        data = lgb.Dataset(table, np.asarray(target) - level, feature_name=columns)
        self.text = lgb.train(self.settings, data, self.rounds).model_to_string()
        # What forecasts now is what will be read back later.
        self.booster = lgb.Booster(model_str=self.text)
        return self

    def predict(self, features: pd.DataFrame) -> Matrix:
        """The level and what is above it, shape (rows,)."""
        table, level, _ = self._relative(features)
        assert self.booster is not None
        return np.asarray(level + self.booster.predict(table, num_threads=1))


def boosted(
    ground: Ground, columns: Sequence[int], promoted: Sequence[int], alpha: float, boost: Boost, min_points: int
) -> tuple[Matrix, Boost] | None:
    """One LightGBM for all series, week by week on from its own forecasts (mlforecast).

    Features: the adjusted logarithm of the newest three weeks, of means of four and eight, all less the level; the
    spread of eight; counts of promoted products of the week forecast, less their mean of the eight weeks before.

    Args:
        ground: The history.
        columns: Series to learn from and to forecast, as far as they have `min_points`.
        promoted: Those of them whose promotions say something.
        alpha: Of the level.
        boost: Fitted, or to be fitted.
        min_points: Fewer weeks than these neither teach nor are forecast.

    Returns:
        Forecasts of shape (steps, series), NaN where there is none, and the fitted model; None if no series is left.
    """
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import ExponentiallyWeightedMean, RollingMean, RollingStd

    weeks, steps = len(ground.sales), ground.steps
    adjusted = ground.adjusted
    enough = (~np.isnan(adjusted)).sum(axis=0) >= max(min_points, 10)
    columns = [column for column in columns if enough[column]]
    if not columns:
        return None
    size = np.maximum(np.nanmean(adjusted[:, columns], axis=0), 1e-9)
    target = np.log(np.maximum(adjusted[:, columns] / size, MIN_SHARE))
    # Each series from its first week on. Promotions are always columns, if only of unknowns: a fitted model is used
    # with and without a table of them.
    first = np.argmax(~np.isnan(target), axis=0)
    week, position = np.meshgrid(np.arange(weeks + steps), np.arange(len(columns)))
    known = week >= first[:, None]
    planned = _above_usual(ground)[:, columns]
    planned[:, [column not in set(promoted) for column in columns]] = np.nan
    table = pd.DataFrame(
        {
            "unique_id": position[known],
            "ds": week[known],
            "y": np.vstack([target, np.full((steps, len(columns)), np.nan)]).T[known],
            **{f"promotion_{kind}": planned[:, :, kind].T[known] for kind in range(planned.shape[2])},
        }
    )
    past, future = table[table["ds"] < weeks], table[table["ds"] >= weeks].drop(columns="y")
    engine = MLForecast(
        models={"lightgbm": boost},
        freq=1,
        lags=[1, 2, 3],
        lag_transforms={1: [RollingMean(4), RollingMean(8), RollingStd(8), ExponentiallyWeightedMean(alpha)]},
        lag_transforms_namer=_feature_name,
        num_threads=1,
    )
    features, wanted = engine.preprocess(past, static_features=[], return_X_y=True)
    if not len(features):
        return None
    # A fitted model only has its features brought up to the newest week: nothing is learned when it forecasts.
    engine.models_ = {"lightgbm": boost if boost.booster is not None else boost.fit(features, wanted)}
    with warnings.catch_warnings():
        # Unknown promotions are meant; trees take them.
        warnings.filterwarnings("ignore", "Found null values in promotion")
        made = engine.predict(steps, X_df=future)
    found = np.full((steps, ground.sales.shape[1]), np.nan)
    made = made.pivot(index="ds", columns="unique_id", values="lightgbm")
    order = made.columns.to_numpy(dtype=int)
    found[:, np.array(columns)[order]] = np.exp(made.to_numpy(dtype=np.float64)) * size[order] * ground.coming
    return found, boost


def _feature_name(transform: Any, lag: int, *_: Any) -> str:
    kind = type(transform).__name__
    if kind == "ExponentiallyWeightedMean":
        return LEVEL_FEATURE
    return f"rolling_{'mean' if kind == 'RollingMean' else 'spread'}_{transform.window_size}"


def _above_usual(ground: Ground) -> Matrix:
    """Logarithm of the promotion counts less its mean of the eight weeks before, as known at the origin."""
    weeks, series = ground.sales.shape
    if ground.promotions is None:
        return np.full((weeks + ground.steps, series, 2), np.nan)
    logs = np.log1p(ground.promotions[: weeks + ground.steps])
    usual = np.zeros_like(logs)
    for week in range(len(logs)):
        newest = min(week, weeks)
        if newest:
            usual[week] = logs[max(newest - 8, 0) : newest].mean(axis=0)
    return np.asarray(logs - usual)
