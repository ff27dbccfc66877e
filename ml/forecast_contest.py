"""The contest of the members: what each would have forecast at past origins, who was least wrong; sums that agree."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.forecast_calendar import CalendarIndex, Matrix, learn_calendar
from ml.forecast_history import REST, STORES, History
from ml.forecast_members import (
    YEAR,
    Boost,
    Ground,
    boosted,
    calendar_level,
    naive,
    seasonal_level,
    statistical,
    window_average,
)
from ml.forecast_specification import ForecastSpecification

# Stands for the size of a series that sold nothing, where one divides by it.
NOTHING = 1e-9


class Rolling:
    """Forecasts of the members at the origins of a history, each made from what was known there; made when asked for.

    Args:
        specification: Says who competes.
        history: Up to the newest origin.
    """

    def __init__(self, specification: ForecastSpecification, history: History) -> None:
        self.specification, self.history = specification, history
        self.calendars: dict[int, CalendarIndex] = {}
        self._made: dict[tuple[int, str], Matrix | None] = {}
        self._boosts: dict[int, Boost] = {}

    def use(self, origin: int, calendar: CalendarIndex, boost: str | None) -> None:
        """From `origin`, forecast with a calendar and a LightGBM learned elsewhere."""
        boosts = {} if origin not in self._boosts else {origin: self._boosts[origin].text}
        if self.calendars.get(origin) != calendar or (boost is not None and boosts.get(origin) != boost):
            self._made = {key: made for key, made in self._made.items() if key[0] != origin}
        self.calendars[origin] = calendar
        if boost is not None and boosts.get(origin) != boost:
            self._boosts[origin] = Boost({}, 0, boost)

    def moment(self, origin: int) -> pd.Timestamp:
        """Midnight from which on nothing is known at week `origin`."""
        start = self.history.starts[0] + pd.Timedelta(weeks=origin)
        return self.history.as_of if origin == len(self.history.starts) else start

    def calendar(self, origin: int) -> CalendarIndex:
        """The calendar index as it could be learned at an origin."""
        if origin not in self.calendars:
            spec = self.specification
            self.calendars[origin] = learn_calendar(
                self.history.daily,
                self.moment(origin),
                spec.holidays,
                spec.parameters.calendar_ridge,
                spec.parameters.calendar_min_days,
            )
        return self.calendars[origin]

    def steps(self, origin: int) -> int:
        """Weeks to forecast from an origin: the horizon, and those that late data lacks."""
        return self.specification.horizon + (self.history.gap if origin == len(self.history.starts) else 0)

    def ground(self, origin: int) -> Ground:
        """What a member may see at an origin."""
        history, steps = self.history, self.steps(origin)
        return Ground(
            sales=history.sales[:origin],
            index=self.calendar(origin).weekly(history.coming(0, origin + steps)),
            promotions=None if history.promotions is None else history.promotions[: origin + steps],
            steps=steps,
        )

    def boost(self, origin: int) -> Boost | None:
        """The LightGBM of an origin; None where it could not be fitted."""
        self.at(origin, "lightgbm")
        return self._boosts.get(origin)

    def at(self, origin: int, member: str) -> Matrix | None:
        """Forecasts from an origin, shape (steps, series); None where the member cannot take part.

        Series that do not suit a trained member have the moving average; a member that does not compete at a level
        has NaN there.
        """
        if (origin, member) not in self._made:
            self._made |= {(origin, name): made for name, made in self._make(origin, member).items()}
        return self._made[origin, member]

    def _make(self, origin: int, member: str) -> dict[str, Matrix | None]:
        spec, ground = self.specification, self.ground(origin)
        parameters = spec.parameters
        average = window_average(ground, parameters.window_weeks)
        if member == "window_average":
            return {member: np.maximum(average, 0.0)}
        if member == "naive":
            return {member: np.maximum(naive(ground), 0.0)}
        made: dict[str, Matrix | None]
        if member in ("auto_ets", "auto_theta"):
            names = [name for name in ("auto_ets", "auto_theta") if name in (*spec.members, member)]
            columns = [c for c, level in enumerate(self.history.levels) if level in spec.statistical_levels]
            made = dict(statistical(ground, names, columns))
        elif member == "seasonal_naive":
            columns = [c for c, level in enumerate(self.history.levels) if level != REST]
            long_enough = len(ground.sales) >= YEAR + spec.horizon
            made = dict(statistical(ground, [member], columns)) if long_enough else {member: None}
        elif member == "calendar_level":
            made = {member: calendar_level(ground, parameters.level_alpha)}
        elif member == "seasonal_level":
            made = {member: seasonal_level(ground, parameters.level_alpha)}
        else:
            made = {member: self._boosted(origin, ground)}
        unfit = self._unfit(ground)
        # A model of a trend may run away: twice the best week ever is as far as it goes.
        highest = 2 * np.nanmax(np.nan_to_num(ground.sales), axis=0)
        for name, table in made.items():
            if table is not None:
                # At the levels it competes at, whatever it could not forecast is left to the moving average.
                levels = {self.history.levels[column] for column in np.flatnonzero((~np.isnan(table)).any(axis=0))}
                here = np.array([level in levels for level in self.history.levels])
                table[:, here] = np.where(unfit[here] | np.isnan(table[:, here]), average[:, here], table[:, here])
                made[name] = np.clip(table, 0.0, np.maximum(highest, average.max(axis=0)))
        return made

    def _boosted(self, origin: int, ground: Ground) -> Matrix | None:
        spec, history = self.specification, self.history
        columns = [c for c, level in enumerate(history.levels) if level != REST]
        promoted = [c for c in columns if history.levels[c] in spec.promoted_levels]
        parameters = spec.parameters
        boost = self._boosts.get(origin) or Boost(
            {
                "objective": "l1",
                "num_leaves": parameters.num_leaves,
                "min_data_in_leaf": parameters.min_rows_in_leaf,
                "feature_fraction": parameters.feature_fraction,
                "learning_rate": parameters.learning_rate,
                "lambda_l2": parameters.l2,
                "seed": spec.seed,
                "deterministic": True,
                "force_row_wise": True,
                "num_threads": 1,
                "verbose": -1,
            },
            parameters.rounds,
        )
        made = boosted(ground, columns, promoted, parameters.level_alpha, boost, spec.min_points)
        if made is None:
            return None
        table, self._boosts[origin] = made
        return table

    def _unfit(self, ground: Ground) -> npt.NDArray[np.bool_]:
        spec = self.specification
        points = (~np.isnan(ground.sales)).sum(axis=0)
        recent = np.nan_to_num(ground.sales[-spec.dead_weeks :])
        return np.asarray((points < spec.min_points) | (np.abs(recent).sum(axis=0) == 0))


def choose(
    specification: ForecastSpecification, rolling: Rolling, origin: int
) -> tuple[dict[str, tuple[str, ...]], dict[str, dict[str, float]]]:
    """The contest: for each level, who was least wrong at the newest origins before `origin`.

    WAPE (Kolassa & Schütz 2007, "Advantages of the MAD/mean ratio over the MAPE") over the weeks closed by then; those
    beyond `judged_horizon` count half. Candidates are the members, and the mean of the best two, which is
    steadier: it wins if it was better than the best.

    Returns:
        The winners of each level, one or two members; and the WAPE of each candidate that could take part.
    """
    spec, history = specification, rolling.history
    origins = range(max(spec.min_history_weeks, origin - spec.contest_origins), origin)
    winners: dict[str, tuple[str, ...]] = {}
    found: dict[str, dict[str, float]] = {}
    present: list[str] = [name for name in spec.members if rolling.at(origin, name) is not None]
    made = {name: [rolling.at(b, name) for b in origins] for name in present}
    for level in dict.fromkeys(history.levels):
        if level == REST:
            continue
        columns = history.of(level)

        def error(tables: Sequence[Matrix | None], columns: list[int] = columns) -> float:
            wrong = sold = 0.0
            for b, table in zip(origins, tables, strict=True):
                if table is None:
                    return np.inf
                steps = min(spec.horizon, origin - b)
                weight = np.where(np.arange(steps) < spec.judged_horizon, 1.0, 0.5)[:, None]
                actual = np.nan_to_num(history.sales[b : b + steps, columns])
                wrong += float((weight * np.abs(actual - table[:steps, columns])).sum())
                sold += float((weight * np.abs(actual)).sum())
            return wrong / sold if sold > 0 else 0.0

        scores = {name: error(made[name]) for name in present}
        scores = {name: score for name, score in scores.items() if np.isfinite(score)}
        # Where several are alike, the first named wins: the simplest.
        best = sorted(scores, key=lambda name: scores[name])
        winners[level] = (best[0],)
        if len(best) > 1:
            both = [
                None if one is None or other is None else (one[: spec.horizon] + other[: spec.horizon]) / 2
                for one, other in zip(made[best[0]], made[best[1]], strict=True)
            ]
            scores[" + ".join(best[:2])] = error(both)
            if scores[" + ".join(best[:2])] < scores[best[0]]:
                winners[level] = (best[0], best[1])
        found[level] = dict(sorted(scores.items(), key=lambda item: item[1]))
    return winners, found


def combine(rolling: Rolling, origin: int, winners: Mapping[str, tuple[str, ...]]) -> Matrix:
    """Forecasts of each level's winners from an origin, shape (steps, series); of rests, the calendar level's."""
    history = rolling.history
    base = rolling.at(origin, "calendar_level")
    assert base is not None
    base = base.copy()
    for level, names in winners.items():
        columns = history.of(level)
        if columns:
            tables = [rolling.at(origin, name) for name in names]
            base[:, columns] = np.mean([_there(table, rolling, origin)[:, columns] for table in tables], axis=0)
    return base


def _there(table: Matrix | None, rolling: Rolling, origin: int) -> Matrix:
    if table is not None:
        return table
    average = rolling.at(origin, "window_average")
    assert average is not None
    return average


def reconcile(history: History, base: Matrix) -> Matrix:
    """Forecasts that add up, to each parent from its parts and its rest, and to the total from its stores: middle-out.

    What departments are forecast to sell stands; the total is their sum, and each parent's forecast is shared among its
    parts in the proportions of theirs (Gross & Sohl 1990, "Disaggregation methods to expedite product line
    forecasting"; Hyndman & Athanasopoulos 2021, "Forecasting: principles and practice", ch. 11.3). Nothing can become
    negative. Without departments, everything is shared out from the total.

    Args:
        history: Says which series are parts of which.
        base: Shape (steps, series), not negative.
    """
    out = base.copy()
    children: dict[tuple[int, bool], list[int]] = {}
    for column, above in enumerate(history.parent):
        store = history.levels[column] == "store" or history.ids[column].startswith(STORES)
        children.setdefault((above, store and history.levels[column] in ("store", REST)), []).append(column)
    total = history.of("total")[0]
    if history.of("department"):
        out[:, total] = out[:, children[total, False]].sum(axis=1)
    # Parents stand before their parts, but for the rests, which have none.
    for (above, _), parts in sorted(children.items()):
        if above >= 0:
            sold = out[:, parts].sum(axis=1, keepdims=True)
            share = np.where(sold > 0, out[:, parts] / np.where(sold > 0, sold, 1.0), 1.0 / len(parts))
            out[:, parts] = share * out[:, [above]]
    return out


def sizes(history: History, origin: int, weeks: int = 13) -> Matrix:
    """What a series sold per week of late, shape (series,); what an error is measured by. Never 0."""
    recent = np.abs(history.sales[max(origin - weeks, 0) : origin])
    known = np.maximum((~np.isnan(recent)).sum(axis=0), 1)
    return np.asarray(np.maximum(np.nansum(recent, axis=0) / known, NOTHING))
