"""What a day is in the calendar, and how much a week sells for that alone.

A week's sales are taken as level x calendar index. The index says how much a week sells for its weekdays, its parts of
the month and its holidays; it is learned from the days of the total.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

Matrix = npt.NDArray[np.float64]

WEEK = 7
# Part of the month: wages, pensions and benefits are paid then. Days 16 to 20 are what the others are compared with.
PARTS_OF_MONTH = ((1, 3), (4, 5), (6, 10), (11, 15), (21, 25), (26, 31))
# Days around a holiday, as ranges of days from it: shopping goes before it.
AROUND = {"eve": (-1, -1), "second": (-2, -2), "before": (-5, -3), "day": (0, 0), "after": (1, 2)}


class Holiday(BaseModel):
    """A day that comes every year, on a fixed date, on the nth weekday of a month, or so many days from Easter.

    Attributes:
        group: Holidays of one group are thought to move sales alike, so that one teaches for the next.
        closed: Nothing is sold on it, unless the history shows otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    group: str
    month: Annotated[int, Field(ge=1, le=12)] | None = None
    day: Annotated[int, Field(ge=1, le=31)] | None = None
    weekday: Annotated[int, Field(ge=0, le=6, description="0 is Monday.")] | None = None
    nth: Annotated[int, Field(ge=-1, le=5, description="Of that weekday in the month; -1 is the last.")] | None = None
    easter_offset: Annotated[int, Field(ge=-100, le=100)] | None = None
    closed: bool = False

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        fixed = self.month is not None and self.day is not None
        weekday = self.month is not None and self.weekday is not None and self.nth not in (None, 0)
        if [fixed, weekday, self.easter_offset is not None].count(True) != 1:
            raise ValueError(f"holiday {self.name}: give month and day, or month, weekday and nth, or easter_offset")
        return self

    def on(self, year: int) -> date | None:
        """Its day in that year; None where there is none, as 29 February."""
        if self.easter_offset is not None:
            return easter(year) + timedelta(days=self.easter_offset)
        assert self.month is not None
        try:
            if self.day is not None:
                return date(year, self.month, self.day)
            assert self.weekday is not None and self.nth is not None
            if self.nth > 0:
                first = date(year, self.month, 1)
                found = first + timedelta(days=(self.weekday - first.weekday()) % 7 + 7 * (self.nth - 1))
                return found if found.month == self.month else None
            last = date(year + self.month // 12, self.month % 12 + 1, 1) - timedelta(days=1)
            return last - timedelta(days=(last.weekday() - self.weekday) % 7)
        except ValueError:
            return None


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, "Astronomical Algorithms", 1991, ch. 8)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (a + 11 * h) // 319
    r = (2 * e + 2 * i - k - h + m + 32) % 7
    month = (h - m + r + 90) // 25
    return date(year, month, (h - m + r + month + 19) % 32)


US_RETAIL = (
    Holiday(name="Easter", group="feast", easter_offset=0),
    Holiday(name="Thanksgiving", group="feast", month=11, weekday=3, nth=4),
    Holiday(name="Christmas", group="feast", month=12, day=25, closed=True),
    Holiday(name="Memorial Day", group="summer", month=5, weekday=0, nth=-1),
    Holiday(name="Independence Day", group="summer", month=7, day=4),
    Holiday(name="Labor Day", group="summer", month=9, weekday=0, nth=1),
)


def _calendar(days: pd.DatetimeIndex, holidays: Sequence[Holiday]) -> tuple[list[str], Matrix]:
    """Names and columns, shape (days, columns), of what a day is: 0 or 1 each."""
    columns: dict[str, Matrix] = {f"weekday_{k}": np.asarray(days.dayofweek == k, float) for k in range(1, WEEK)}
    day = np.asarray(days.day)
    columns |= {f"month_{low}": ((day >= low) & (day <= high)).astype(float) for low, high in PARTS_OF_MONTH}
    for holiday in holidays:
        for year in range(days[0].year - 1, days[-1].year + 2):
            on = holiday.on(year)
            if on is None:
                continue
            away = np.asarray((days - pd.Timestamp(on)).days)
            for part, (low, high) in AROUND.items():
                hit = ((away >= low) & (away <= high)).astype(float)
                pools = [holiday.group] + (["any"] if part in ("eve", "second", "day") else [])
                for pool in pools:
                    # The eve and the day before it are pooled over all holidays: each is seen once a year.
                    name = f"{pool}_{'eve' if pool == 'any' and part == 'second' else part}"
                    columns[name] = np.maximum(columns.get(name, np.zeros(len(days))), hit)
    names = sorted(columns)
    return names, np.column_stack([columns[name] for name in names])


