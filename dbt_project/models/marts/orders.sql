{{ config(materialized='view') }}

with orders as (
    select *
    from {{ ref('core_orders') }}
),

current_day as (
    select *
    from {{ ref('current_day') }}
),

final as (
    select
        orders.order_id,
        orders.customer_id,
        orders.store_id,
        orders.status,
        orders.channel,
        orders.currency,
        orders.line_count,
        orders.units,
        orders.gross_sales,
        orders.discounts,
        orders.returns,
        orders.net_sales,
        orders.coupon_discounts,
        orders.customer_order_seq_number,
        orders.new_vs_repeat,
        orders.cohort_month,
        orders.cohort_month_number,
        orders.ordered_at,
        orders.order_date
    from orders
    inner join current_day on {{ is_before('orders.ordered_at', 'current_day.as_of_at') }}
)

select * from final
