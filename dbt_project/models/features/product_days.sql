-- What sales by week and by day are summed up from.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('core_order_days'), 'order_date', ['business_time_zone']) }}",
) }}

with days as (
    {{ missing(model, ref('core_order_days'), 'order_date', ['business_time_zone']) }}
),

final as (
    select
        order_lines.product_id,
        order_lines.order_date,
        sum(order_lines.net_sales)::decimal(18, 2) as net_sales,
        coalesce(sum(order_lines.units), 0)::decimal(18, 3) as units,
        days.input_fingerprint
    from {{ ref('core_order_lines') }} as order_lines
    inner join days on order_lines.order_date = days.order_date
    group by order_lines.product_id, order_lines.order_date, days.input_fingerprint
)

select * from final
