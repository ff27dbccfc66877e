"""The sample in the contract's shape, from the package's files alone: what a company would export of the same business.

Nothing of the dbt project is used, so that equal marts say something.
"""

from collections.abc import Collection
from pathlib import Path

import duckdb

from orchestration.sources import load_source

# What the two sources say differently, and what becomes of it here:
# - a household is a customer once it has bought or was sent a campaign; one that told about itself was there before;
# - days and weeks are those of the stores, timestamps UTC;
# - gross sales and the lines' names are left out: they follow from the rest.
QUERIES = {
    "customers": """
        with households as (
            select household_id from {transactions} union
            select household_id from {campaigns} union
            select household_id from {demographics}
        )
        select
            household_id::varchar as customer_id, age as age_band, income as income_band, household_size,
            marital_status, home_ownership, kids_count,
            case when demographics.household_id is not null then timestamp '2016-01-01' end as created_at
        from households left join {demographics} as demographics using (household_id)
    """,
    "orders": """
        select distinct
            basket_id::varchar as order_id, household_id::varchar as customer_id, transaction_timestamp as ordered_at,
            store_id::varchar as store_id, 'store' as channel, 'USD' as currency
        from {transactions}
    """,
    "order_lines": """
        select
            basket_id::varchar as order_id, product_id::varchar as product_id, quantity::decimal(18, 3) as quantity,
            sales_value::decimal(18, 2) as net_sales, (retail_disc + coupon_match_disc)::decimal(18, 2) as discounts,
            coupon_disc::decimal(18, 2) as coupon_discounts
        from {transactions}
    """,
    "products": """
        select
            product_id::varchar as product_id, concat_ws(' ', product_type, package_size) as product_name, brand,
            department, product_category as category, product_type as subcategory,
            manufacturer_id::varchar as manufacturer_id, package_size,
            coalesce(product_type, '') not like 'GASOLINE%' as is_sold_in_units
        from {products}
    """,
    "campaigns": """
        select
            campaign_id::varchar as campaign_id, start_date, end_date, 'Campaign ' || campaign_id as name,
            campaign_type, 'direct_mail' as channel
        from {campaign_descriptions}
    """,
    "campaign_members": """
        select campaign_id::varchar as campaign_id, household_id::varchar as customer_id from {campaigns}
    """,
    "campaign_offers": """
        select campaign_id::varchar as campaign_id, coupon_upc::varchar as offer_id, product_id::varchar as product_id
        from {coupons}
    """,
    "campaign_responses": """
        select
            campaign_id::varchar as campaign_id, household_id::varchar as customer_id,
            redemption_date::timestamp at time zone 'America/New_York' at time zone 'UTC' as responded_at,
            coupon_upc::varchar as offer_id
        from {coupon_redemptions}
    """,
    "product_promotions": """
        select
            product_id::varchar as product_id, date '2016-12-26' + (7 * (week - 1))::integer as period_start,
            date '2016-12-26' + (7 * (week - 1) + 6)::integer as period_end, store_id::varchar as store_id,
            nullif(display_location, '0') as display, nullif(mailer_location, '0') as mailer
        from {promotions}
    """,
}
REQUIRED_TABLES = tuple(table.name for table in load_source("contract").tables if table.is_required)


def export_contract(
    sample: Path,
    folder: Path,
    tables: Collection[str] = tuple(QUERIES),
    file_format: str = "parquet",
    required_columns_alone: bool = False,
) -> Path:
    """Writes the sample in the contract's shape.

    Args:
        sample: Folder with the files of complete_journey, whole or cut.
        folder: Where a file per table is written; made where it is missing.
        tables: Those of the contract to write.
        file_format: parquet or csv.
        required_columns_alone: Whether the columns that a table need not have are left out.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    declared = {table.name: table for table in load_source("contract").tables}
    files = {path.stem: f"'{path}'" for path in sample.glob("*.parquet")}
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for table in tables:
            columns = [column.name for column in declared[table].columns if column.is_required]
            chosen = ", ".join(columns) if required_columns_alone else "*"
            connection.execute(
                f"copy (select {chosen} from ({QUERIES[table].format(**files)}) order by all)"
                f" to '{folder}/{table}.{file_format}'"
            )
    return folder
