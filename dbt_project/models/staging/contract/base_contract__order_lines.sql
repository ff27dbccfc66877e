-- Lines of accepted orders, exact copies folded into one; what is derived from the amounts is derived in stg_contract__order_lines. Copies
-- are of one order, and so of one day.
{%- set columns = [
    'order_line_id', 'order_id', 'product_id', 'quantity', 'unit_price', 'gross_sales', 'discounts', 'net_sales', 'coupon_discounts',
] %}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('base_contract__order_days'), 'delivered_date') }}",
) }}

with days as (
    {{ missing(model, ref('base_contract__order_days'), 'delivered_date') }}
),

accepted_orders as (
    {{ accepted_orders() }}
),

judged as (
    select
        {%- for column in columns %}
            order_lines.{{ column }},
        {%- endfor %}
        case
            when order_lines.reject_reason is not null then order_lines.reject_reason
            when accepted_orders.order_id is null then 'order_id is not in orders, or its order is in quarantine'
        end as reject_reason,
        order_lines._source_file,
        order_lines._row_number,
        days.input_fingerprint
    from {{ ref('base_contract__typed_order_lines') }} as order_lines
    left join accepted_orders on order_lines.order_id = accepted_orders.order_id
    inner join days on accepted_orders.delivered_date is not distinct from days.delivered_date
),

final as (
    {{ folded('judged', columns + ['input_fingerprint']) }}
)

select * from final
