"""One customer's whole portrait from the published marts, for a person to read."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

# Which columns of customer_360 go under which heading; a classification is told with what its label means.
SECTIONS: Mapping[str, Sequence[str]] = {
    "Who": ("household_type", "age_band", "income_band", "home_ownership", "region", "preferred_store_id"),
    "Orders": (
        *("first_order_at", "last_order_at", "recency_days", "tenure_days", "lifetime_count_orders"),
        *("lifetime_net_sales", "avg_order_value", "average_days_between_orders", "frequency", "monetary"),
        "next_order_expected_at",
    ),
    "Classes": (
        *("rfm_segment", "lifecycle_stage", "value_tier", "segment_label", "purchase_pattern", "needs_type"),
        "loyalty_tier",
    ),
    "How": (
        *("discount_share", "private_label_share", "serviced_share", "price_level", "new_product_share"),
        "gap_variation",
    ),
    "Value": (
        *("historic_clv", "predicted_clv", "predicted_clv_lower_80", "predicted_clv_upper_80", "is_key_account"),
        *("key_account_driver", "key_account_probability", "contribution_margin", "is_unprofitable"),
    ),
    "Risk": (
        *("is_eligible_for_churn", "churn_probability", "churn_risk_tier"),
        *("churn_reason_1", "churn_reason_2", "churn_reason_3"),
    ),
}
BOUGHT = """
    select products.category, sum(order_lines.net_sales) as net_sales, count(*) as lines
    from marts.order_lines inner join marts.products using (product_id)
    where order_lines.customer_id = $customer_id and order_lines.line_type = 'sale'
    group by products.category order by net_sales desc, products.category limit 5
"""
RECOMMENDED = """
    select product_name, reason from marts.product_recommendations
    where customer_id = $customer_id and list = $list order by list_rank limit 5
"""
OFFERED = """
    select item_label, reason, expected_value from marts.cross_sell_opportunities
    where customer_id = $customer_id and level = 'subcategory'
    qualify row_number() over (partition by item_id order by expected_value desc, kind) = 1
    order by expected_value desc, item_id limit 3
"""
MOVED = """
    with labels as (
        from (
            select as_of_date, rfm_segment, lifecycle_stage, value_tier, segment_label, loyalty_tier
            from marts.customer_360_history where customer_id = $customer_id
        ) unpivot (label for classification in (rfm_segment, lifecycle_stage, value_tier, segment_label, loyalty_tier))
    ),
    moves as (
        select *, lag(label) over (partition by classification order by as_of_date) as label_before from labels
    )
    select as_of_date, classification, label_before, label from moves
    where label_before != label order by as_of_date desc, classification limit 10
"""


class UnknownCustomerError(LookupError):
    """A customer that is not in customer_360: what was given, and what to do."""


def portrait(connection: duckdb.DuckDBPyConnection, customer_id: str) -> str:
    """The portrait of a customer as text, heading by heading.

    Args:
        connection: The published file.
        customer_id: As in customer_360.

    Raises:
        UnknownCustomerError: There is no such customer.
    """
    of_customer = {"customer_id": customer_id}
    found = connection.execute("from marts.customer_360 where customer_id = $customer_id", of_customer)
    names = [name for name, *_ in found.description or ()]
    row = found.fetchone()
    if row is None:
        raise UnknownCustomerError(
            f"customer {customer_id!r} is not in customer_360. Name one with CUSTOMER=; for some, "
            'make sql Q="select customer_id from customer_360 limit 5"'
        )
    customer = dict(zip(names, row, strict=True))
    meanings = {
        (classification, label): meaning
        for classification, label, meaning in connection.execute(
            "select classification, label, meaning from marts.label_definitions"
        ).fetchall()
    }
    lines = [f"Customer {customer_id}, as of {customer['as_of_date']}"]
    for heading, columns in SECTIONS.items():
        told = [(name, customer[name]) for name in columns if customer[name] not in (None, "unknown")]
        lines += _section(heading, [(name, _spoken(value, meanings.get((name, value)))) for name, value in told])
    bought = connection.execute(BOUGHT, of_customer).fetchall()
    lines += _section("Bought most", [(category, f"{sales} in {count} lines") for category, sales, count in bought])
    for heading, name in (("To buy again", "buy_again"), ("To discover", "discover")):
        lines += _section(heading, connection.execute(RECOMMENDED, {**of_customer, "list": name}).fetchall())
    offered = connection.execute(OFFERED, of_customer).fetchall()
    lines += _section(
        "To cross-sell", [(item, f"{reason}; worth {value:.2f} in a window") for item, reason, value in offered]
    )
    moved = connection.execute(MOVED, of_customer).fetchall()
    lines += _section("Moved", [(f"{day} {name}", f"{before} -> {now}") for day, name, before, now in moved])
    return "\n".join(lines)


def _section(heading: str, facts: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in facts), default=0)
    return ["", heading, *(f"  {name.ljust(width)}  {value}" for name, value in facts)] if facts else []


def _spoken(value: Any, meaning: str | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{text}: {meaning}" if meaning else text
