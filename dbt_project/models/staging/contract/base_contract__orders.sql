-- Exact copies folded into one. Copies are of one day, so days stand alone.
{%- set columns = ['order_id', 'customer_id', 'store_id', 'status', 'channel', 'currency', 'ordered_at'] %}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('base_contract__order_days'), 'delivered_date') }}",
) }}

with days as (
    {{ missing(model, ref('base_contract__order_days'), 'delivered_date') }}
),

orders as (
    select
        {%- for column in columns %}
            typed_orders.{{ column }},
        {%- endfor %}
        typed_orders.reject_reason,
        typed_orders._source_file,
        typed_orders._row_number,
        days.input_fingerprint
    from {{ ref('base_contract__typed_orders') }} as typed_orders
    inner join days on typed_orders.ordered_at::date is not distinct from days.delivered_date
),

final as (
    {{ folded('orders', columns + ['input_fingerprint']) }}
)

select * from final
