"""Whether history and events suffice for each model, told before a run from the order days alone, and campaigns.

What a model needs is asked of the model's own specification in `ml`, so there is no second list of limits. Labels are
not built here: how many rows a cut-off would label follows from the pauses between a customer's order days, counted by
DuckDB. Whether a model that can be trained is good enough to score, gate 3 says in the run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.dbt_project import newest_on_grid
from orchestration.models import (
    ChurnModel,
    CustomerSegments,
    CustomerValue,
    DemandForecast,
    Recommendations,
    ResponseModel,
    models,
)
from orchestration.settings import Settings

if TYPE_CHECKING:
    from ml.specification import Specification

WEEK = 7


@dataclass(frozen=True)
class Verdict:
    """Whether a model can be trained and judged.

    Attributes:
        model: Its name.
        enough: There is enough to learn from and to judge by; None where that cannot be told before a run.
        reasons: What there is, or what is missing.
    """

    model: str
    enough: bool | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Campaign:
    """A campaign in figures: treated members and, of them, those who responded."""

    start: date
    end: date
    members: int
    responders: int


class OrderDays:
    """The order days of all customers, and what cut-offs on the grid see of them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, as_of_date: date, variables: Mapping[str, Any]) -> None:
        """Reads the table `order_days`.

        Args:
            connection: Where it is; a table of pauses is made beside it.
            as_of_date: Nothing from this day on has been seen.
            variables: With the grid of cut-offs.
        """
        self._connection, self.as_of_date, self._variables = connection, as_of_date, variables
        self._anchor = date.fromisoformat(str(variables["feature_grid_anchor"]))
        self._grid = int(variables["feature_grid_days"])
        connection.execute(
            "create or replace temp table order_pauses as select customer_id, order_date,"
            " lag(order_date) over by_day as previous_date, lead(order_date) over by_day as next_date"
            " from order_days window by_day as (partition by customer_id order by order_date)"
        )
        first_date, customers = self._row("select min(order_date), count(distinct customer_id) from order_days")
        self.first_date: date = first_date
        self.customers = int(customers)
        span = as_of_date - timedelta(days=int(variables["feature_span_days"]))
        self.first_cut_off = max(self.first_date + timedelta(days=int(variables["feature_history_days"])), span)

    def _row(self, query: str, **parameters: Any) -> tuple[Any, ...]:
        (row,) = self._connection.execute(query, parameters).fetchall()
        return tuple(row)

    def _points(self, first: str, last: str) -> str:
        """SQL for the number of cut-offs from one day to another, both ends included."""
        anchor = f"date '{self._anchor}'"
        upto = f"floor(({last} - {anchor}) / {self._grid})"
        return f"greatest({upto} - floor(({first} - 1 - {anchor}) / {self._grid}), 0)"

    def cut_offs(self, first: date, last: date) -> int:
        """How many there are from one day to another, both ends included."""
        upto, before = (last - self._anchor).days // self._grid, ((first - self._anchor).days - 1) // self._grid
        return max(upto - before, 0)

    def newest_cut_off(self, before: date) -> date:
        """The newest on or before a day."""
        return newest_on_grid(before, self._variables)

    def churn_rows(self, first: date, last: date, activity_days: int, window_days: int) -> tuple[int, int]:
        """Eligible rows of the cut-offs from one day to another, and those of them that churned."""
        # Between two order days a cut-off sees the first one as the last order, as long as that is recent enough.
        begin = "greatest(order_date + 1, $first)"
        end = f"least(order_date + {activity_days}, coalesce(next_date, $last), $last)"
        stays_away = f"least({end}, coalesce(next_date - {window_days}, $last))"
        rows, churned = self._row(
            f"select coalesce(sum({self._points(begin, end)}), 0)::bigint,"
            f" coalesce(sum({self._points(begin, stays_away)}), 0)::bigint from order_pauses",
            first=first,
            last=last,
        )
        return rows, churned

    def value_rows(self, first: date, last: date, window_days: int) -> tuple[int, int]:
        """Rows of all who had ordered by the cut-offs, and those of them that bought within the window."""
        (rows,) = self._row(
            f"select coalesce(sum({self._points('greatest(order_date + 1, $first)', '$last::date')}), 0)::bigint"
            " from order_pauses where previous_date is null",
            first=first,
            last=last,
        )
        begin = f"greatest(previous_date + 1, order_date - {window_days} + 1, $first)"
        (buyers,) = self._row(
            f"select coalesce(sum({self._points(begin, 'least(order_date, $last)')}), 0)::bigint"
            " from order_pauses where previous_date is not null",
            first=first,
            last=last,
        )
        return rows, buyers

    def customers_since(self, day: date) -> int:
        """Who ordered from a day on."""
        (count,) = self._row("select count(distinct customer_id) from order_days where order_date >= $day", day=day)
        return int(count)

    def complete_weeks(self) -> int:
        """Weeks from Monday that lie between the first order and the day."""
        first = self.first_date + timedelta(days=-self.first_date.weekday() % WEEK)
        newest: date = self.as_of_date - timedelta(days=self.as_of_date.weekday())
        return max((newest - first).days // WEEK, 0)


def verdicts(
    orders: OrderDays,
    campaigns: list[Campaign] | Verdict,
    products: int | None,
    variables: Mapping[str, Any],
    settings: Settings,
) -> list[Verdict]:
    """What each model of a refresh would find.

    Args:
        orders: The order days before the day.
        campaigns: All that have begun, or what is to be said where none can be read.
        products: How many have been sold; None where that cannot be told before a run.
        variables: Thresholds with the windows to judge by.
        settings: Which models a refresh trains.
    """
    chosen = set() if settings.models == "none" else set(settings.models.split(","))
    found = []
    for model in models(settings):
        if model.name not in chosen:
            found.append(Verdict(model.name, False, ("switched off (CUSTOMER360_MODELS)",)))
            continue
        match model:
            case ChurnModel():
                verdict = _churn(ChurnModel(settings.threads, variables).specification(), orders)
            case ResponseModel():
                verdict = _response(model.specification(), campaigns, orders.as_of_date)
            case DemandForecast():
                verdict = _demand(orders)
            case CustomerValue():
                verdict = _value(CustomerValue(settings.threads, variables), orders)
            case CustomerSegments():
                verdict = _segments(model, orders)
            case Recommendations():
                verdict = _recommendations(model, orders, products)
            case _:
                verdict = Verdict(model.name, False, ("nothing is known of what it needs",))
        found.append(verdict)
    return found


def _told(model: str, missing: list[str], there: str) -> Verdict:
    return Verdict(model, False, (*missing,)) if missing else Verdict(model, True, (there,))


def _churn(spec: "Specification", orders: OrderDays) -> Verdict:
    from ml.specification import shortages

    window, activity = spec.window_days or 0, spec.activity_window_days or 0

    def known(moment: date) -> tuple[int, int]:
        """What teaches at a moment: young cut-offs only where there are too few others."""
        last = moment - timedelta(days=window)
        mature = max(orders.first_date + timedelta(days=spec.min_history_days), orders.first_cut_off)
        first = mature if orders.cut_offs(mature, last) >= spec.min_mature_cutoffs else orders.first_cut_off
        return orders.churn_rows(first, last, activity, window)

    rows, churned = known(orders.as_of_date)
    missing = list(shortages(spec, rows, churned))
    tested: list[date] = []
    time = orders.newest_cut_off(orders.as_of_date - timedelta(days=window))
    while len(tested) < spec.hold_out.cut_offs and not shortages(spec, *known(time)):
        tested.append(time)
        time = orders.newest_cut_off(time - timedelta(days=max(spec.hold_out.spacing_days, 1)))
    missing += _too_few_held_out(spec, [orders.churn_rows(day, day, activity, window) for day in tested])
    return _told(spec.name, missing, f"about {rows:,} rows, {churned:,} of them churn ({churned / max(rows, 1):.0%})")


def _too_few_held_out(spec: "Specification", held_out: list[tuple[int, int]]) -> Iterator[str]:
    rows, happened = sum(part[0] for part in held_out), sum(part[1] for part in held_out)
    rarer, rule = min(happened, rows - happened), spec.promotion
    if rows < rule.min_rows:
        yield f"{rows} labelled rows to judge by, needed are {rule.min_rows}"
    elif rarer < rule.min_positives:
        yield f"{rarer} rows of the rarer class to judge by, needed are {rule.min_positives}"


def _response(spec: "Specification", campaigns: list[Campaign] | Verdict, as_of_date: date) -> Verdict:
    from ml.specification import shortages

    if isinstance(campaigns, Verdict):
        return campaigns

    def known(moment: date) -> tuple[int, int]:
        taught = [
            campaign
            for campaign in campaigns
            if campaign.start < moment
            and (moment - campaign.start).days >= spec.min_elapsed_share * ((campaign.end - campaign.start).days + 1)
        ]
        return sum(campaign.members for campaign in taught), sum(campaign.responders for campaign in taught)

    members, responders = known(as_of_date)
    missing = list(shortages(spec, members, responders))
    held_out: list[tuple[int, int]] = []
    for start in sorted({campaign.start for campaign in campaigns}, reverse=True):
        there = [campaign for campaign in campaigns if campaign.start == start and campaign.end < as_of_date]
        if sum(responded for _, responded in held_out) >= spec.hold_out.positives or shortages(spec, *known(start)):
            break
        if there:
            held_out.append((sum(one.members for one in there), sum(one.responders for one in there)))
    missing += _too_few_held_out(spec, held_out)
    return _told(spec.name, missing, f"{members:,} treated members, {responders:,} of them responded")


def _demand(orders: OrderDays) -> Verdict:
    from ml.forecast_evaluation import ForecastRule
    from ml.forecast_specification import ForecastSpecification

    spec, weeks = ForecastSpecification(), orders.complete_weeks()
    needed = spec.min_weeks + spec.judged_horizon + ForecastRule().min_origins - 1
    missing = [f"{weeks} complete weeks, needed are {needed} to learn from and to judge by"] if weeks < needed else []
    return _told(spec.name, missing, f"{weeks} complete weeks")


def _value(model: CustomerValue, orders: OrderDays) -> Verdict:
    from ml.value_specification import shortages_of

    spec = model.specification()
    window, first = timedelta(days=spec.window_days), orders.first_cut_off

    def missing_at(moment: date) -> list[str]:
        rows, buyers = orders.value_rows(first, moment - window, spec.window_days)
        return list(shortages_of(spec, rows, buyers, orders.cut_offs(first, moment - window)))

    rows, buyers = orders.value_rows(first, orders.as_of_date - window, spec.window_days)
    missing = missing_at(orders.as_of_date)
    held_out, time, tested = 0, orders.newest_cut_off(orders.as_of_date - window), 0
    while tested < spec.hold_out.cut_offs and not missing_at(time):
        held_out, tested = held_out + orders.value_rows(time, time, spec.window_days)[0], tested + 1
        time = orders.newest_cut_off(time - timedelta(days=max(spec.hold_out.spacing_days, 1)))
    if held_out < spec.promotion.min_rows:
        missing.append(f"{held_out} labelled rows to judge by, needed are {spec.promotion.min_rows}")
    return _told(spec.name, missing, f"about {rows:,} rows, {buyers:,} of them buy within {spec.window_days} days")


def _segments(model: CustomerSegments, orders: OrderDays) -> Verdict:
    spec = model.specification()
    needed = max(spec.min_rows, spec.parameters.min_segments + 1)
    missing = [f"{orders.customers} customers, needed are {needed}"] if orders.customers < needed else []
    return _told(spec.name, missing, f"{orders.customers:,} customers")


def _recommendations(model: Recommendations, orders: OrderDays, products: int | None) -> Verdict:
    from ml.recommendation_specification import closed_cut_offs

    spec, missing = model.specification(), []
    closed = len(closed_cut_offs(spec, orders.first_date, orders.as_of_date))
    judged = orders.customers_since(orders.as_of_date - timedelta(days=spec.held_out_cut_offs * spec.window_days))
    if closed <= spec.held_out_cut_offs:
        needed = spec.min_history_days + (spec.held_out_cut_offs + 1) * spec.window_days
        missing.append(f"{(orders.as_of_date - orders.first_date).days} days of history, needed are {needed}")
    if judged < spec.min_judged:
        missing.append(f"{judged} customers to judge by, needed are {spec.min_judged}")
    if products is not None and products < 2:
        missing.append(f"{products} product sold, so that there is nothing to choose from")
    return _told(spec.name, missing, f"{judged:,} customers ordered within the windows that it is judged on")
