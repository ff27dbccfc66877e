"""What a demand forecast starts from: checked weekly series, which of them are parts of which, and what is planned.

Frames come in as the data tables hold them; a `History` goes out, or an error that says what was given and what is
needed. Nothing is learned here.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml.forecast_calendar import WEEK, Matrix
from ml.specification import Moment, TooLittleDataError, days, require_columns

LEVELS = ("total", "department", "category", "product", "store")
# Parts of a parent that no series stands for, as "rest": forecast like a series, so that sums are exact; not published.
REST = "rest"
# The rest beside the stores is another one than the rest beside the departments.
STORES = "stores "
# In place of a parent's column: there is none, or it is not known.
NONE = -1
SEPARATOR = " / "
PROMOTIONS = ("count_products_on_display", "count_products_in_mailer")
# Rounding of source systems, and returns in the rest: by so much of the parent, children may sum to more than it.
MAX_EXCESS = 0.02


@dataclass(frozen=True)
class History:
    """Weekly sales up to a moment, one column per series, parents before children, then the rests.

    Attributes:
        as_of: Midnight: nothing from it on has been seen.
        starts: First day of each week, without gaps, newest last.
        first: First day of the first coming week: the first one not over at `as_of`.
        levels: Level of each series, or `REST`.
        ids: Name of each series; of a rest, the parent's level and name.
        parent: Column of each series' parent; `NONE` for the total, and where the parent is not known: such a series is
            forecast for itself.
        sales: Shape (weeks, series); NaN before the first week of a series.
        promotions: Shape (weeks + coming weeks, series, 2); None where no table was given.
        daily: Net sales of the total by day; None where no table was given.
        notes: What was put right, a sentence each.
    """

    as_of: pd.Timestamp
    starts: pd.DatetimeIndex
    first: pd.Timestamp
    levels: tuple[str, ...]
    ids: tuple[str, ...]
    parent: tuple[int, ...]
    sales: Matrix
    promotions: Matrix | None
    daily: "pd.Series[float] | None"
    notes: tuple[str, ...] = ()

    def of(self, level: str) -> list[int]:
        """Columns of a level."""
        return [column for column, name in enumerate(self.levels) if name == level]

    @property
    def gap(self) -> int:
        """Weeks between the newest one known and the first coming one: 0 unless data is late."""
        return int((self.first - self.starts[-1]).days // WEEK) - 1

    def coming(self, origin: int, steps: int) -> pd.DatetimeIndex:
        """First days of the `steps` weeks from week `origin` on."""
        return pd.date_range(self.starts[0] + pd.Timedelta(weeks=origin), periods=steps, freq=f"{WEEK}D")


def read_history(
    weekly: pd.DataFrame,
    as_of: Moment,
    promotions: pd.DataFrame | None = None,
    daily: pd.DataFrame | None = None,
    max_gap: int = 4,
    ahead: int = 8,
) -> History:
    """Checks the tables and puts them into one shape.

    Weeks over before `as_of` count; a week whose `is_complete` is false does not. A series begins with its first row;
    from there on every week must be there. One that ends early sold nothing since: zeros.

    Args:
        weekly: One row per level, series_id and period_start with net_sales; is_complete and parent_id if there are.
        as_of: A midnight; nothing from it on is read, but for planned promotions.
        promotions: One row per level, series_id and period_start with the two counts; None or empty: none.
        daily: One row per level, series_id and business_date with net_sales; only the total is read.
        max_gap: So many weeks may be missing between the newest one and `as_of`.
        ahead: Coming weeks for which promotions are read.

    Raises:
        TooLittleDataError: There is no complete week, or the newest is too old.
        ValueError: A column is missing, a number is not finite, a series has gaps, or children exceed their parent.
    """
    now = pd.Timestamp(as_of).normalize()
    require_columns(weekly, ["level", "series_id", "period_start", "net_sales"], "weekly sales")
    if weekly.empty:
        raise TooLittleDataError("weekly sales are empty: no series to forecast. Load sales first")
    rows = pd.DataFrame(
        {
            "level": weekly["level"].astype(str),
            "series": weekly["series_id"].astype(str),
            "start": days(weekly, "period_start"),
            "sales": _numbers(weekly, "net_sales", "weekly sales"),
            "complete": weekly["is_complete"].fillna(False).astype(bool) if "is_complete" in weekly else True,
            "parent": weekly.get("parent_id"),
        }
    )
    strange = sorted(set(rows["level"]) - set(LEVELS))
    if strange:
        raise ValueError(f"weekly sales: unknown level {', '.join(strange)}; known are {', '.join(LEVELS)}")
    weekdays = sorted(rows["start"].dt.day_name().unique())
    if len(weekdays) > 1:
        raise ValueError(f"weekly sales: weeks start on {' and '.join(weekdays)}; all must start on one weekday")
    rows = rows[rows["complete"] & (rows["start"] + pd.Timedelta(days=WEEK) <= now)]
    if rows.empty:
        raise TooLittleDataError(f"weekly sales: no complete week before {now.date()}; needed are some months of them")
    _finite(rows, now)
    double = rows.duplicated(["level", "series", "start"])
    if double.any():
        found = rows.loc[double, ["level", "series", "start"]].iloc[0]
        raise ValueError(
            f"weekly sales: {found['level']} {found['series']} has two rows for {found['start'].date()};"
            " level, series_id and period_start must name one row"
        )
    if list(rows.loc[rows["level"] == "total", "series"].unique()) != ["total"]:
        raise ValueError("weekly sales: level total must have one series, named total; forecasts are made to sum to it")
    starts = pd.date_range(rows["start"].min(), rows["start"].max(), freq=f"{WEEK}D")
    first = starts[-1] + pd.Timedelta(weeks=1)
    while first + pd.Timedelta(days=WEEK) <= now:
        first += pd.Timedelta(weeks=1)
    late = int((first - starts[-1]).days // WEEK) - 1
    if late > max_gap:
        raise TooLittleDataError(
            f"weekly sales: the newest complete week starts on {starts[-1].date()}, {late} weeks before"
            f" {now.date()}'s; at most {max_gap} may be missing. Load newer sales, or choose an earlier as_of"
        )
    table, notes = _table(rows, starts)
    keys: list[tuple[str, str]] = list(table.columns)  # type: ignore[arg-type]
    parents = _parents(rows, keys)
    loose = [name for (level, name), above in zip(keys, parents, strict=True) if above == NONE and level != "total"]
    if loose:
        notes += (
            f"{len(loose)} series, as {loose[0]}, name no parent that is a series, and are forecast on their own",
        )
    return _with_rests(
        History(
            as_of=now,
            starts=starts,
            first=first,
            levels=tuple(level for level, _ in keys),
            ids=tuple(series for _, series in keys),
            parent=parents,
            sales=table.to_numpy(dtype=np.float64),
            promotions=_promotions(promotions, keys, starts, late + ahead),
            daily=_daily_total(daily, now),
            notes=notes,
        )
    )


def _numbers(frame: pd.DataFrame, column: str, what: str) -> "pd.Series[float]":
    try:
        # DECIMALs come as Python objects.
        return frame[column].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {column} must be a number: {error}") from error


def _finite(rows: pd.DataFrame, now: pd.Timestamp) -> None:
    broken = rows[~np.isfinite(rows["sales"])]
    if len(broken):
        row = broken.sort_values(["level", "series", "start"]).iloc[0]
        raise ValueError(
            f"weekly sales: net_sales is missing or infinite in {len(broken)} of {len(rows)} rows before {now.date()},"
            f" first in {row['level']} {row['series']} on {row['start'].date()}; a week without sales is 0"
        )


def _table(rows: pd.DataFrame, starts: pd.DatetimeIndex) -> tuple[pd.DataFrame, tuple[str, ...]]:
    table = rows.pivot(index="start", columns=["level", "series"], values="sales").reindex(starts)
    order = sorted(table.columns, key=lambda key: (LEVELS.index(key[0]), key[1]))
    table = table[order]
    gaps, ended = [], []
    for key in order:
        known = np.flatnonzero(table[key].notna().to_numpy())
        if len(known) != known[-1] - known[0] + 1:
            gaps.append(f"{key[0]} {key[1]} ({known[-1] - known[0] + 1 - len(known)} weeks)")
        if known[-1] != len(starts) - 1:
            ended.append(key)
            table.loc[starts[known[-1] + 1 :], [key]] = 0.0
    if gaps:
        raise ValueError(
            f"weekly sales: {len(gaps)} series have gaps: {', '.join(gaps[:5])}{', …' if len(gaps) > 5 else ''};"
            " each week from a series' first on needs a row, with 0 where nothing was sold"
        )
    notes = (f"{len(ended)} series end before {starts[-1].date()} and are taken to have sold nothing since",)
    return table, notes if ended else ()


def _parents(rows: pd.DataFrame, keys: list[tuple[str, str]]) -> tuple[int, ...]:
    position = {key: column for column, key in enumerate(keys)}
    named = (
        rows.dropna(subset=["parent"])
        .drop_duplicates(["level", "series", "parent"])
        .groupby(["level", "series"])["parent"]
        .agg(list)
        .to_dict()
    )
    found = []
    for level, series in keys:
        parents = named.get((level, series), [])
        if len(parents) > 1:
            raise ValueError(f"weekly sales: {level} {series} has several parent_id: {', '.join(map(str, parents))}")
        if level == "total":
            found.append(NONE)
            continue
        wanted = str(parents[0]) if parents else series.split(SEPARATOR)[0] if level == "category" else "total"
        above = {"category": ["department"], "product": ["category", "department"]}.get(level, [])
        above = [upper for upper in above if upper in {upper for upper, _ in keys}]
        candidates = [position[upper, wanted] for upper in above if (upper, wanted) in position]
        # Beside departments it is no part of the total of its own; without any between, it is.
        found.append(candidates[0] if candidates else NONE if above else position["total", "total"])
    return tuple(found)


def _with_rests(history: History) -> History:
    """Adds to each parent the part that none of its children stands for, where there is any; stores apart."""
    sales, levels, ids, parent = [history.sales], list(history.levels), list(history.ids), list(history.parent)
    groups: dict[tuple[int, bool], list[int]] = {}
    for column, (level, above) in enumerate(zip(history.levels, history.parent, strict=True)):
        if above >= 0:
            groups.setdefault((above, level == "store"), []).append(column)
    for (above, stores), children in sorted(groups.items()):
        parts = np.nansum(history.sales[:, children], axis=1)
        whole = np.nan_to_num(history.sales[:, above])
        rest = whole - parts
        excess, size = -rest[rest < 0].sum(), np.abs(whole).sum()
        if excess > MAX_EXCESS * size + 1e-6:
            raise ValueError(
                f"weekly sales: the {len(children)} {'stores' if stores else 'parts'} of {levels[above]} {ids[above]}"
                f" sum to more than it, by {excess:,.2f} in {int((rest < 0).sum())} weeks; check parent_id and filters"
            )
        if np.abs(rest).sum() > 1e-6 * size:
            sales.append(np.maximum(rest, 0.0)[:, None])
            levels.append(REST)
            ids.append(f"{STORES if stores else levels[above] + ' '}{ids[above]}")
            parent.append(above)
    promotions = history.promotions
    if promotions is not None:
        weeks, _, kinds = promotions.shape
        added = len(levels) - len(history.levels)
        promotions = np.concatenate([promotions, np.zeros((weeks, added, kinds))], axis=1)
    return replace(
        history,
        levels=tuple(levels),
        ids=tuple(ids),
        parent=tuple(parent),
        sales=np.concatenate(sales, axis=1),
        promotions=promotions,
    )


def _promotions(
    frame: pd.DataFrame | None, keys: list[tuple[str, str]], starts: pd.DatetimeIndex, ahead: int
) -> Matrix | None:
    if frame is None or frame.empty:
        return None
    require_columns(frame, ["level", "series_id", "period_start", *PROMOTIONS], "weekly promotions")
    start = days(frame, "period_start")
    if start.dt.dayofweek.nunique() != 1 or start.iloc[0].dayofweek != starts[0].dayofweek:
        raise ValueError("weekly promotions: period_start must be on the weekday on which the weeks of sales start")
    position = {key: column for column, key in enumerate(keys)}
    column = np.array([position.get(k, -1) for k in zip(frame["level"], frame["series_id"].astype(str), strict=True)])
    week = ((start - starts[0]).dt.days // WEEK).to_numpy()
    use = (column >= 0) & (week >= 0) & (week < len(starts) + ahead)
    counts = np.zeros((len(starts) + ahead, len(keys), len(PROMOTIONS)))
    for kind, name in enumerate(PROMOTIONS):
        values = _numbers(frame, name, "weekly promotions").to_numpy()[use]
        if not np.isfinite(values).all():
            raise ValueError(f"weekly promotions: {name} is missing or infinite in {(~np.isfinite(values)).sum()} rows")
        counts[week[use], column[use], kind] = values
    return counts


def _daily_total(frame: pd.DataFrame | None, now: pd.Timestamp) -> "pd.Series[float] | None":
    if frame is None or frame.empty:
        return None
    require_columns(frame, ["level", "series_id", "business_date", "net_sales"], "daily sales")
    total = frame[frame["level"] == "total"]
    day = days(total, "business_date")
    total, day = total[day < now], day[day < now]
    if total.empty:
        return None
    values = _numbers(total, "net_sales", "daily sales").to_numpy()
    if not np.isfinite(values).all():
        raise ValueError(
            f"daily sales: net_sales of the total is missing or infinite on {(~np.isfinite(values)).sum()} days"
        )
    if day.duplicated().any():
        raise ValueError(f"daily sales: the total has two rows for {day[day.duplicated()].iloc[0].date()}")
    return pd.Series(values, index=pd.DatetimeIndex(day)).sort_index()
