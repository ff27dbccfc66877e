{{ config(materialized='view') }}

with order_lines as (
    select *
    from {{ ref('core_order_lines') }}
),

current_day as (
    select *
    from {{ ref('current_day') }}
),

final as (
    select
        order_lines.order_line_id,
        order_lines.order_id,
        order_lines.customer_id,
        order_lines.product_id,
        order_lines.source_product_id,
        order_lines.line_type,
        order_lines.quantity,
        order_lines.units,
        order_lines.unit_price,
        order_lines.gross_sales,
        order_lines.discounts,
        order_lines.net_sales,
        order_lines.coupon_discounts,
        order_lines.ordered_at,
        order_lines.order_date
    from order_lines
    inner join current_day on {{ is_before('order_lines.ordered_at', 'current_day.as_of_at') }}
)

select * from final
