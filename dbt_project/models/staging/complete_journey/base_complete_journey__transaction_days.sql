-- What was delivered of each day in one fingerprint: base_complete_journey__transactions builds again the days whose rows have changed.
-- A row without a time is of a day of its own, NULL.
{{ config(materialized='table') }}

with source_rows as (
    select
        transaction_timestamp::date as delivered_date,
        {{ row_hash([
            'household_id', 'store_id', 'basket_id', 'product_id', 'quantity', 'sales_value', 'retail_disc', 'coupon_disc',
            'coupon_match_disc', 'transaction_timestamp', 'transaction_timestamp > _loaded_at', '_source_file', '_row_number',
        ]) }} as input_hash
    from {{ source('complete_journey', 'transactions') }}
),

final as (
    select
        delivered_date,
        count(*) as row_count,
        md5(concat_ws(' ', count(*)::varchar, sum(input_hash)::varchar)) as input_fingerprint
    from source_rows
    group by delivered_date
)

select * from final
