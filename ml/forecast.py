"""Weekly net sales of every series for the coming weeks: fitted once, stored as text, used on newer days.

`DemandModel` holds a contest of members at each level (`ml.forecast_contest`), makes the levels add up and puts
conformal intervals around them. How good it is, is measured in `ml.forecast_evaluation`.

Settings are committed with their evidence; a refresh only trains anew. Figures: forward in time on the sample, 1 to 4
weeks ahead, all learned anew before each of 10 weekly origins, "before" 2017-07-03 to 2017-09-04, "after" 2017-10-02 to
2017-12-04, and "quiet": those 8 of the latter that do not reach the week before Christmas. WAPE:

| departments | 15 largest: before | after | quiet | all 31: before | after | quiet |
|---|---|---|---|---|---|---|
| naive | .0912 | .0887 | .0829 | .0929 | .0909 | .0849 |
| 4-week mean | .0698 | .0760 | .0675 | .0713 | .0780 | .0694 |
| AutoETS | .0798 | .0839 | .0755 | .0813 | .0857 | .0772 |
| AutoTheta | .0753 | .0830 | .0750 | .0771 | .0850 | .0768 |
| **winner of the contest** | **.0523** | **.0646** | **.0619** | **.0540** | **.0665** | **.0637** |
| over the best baseline | .749 | .851 | .917 | .757 | .853 | .917 |
| 80 % covers | .868 | .778 | .787 | .870 | .816 | .820 |
| 95 % covers | .992 | .965 | .975 | .964 | .952 | .958 |

| after | WAPE | 4-week mean | ratio | 80 % covers | 95 % covers | 8 weeks: ratio |
|---|---|---|---|---|---|---|
| total | .0387 | .0510 | .759 | .675 | .900 | .853 |
| department | .0665 | .0780 | .853 | .816 | .952 | .898 |
| category | .1117 | .1203 | .928 | .795 | .953 | .931 |
| product | .1967 | .2477 | .794 | .831 | .976 | .799 |
| store | .2035 | .2069 | .984 | .771 | .948 | .984 |

- Features and parameters were chosen on origins before September. Hindsight there is all the same: parts of the month
  and groups of holidays were found on the daily totals of the whole year, and how sums are made to agree and how the
  tail of the intervals is cut were settled with "after" in sight. Part of its margin is Christmas, which no baseline
  knows: without it, a ratio of .90 is missed by a little.
- 16 origins from 2017-08-21 on: departments .0630 against .0753 (.837), 80 % covers .817.
- The total is one series: its errors of summer say too little of autumn, when the level rose (bias -3 %), and its
  intervals were too wide before (80 % covered .975) and too narrow after.
- Promotions matter for products: LightGBM has .233 with them and .280 without, on 9 origins from 2017-05-08. Read for
  whole departments too, they cost: .0601 against .0589 there.
- Calendar level and LightGBM are equals at departments; the mean of the best two is no worse than the best, and better
  at categories.
- Sums, on 13 origins from 2017-09-11 on: what departments are forecast to sell stands, their parts share it: .0632, as
  without any reconciliation; top-down .0637; minimum trace with variances of forward errors, or structural, .0641, and
  products .216 against .212. On earlier origins all are alike.
- Without daily sales there is no calendar, and departments are no better than the 4-week mean (.0683 against .0681 on 6
  origins from 2017-09-04); without holidays they are hardly better in "after" (.0753 against .0780).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ml import artefact
from ml.forecast_calendar import CalendarIndex, Matrix
from ml.forecast_contest import NOTHING, Rolling, choose, combine, reconcile, sizes
from ml.forecast_history import LEVELS, REST, History, read_history
from ml.forecast_specification import ForecastSpecification
from ml.specification import Moment, TooLittleDataError

KIND = "forecast"


class DemandModel:
    """Weekly net sales of every series for the coming weeks, adding up across levels, with intervals.

    Attributes:
        as_of_: The midnight at which it was fitted: nothing from then on has been seen.
        weeks_: Complete weeks learned from.
        winners_: For each level, the member whose forecasts are taken, or two whose mean is.
        contest_: For each level, the WAPE of each candidate at the origins of the contest.
        calendar_: The calendar index.
        boost_: Text of the LightGBM model; None where it wins nowhere.
        spread_: For each level, a series' mean absolute error as a share of what it sells; "" stands for the level.
        quantiles_: For each level and interval, for each week ahead, how many times the spread it is wide on each side.
        notes_: What was put right or left out.
    """

    as_of_: str
    weeks_: int
    winners_: dict[str, tuple[str, ...]]
    contest_: dict[str, dict[str, float]]
    calendar_: CalendarIndex
    boost_: str | None
    spread_: dict[str, dict[str, float]]
    quantiles_: dict[str, dict[str, list[float]]]
    notes_: tuple[str, ...]

    def __init__(self, specification: ForecastSpecification | None = None) -> None:
        self.specification = specification or ForecastSpecification()

    def fit(
        self,
        weekly: pd.DataFrame,
        as_of: Moment,
        promotions: pd.DataFrame | None = None,
        daily: pd.DataFrame | None = None,
    ) -> Self:
        """Holds the contest and learns the calendar, LightGBM and the intervals from what was known at `as_of`.

        Args:
            weekly: One row per level, series_id and period_start with net_sales; is_complete and parent_id if known.
            as_of: A midnight; sales from it on are not read.
            promotions: Planned and past counts of promoted products, also of the coming weeks; None: none known.
            daily: Net sales of the total by business_date; without them, all weeks are alike in the calendar.

        Raises:
            TooLittleDataError: Fewer complete weeks than `min_weeks`, or the newest is too old.
            ValueError: A frame cannot be read; see `read_history`.
        """
        spec = self.specification
        history = read_history(weekly, as_of, promotions, daily, spec.max_gap_weeks, spec.horizon)
        return self.fit_at(Rolling(spec, history), len(history.starts))

    def fit_at(self, rolling: Rolling, origin: int) -> Self:
        """As `fit`, at an origin of a history: week `origin` and all later ones have not been seen."""
        spec, history = self.specification, rolling.history
        if origin < spec.min_weeks:
            raise TooLittleDataError(_shortage(spec, origin))
        self.as_of_, self.weeks_ = rolling.moment(origin).isoformat(), origin
        self.winners_, self.contest_ = choose(spec, rolling, origin)
        self.calendar_ = rolling.calendar(origin)
        wins = any("lightgbm" in names for names in self.winners_.values())
        boost = rolling.boost(origin) if wins else None
        self.boost_ = None if boost is None else boost.text
        self.notes_ = history.notes + (
            () if self.calendar_.coefficients else ("no daily sales of the total, or too few: no calendar was learned",)
        )
        self._learn_errors(rolling, origin)
        return self

    def _learn_errors(self, rolling: Rolling, origin: int) -> None:
        """Split conformal intervals (Vovk, Gammerman & Shafer 2005) on the forward errors of earlier origins.

        The errors of a series, over its own mean absolute error, are pooled over the series of a level. Those of one
        origin go together, so that it is origins that the finite-sample correction counts.
        """
        spec, history = self.specification, rolling.history
        origins = range(max(spec.min_history_weeks, origin - spec.calibration_origins), origin)
        made = np.full((len(origins), spec.horizon, len(history.levels)), np.nan)
        for position, b in enumerate(origins):
            steps, size = min(spec.horizon, origin - b), sizes(history, b)
            forecast = reconcile(history, combine(rolling, b, self.winners_))[:steps]
            # What had not sold at all has no error that says something.
            made[position, :steps] = np.where(size > NOTHING, (history.sales[b : b + steps] - forecast) / size, np.nan)
        self.spread_ = self._by_series(history, _mean(np.abs(made)), len(origins))
        scores = np.abs(made) / np.maximum(self._of(self.spread_, history), NOTHING)
        self.quantiles_ = {
            level: {
                str(percent): _quantiles(scores[:, :, history.of(level)], percent / 100) for percent in spec.intervals
            }
            for level in self.winners_
        }

    def _by_series(self, history: History, own: Matrix, origins: int) -> dict[str, dict[str, float]]:
        """A series' own error, drawn a little to the median of its level, which stands for series never seen."""
        shrink = self.specification.parameters.shrink_origins
        found: dict[str, dict[str, float]] = {}
        for level in dict.fromkeys(history.levels):
            columns = history.of(level)
            known = own[columns][~np.isnan(own[columns])]
            typical = float(np.median(known)) if len(known) else 0.0
            found[level] = {"": typical}
            for column in columns:
                if not np.isnan(own[column]):
                    value = (origins * own[column] + shrink * typical) / (origins + shrink)
                    found[level][history.ids[column]] = float(value)
        return found

    def _of(self, found: Mapping[str, Mapping[str, float]], history: History) -> Matrix:
        pairs = zip(history.levels, history.ids, strict=True)
        return np.array([found.get(level, {}).get(name, found.get(level, {}).get("", 0.0)) for level, name in pairs])

    def predict(self, weekly: pd.DataFrame, as_of: Moment, promotions: pd.DataFrame | None = None) -> pd.DataFrame:
        """Forecasts of the coming weeks, the first being the one that is not over at `as_of`.

        Calendar, LightGBM, winners and widths are those learned; levels and members of statsforecast start from the
        history given, which may be newer. A series never seen before is forecast like the others of its level.

        Args:
            weekly: As for `fit`.
            as_of: A midnight; sales from it on are not read.
            promotions: Planned counts for the coming weeks; None: none known.

        Returns:
            One row per series and coming week: level, series_id, period_start, forecast, and lower_80, upper_80, … per
            interval, in the currency of `weekly`. None is negative; levels add up.

        Raises:
            TooLittleDataError: The newest complete week is too old.
            ValueError: A frame cannot be read, or has a level that was not there when fitted.
        """
        spec = self._fitted().specification
        history = read_history(weekly, as_of, promotions, None, spec.max_gap_weeks, spec.horizon)
        return self.predict_at(Rolling(spec, history), len(history.starts))

    def predict_at(self, rolling: Rolling, origin: int) -> pd.DataFrame:
        """As `predict`, at an origin of a history."""
        spec, history = self._fitted().specification, rolling.history
        unknown = [level for level in dict.fromkeys(history.levels) if level not in (*self.winners_, REST)]
        if unknown:
            raise ValueError(
                f"{spec.name}: level {', '.join(unknown)} was not there at {self.as_of_[:10]}, when it was fitted;"
                f" known are {', '.join(self.winners_)}. Fit anew"
            )
        rolling.use(origin, self.calendar_, self.boost_)
        size = sizes(history, origin)
        made = reconcile(history, combine(rolling, origin, self.winners_))
        published = [
            column
            for column, level in enumerate(history.levels)
            if level != REST and not np.isnan(history.sales[:origin, column]).all()
        ]
        weeks, series = spec.horizon, len(published)
        forecast = made[-weeks:, published].T.ravel()
        frame = pd.DataFrame(
            {
                "level": np.repeat([history.levels[column] for column in published], weeks),
                "series_id": np.repeat([history.ids[column] for column in published], weeks),
                "period_start": np.tile(history.coming(origin, len(made))[-weeks:], series),
                "forecast": forecast,
            }
        )
        # Late data: the coming weeks are that many steps further away than their number.
        ahead = np.minimum(np.arange(len(made))[-weeks:], weeks - 1)
        spread = (self._of(self.spread_, history) * size)[published]
        for percent in spec.intervals:
            times = np.array([self.quantiles_[history.levels[column]][str(percent)] for column in published])[:, ahead]
            half = (times * spread[:, None]).ravel()
            frame[f"lower_{percent}"] = np.maximum(forecast - half, 0.0)
            frame[f"upper_{percent}"] = forecast + half
        return frame

    def _fitted(self) -> Self:
        if not hasattr(self, "quantiles_"):
            raise ValueError(f"{self.specification.name}: fit or load the model before it forecasts")
        return self

    def text(self) -> bytes:
        """The artefact: everything that forecasting needs. The same data and settings give the same bytes."""
        self._fitted()
        state: dict[str, Any] = {name: getattr(self, name) for name in _FITTED}
        state["specification"] = self.specification.model_dump(mode="json")
        # JSON sorts keys; the order of the contest is worth keeping.
        state["contest_"] = {level: list(scores.items()) for level, scores in self.contest_.items()}
        calendar = self.calendar_
        state["calendar_"] = {
            "coefficients": dict(calendar.coefficients),
            "closed": list(calendar.closed),
            "mean_week": calendar.mean_week,
        }
        return artefact.to_text(KIND, state)

    def save(self, path: Path) -> str:
        """Writes the artefact; returns its SHA-256, which `load` asks for."""
        return artefact.write(path, self.text())

    @classmethod
    def load(cls, path: Path, sha256: str) -> Self:
        """Reads an artefact whose SHA-256 is the recorded one.

        Raises:
            ArtefactError: It is not, or the file is missing or of another kind.
        """
        return cls._from_state(artefact.read(path, sha256, KIND), str(path))

    @classmethod
    def from_text(cls, content: bytes, sha256: str) -> Self:
        """As `load`, from bytes."""
        return cls._from_state(artefact.from_text(content, sha256, KIND), "the artefact")

    @classmethod
    def _from_state(cls, state: dict[str, Any], name: str) -> Self:
        try:
            made = cls(ForecastSpecification.model_validate(state["specification"]))
            for attribute in _FITTED:
                setattr(made, attribute, state[attribute])
            made.winners_ = {level: tuple(state["winners_"][level]) for level in LEVELS if level in state["winners_"]}
            made.contest_ = {level: dict(scores) for level, scores in state["contest_"].items()}
            made.notes_ = tuple(state["notes_"])
            calendar = state["calendar_"]
            made.calendar_ = CalendarIndex(
                holidays=made.specification.holidays,
                coefficients=calendar["coefficients"],
                closed=tuple(calendar["closed"]),
                mean_week=calendar["mean_week"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise artefact.ArtefactError(
                f"{name} is whole but not a model of this version ({error}). Train anew"
            ) from error
        return made


_FITTED = ("as_of_", "weeks_", "winners_", "boost_", "spread_", "quantiles_", "notes_")


def _mean(values: Matrix) -> Matrix:
    """Mean over the first two axes of what is known; NaN where nothing is."""
    known = (~np.isnan(values)).sum(axis=(0, 1))
    return np.where(known > 0, np.nansum(values, axis=(0, 1)) / np.maximum(known, 1), np.nan)


def _quantiles(scores: Matrix, share: float) -> list[float]:
    """For each week ahead, the score that `share` of the new ones should not exceed; shape (origins, weeks, series).

    The quantile of n errors is taken at share (1 + 1/n) (Lei et al. 2018, "Distribution-free predictive inference for
    regression"), n being origins, as one week is good or bad for many series; and where there are fewer series than
    weeks ahead, fewer than these, as the errors of h weeks ahead overlap in h origins. It does not fall with the
    distance; where nothing closed so far ahead, it grows like a random walk.
    """
    found: list[float] = []
    for ahead in range(scores.shape[1]):
        here = scores[:, ahead]
        origins = int((~np.isnan(here)).any(axis=1).sum())
        last = found[-1] if found else 0.0
        if origins:
            apart = origins * min(1.0, scores.shape[2] / (ahead + 1))
            # Of many series, the largest error of all is that of the oddest: half of the tail at least stays out.
            most = (1 + share) / 2 if scores.shape[2] >= scores.shape[1] else 1.0
            value = float(np.quantile(here[~np.isnan(here)], min(most, share * (1 + 1 / apart))))
            found.append(max(last, value))
        else:
            found.append(last * float(np.sqrt((ahead + 1) / max(ahead, 1))))
    return found


def _shortage(specification: ForecastSpecification, weeks: int) -> str:
    return (
        f"{specification.name}: {weeks} complete weeks, needed are {specification.min_weeks}"
        f" ({specification.min_history_weeks} to start from, {specification.min_origins} to compare members on)"
    )


def preflight(
    specification: ForecastSpecification,
    weekly: pd.DataFrame,
    as_of: Moment,
    promotions: pd.DataFrame | None = None,
    daily: pd.DataFrame | None = None,
) -> tuple[str, ...]:
    """What is missing to fit a forecast, one sentence each; nothing where it can be fitted.

    Raises:
        ValueError: A frame cannot be read; see `read_history`.
    """
    try:
        history = read_history(weekly, as_of, promotions, daily, specification.max_gap_weeks, specification.horizon)
    except TooLittleDataError as error:
        return (str(error),)
    weeks = len(history.starts)
    return () if weeks >= specification.min_weeks else (_shortage(specification, weeks),)
