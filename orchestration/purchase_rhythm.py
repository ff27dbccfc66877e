"""The rhythm in which customers buy, and the windows that fit it. No model, no report.

Everything is read from one table, `order_days`: one row per customer and business day with an order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil
from typing import Any

import duckdb

from orchestration.settings import VALUE_WINDOWS, WINDOWS, Settings

# Fewer pauses, or customers who came back, say nothing of a rhythm.
MIN_GAPS, MIN_RETURNING = 200, 50
# Every customer counts once, so that those who buy daily do not speak for all: in the sample 95 % of all pauses end
# within 21 days, but within 60 of a usual customer's. Who has paused longer than 19 of 20 pauses of those who came
# back is dormant. Of the pauses one in seven at most outlasts a whole prediction window by chance. On the sample that
# gives 63 and 28 days, beside the 56 and 28 that the models were chosen with.
ACTIVITY_QUANTILE, PREDICTION_QUANTILE = 0.95, 0.85
# One empty week may be a holiday, so nobody is dormant after it. In a year every season has been.
SHORTEST_ACTIVITY, LONGEST_ACTIVITY = 14, 364
LONGEST_PREDICTION = 182
# As in the project's own windows: value looks about three prediction windows ahead, and who has been away for three
# activity windows is gone.
VALUE_MULTIPLE = CHURNED_MULTIPLE = 3
WEEK = 7


@dataclass(frozen=True)
class Rhythm:
    """How customers buy, each counting once.

    Attributes:
        customers: Who ordered.
        returning: Of them, who ordered on more than one day.
        gaps: Pauses between their order days.
        histogram: Length of a pause in days, and its weight: every returning customer has 1 for all pauses together.
    """

    customers: int
    returning: int
    gaps: int
    histogram: tuple[tuple[int, float], ...]

    @property
    def one_time_share(self) -> float:
        """Share of the customers who ordered on one day only."""
        return 1 - self.returning / self.customers if self.customers else 0.0

    @property
    def is_known(self) -> bool:
        """Whether there are enough pauses to tell."""
        return self.gaps >= MIN_GAPS and self.returning >= MIN_RETURNING

    def quantile(self, share: float) -> int:
        """Days within which this share of the pauses ends."""
        wanted, seen = share * sum(weight for _, weight in self.histogram), 0.0
        for days, weight in self.histogram:
            seen += weight
            if seen >= wanted * (1 - 1e-9):  # weights are sums of fractions
                return days
        raise ValueError("no pause between two orders: there is no rhythm")


@dataclass(frozen=True)
class Proposal:
    """Windows that fit a rhythm.

    Attributes:
        windows: Days by the name of their setting.
        reasons: Why, by the name of the setting.
    """

    windows: dict[str, int]
    reasons: dict[str, str]

    def environment(self) -> list[str]:
        """Lines to paste."""
        return [f"export CUSTOMER360_{name.upper()}={days}" for name, days in self.windows.items()]

    def variables(self) -> dict[str, int]:
        """The same by variable of the dbt project."""
        return {WINDOWS[name]: days for name, days in self.windows.items()}


def _weeks(days: float) -> int:
    return WEEK * ceil(days / WEEK)


def read_rhythm(connection: duckdb.DuckDBPyConnection) -> Rhythm:
    """The rhythm of `order_days`; what DuckDB hands over is a histogram."""
    customers, returning, gaps = _one(
        connection,
        "with customers as (select customer_id, count(*) as days from order_days group by customer_id)"
        " select count(*), count_if(days > 1), coalesce(sum(days - 1), 0)::bigint from customers",
    )
    histogram = connection.execute(
        "with gaps as ("
        "  select lead(order_date) over (partition by customer_id order by order_date) - order_date as gap,"
        "  count(*) over (partition by customer_id) - 1 as gaps"
        "  from order_days"
        ") select gap::integer, sum(1 / gaps) from gaps where gap is not null group by gap order by gap"
    ).fetchall()
    return Rhythm(customers, returning, gaps, tuple((int(days), float(weight)) for days, weight in histogram))


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> Sequence[Any]:
    (row,) = connection.execute(query).fetchall()
    return tuple(row)


def propose(rhythm: Rhythm) -> Proposal | None:
    """Windows that fit a rhythm; None where there are too few pauses to tell."""
    if not rhythm.is_known:
        return None
    late, usual = rhythm.quantile(ACTIVITY_QUANTILE), rhythm.quantile(PREDICTION_QUANTILE)
    prediction = min(_weeks(usual), LONGEST_PREDICTION)
    activity = min(max(_weeks(late), prediction, SHORTEST_ACTIVITY), LONGEST_ACTIVITY)
    wanted = VALUE_MULTIPLE * prediction
    value = next((days for days in VALUE_WINDOWS if days >= wanted), VALUE_WINDOWS[-1])
    churned = min(CHURNED_MULTIPLE * activity, 728)
    return Proposal(
        {
            "activity_window_days": activity,
            "prediction_window_days": prediction,
            "churned_after_days": churned,
            "new_customer_days": activity,
            "value_window_days": value,
        },
        {
            "activity_window_days": f"{ACTIVITY_QUANTILE:.0%} of the pauses of who came back ended within {late} days",
            "prediction_window_days": f"{PREDICTION_QUANTILE:.0%} of them within {usual} days",
            "churned_after_days": f"{CHURNED_MULTIPLE} activity windows",
            "new_customer_days": "as long as a second order may take",
            "value_window_days": f"about {VALUE_MULTIPLE} prediction windows; there is one for"
            f" {', '.join(map(str, VALUE_WINDOWS))} days",
        },
    )


def windows_in_force(settings: Settings, variables: dict[str, Any]) -> dict[str, int]:
    """The windows of a refresh now, by the name of their setting."""
    return {name: int(variables[variable]) for name, variable in WINDOWS.items()}


def make_order_days(connection: duckdb.DuckDBPyConnection, query: str, before: date) -> None:
    """Makes `order_days` from a query of customer_id and order_date."""
    connection.execute(
        "create or replace temp table order_days as"
        f" select distinct customer_id::varchar as customer_id, order_date from ({query})"
        " where customer_id is not null and order_date < $before",
        {"before": before},
    )
