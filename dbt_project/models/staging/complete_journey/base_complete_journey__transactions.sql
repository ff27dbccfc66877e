-- Typed, exact copies folded into one, each row with its reason for rejection or none. Copies are of one day, so days stand alone.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('base_complete_journey__transaction_days'), 'delivered_date') }}",
) }}

with days as (
    {{ missing(model, ref('base_complete_journey__transaction_days'), 'delivered_date') }}
),

source_rows as (
    select
        transactions.*,
        days.input_fingerprint
    from {{ source('complete_journey', 'transactions') }} as transactions
    inner join days on transactions.transaction_timestamp::date is not distinct from days.delivered_date
),

folded as (
    select
        household_id,
        store_id,
        basket_id,
        product_id,
        quantity,
        sales_value,
        retail_disc,
        coupon_disc,
        coupon_match_disc,
        transaction_timestamp,
        input_fingerprint,
        min(_source_file) as _source_file,
        min(_row_number) as _row_number,
        min(_loaded_at) as _loaded_at,
        count(*) as copies
    from source_rows
    group by all
),

final as (
    select
        basket_id::varchar as order_id,
        household_id::varchar as customer_id,
        product_id::varchar as product_id,
        store_id::varchar as store_id,
        quantity::decimal(18, 3) as quantity,
        try_cast(sales_value as decimal(18, 2)) as net_sales,
        try_cast(retail_disc + coupon_match_disc as decimal(18, 2)) as discounts,
        try_cast(coupon_disc as decimal(18, 2)) as coupon_discounts,
        transaction_timestamp::timestamp as ordered_at,
        case
            when basket_id is null then 'basket_id is missing'
            when household_id is null then 'household_id is missing'
            when product_id is null then 'product_id is missing'
            when transaction_timestamp is null then 'transaction_timestamp is missing'
            when transaction_timestamp > _loaded_at then 'transaction_timestamp is later than the load'
            when quantity is null then 'quantity is missing'
            when try_cast(sales_value as decimal(18, 2)) is null then 'sales_value is not an amount'
            when try_cast(retail_disc + coupon_match_disc as decimal(18, 2)) is null then 'a discount is not an amount'
            when try_cast(coupon_disc as decimal(18, 2)) is null then 'coupon_disc is not an amount'
            when quantity < 0 and sales_value > 0 then 'quantity and sales_value have opposite signs'
            when quantity > 0 and sales_value < 0 then 'quantity and sales_value have opposite signs'
        end as reject_reason,
        _source_file,
        _row_number,
        copies,
        input_fingerprint
    from folded
)

select * from final
