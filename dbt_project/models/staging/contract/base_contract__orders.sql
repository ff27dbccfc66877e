-- Typed, exact copies folded into one, each row with its reason for rejection or none. The only place that reads the raw table.
{%- set columns = ['order_id', 'customer_id', 'store_id', 'status', 'channel', 'currency', 'ordered_at'] %}
{{ config(materialized='table') }}

with source_rows as (
    select *
    from {{ source('contract', 'orders') }}
),

typed as (
    select
        order_id::varchar as order_id,
        customer_id::varchar as customer_id,
        store_id::varchar as store_id,
        status::varchar as status,
        channel::varchar as channel,
        upper(currency::varchar) as currency,
        try_cast(ordered_at as timestamp) as ordered_at,
        case
            when order_id is null then 'order_id is missing'
            when customer_id is null then 'customer_id is missing'
            when ordered_at is null then 'ordered_at is missing'
            when {{ cannot_be_read('ordered_at', 'timestamp') }} then 'ordered_at is not a time'
            when try_cast(ordered_at as timestamp) > _loaded_at then 'ordered_at is later than the load'
        end as reject_reason,
        _source_file,
        _row_number
    from source_rows
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
