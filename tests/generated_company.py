"""A company of many times the sample's size, with the sample's distributions, for benchmarks and deliveries by day.

Everything is made of the sample's rows: the first copy is the sample itself, the others have customers, orders,
products and campaigns of their own. What a customer buys again and again is the same product each time; times change
within their hour, so that days, weeks and habits stay. Promotions, which grow with stores and not with customers, are
the sample's at any size.
"""

import shutil
from datetime import date
from pathlib import Path

import duckdb

from orchestration.sources import load_source
from tests.pipeline import SAMPLE

# What a copy adds to ids of the sample: more than the largest of them, so that no two copies share one.
HOUSEHOLD_STEP = 10_000
BASKET_STEP = 100_000_000_000
PRODUCT_STEP = 100_000_000
COUPON_STEP = 1_000_000_000_000
CAMPAIGN_STEP = 100

COPIES = "range({times}) as copies (copy)"
TABLES = {
    # The copy of a product is the customer's own choice, so that all customers share all products.
    "transactions": f"""
        select
            household_id + copy * {HOUSEHOLD_STEP} as household_id,
            store_id,
            basket_id + copy * {BASKET_STEP} as basket_id,
            product_id + (hash(household_id, copy, product_id) % {{times}})::bigint * {PRODUCT_STEP} as product_id,
            quantity,
            sales_value,
            retail_disc,
            coupon_disc,
            coupon_match_disc,
            week,
            case
                when copy = 0 then transaction_timestamp
                else date_trunc('hour', transaction_timestamp) + to_seconds((hash(basket_id, copy) % 3600)::bigint)
            end as transaction_timestamp
        from sample, {COPIES}
    """,
    "demographics": f"""
        select sample.* replace (household_id + copy * {HOUSEHOLD_STEP} as household_id)
        from sample, {COPIES}
    """,
    "products": f"""
        select sample.* replace (product_id + copy * {PRODUCT_STEP} as product_id)
        from sample, {COPIES}
    """,
    "campaign_descriptions": f"""
        select sample.* replace (campaign_id + copy * {CAMPAIGN_STEP} as campaign_id)
        from sample, {COPIES}
    """,
    "campaigns": f"""
        select
            campaign_id + copy * {CAMPAIGN_STEP} as campaign_id,
            household_id + copy * {HOUSEHOLD_STEP} as household_id
        from sample, {COPIES}
    """,
    "coupons": f"""
        select
            coupon_upc + copy * {COUPON_STEP} as coupon_upc,
            product_id + copy * {PRODUCT_STEP} as product_id,
            campaign_id + copy * {CAMPAIGN_STEP} as campaign_id
        from sample, {COPIES}
    """,
    "coupon_redemptions": f"""
        select
            household_id + copy * {HOUSEHOLD_STEP} as household_id,
            coupon_upc + copy * {COUPON_STEP} as coupon_upc,
            campaign_id + copy * {CAMPAIGN_STEP} as campaign_id,
            redemption_date
        from sample, {COPIES}
    """,
}


def table_query(table: str, times: int, sample: Path = SAMPLE) -> str:
    """The rows of a table of the company that is `times` the sample, as SQL."""
    rows = TABLES[table].format(times=times)
    return f"with sample as (select * from '{sample}/{table}.parquet') select * from ({rows})"


def write_transactions(
    path: Path, times: int, from_day: date | None = None, to_day: date | None = None, sample: Path = SAMPLE
) -> Path:
    """The order lines from one business day on, up to another, in the order of their time, as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    conditions = ["true"]
    midnight = f"at time zone '{load_source('complete_journey').time_zone}' at time zone 'UTC'"
    conditions += [] if from_day is None else [f"transaction_timestamp >= timestamp '{from_day}' {midnight}"]
    conditions += [] if to_day is None else [f"transaction_timestamp < timestamp '{to_day}' {midnight}"]
    _copy(
        f"{table_query('transactions', times, sample)} where {' and '.join(conditions)}"
        " order by transaction_timestamp, basket_id, product_id",
        path,
    )
    return path


def write_company(folder: Path, times: int, to_day: date | None = None, sample: Path = SAMPLE) -> Path:
    """All files of the company, its order lines up to a business day where one is given.

    Args:
        folder: Where the files go, as `INPUT` takes them.
        times: How many times the sample.
        to_day: First day of which nothing has been delivered yet.
        sample: The files to start from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_transactions(folder / "transactions.parquet", times, to_day=to_day, sample=sample)
    for table in TABLES.keys() - {"transactions"}:
        _copy(table_query(table, times, sample), folder / f"{table}.parquet")
    shutil.copyfile(sample / "promotions.parquet", folder / "promotions.parquet")
    return folder


def _copy(query: str, path: Path) -> None:
    with duckdb.connect(config={"memory_limit": "3GB", "temp_directory": f"{path}.spilled"}) as connection:
        connection.execute(f"copy ({query}) to '{path}' (format parquet)")