@dataclass(frozen=True)
class CalendarIndex:
    """How much a day sells for what it is in the calendar, as a factor around 1.

    Attributes:
        coefficients: Logarithm of the factor by calendar column; empty where nothing could be learned: all days alike.
        closed: Names of the holidays on which nothing is sold.
        mean_week: Mean of the weekly sums over the days learned from.
    """

    holidays: tuple[Holiday, ...]
    coefficients: Mapping[str, float]
    closed: tuple[str, ...] = ()
    mean_week: float = float(WEEK)

    def weekly(self, starts: pd.DatetimeIndex) -> Matrix:
        """Factor of each week that starts on one of `starts`, around 1, never below .05. Shape (weeks,)."""
        if not self.coefficients:
            return np.ones(len(starts))
        days = pd.DatetimeIndex((starts.to_numpy()[:, None] + np.arange(WEEK) * np.timedelta64(1, "D")).ravel())
        found = self._daily(days).reshape(-1, WEEK).sum(axis=1) / self.mean_week
        return np.asarray(np.maximum(found, 0.05))

    def _daily(self, days: pd.DatetimeIndex) -> Matrix:
        names, columns = _calendar(days, self.holidays)
        factor = np.exp(columns @ np.array([self.coefficients.get(name, 0.0) for name in names]))
        for holiday in self.holidays:
            if holiday.name in self.closed:
                on = [holiday.on(year) for year in range(days[0].year, days[-1].year + 1)]
                factor[days.isin(pd.DatetimeIndex([pd.Timestamp(d) for d in on if d is not None]))] = 0.0
        return np.asarray(factor)


def learn_calendar(
    daily: "pd.Series[float] | None", before: pd.Timestamp, holidays: Sequence[Holiday], ridge: float, min_days: int
) -> CalendarIndex:
    """Ridge regression of the logarithm of a day's sales over their 29-day mean on what the day is.

    Args:
        daily: Net sales of the total by day; days without sales may be absent. None: all weeks are alike.
        before: Midnight; later days are not looked at.
        holidays: Days to look for.
        ridge: Weight of the squared coefficients; one observation counts 1.
        min_days: Fewer days with sales than these teach nothing.
    """
    holidays = tuple(holidays)
    nothing = CalendarIndex(holidays, {})
    if daily is None:
        return nothing
    daily = daily[daily.index < before]
    if (daily > 0).sum() < min_days:
        return nothing
    daily = daily.asfreq("D", fill_value=0.0)
    sales = daily.to_numpy(dtype=np.float64)
    days = pd.DatetimeIndex(daily.index)
    base = daily.rolling(29, center=True, min_periods=14).mean().to_numpy()
    # A day with next to nothing sold was closed; how much it sells when open it does not tell.
    with np.errstate(invalid="ignore", divide="ignore"):
        use = (sales > 0.02 * base) & (base > 0)
        target = np.log(sales[use] / base[use])
    names, columns = _calendar(days, holidays)
    design = np.column_stack([np.ones(len(days)), columns])[use]
    penalty = np.eye(design.shape[1]) * ridge
    penalty[0, 0] = 0.0
    solved = np.linalg.solve(design.T @ design + penalty, design.T @ target)
    seen_open = {
        holiday.name
        for holiday in holidays
        for year in range(days[0].year, days[-1].year + 1)
        if pd.Timestamp(holiday.on(year) or "1900-01-01") in days[use]
    }
    closed = tuple(sorted(h.name for h in holidays if h.closed and h.name not in seen_open))
    coefficients = {name: float(value) for name, value in zip(names, solved[1:], strict=True)}
    index = CalendarIndex(holidays, coefficients, closed)
    mean_week = float(index._daily(days).mean() * WEEK)
    return CalendarIndex(holidays, coefficients, closed, mean_week)
