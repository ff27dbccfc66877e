-- Every line is kept and named for what it is. A line that sells nothing (a coupon slip, an adjustment) has no units,
-- and neither has a product that is not sold in units (fuel): its quantity is a volume.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('core_order_days'), 'order_date', ['business_time_zone']) }}",
) }}

with days as (
    {{ missing(model, ref('core_order_days'), 'order_date', ['business_time_zone']) }}
),

order_lines as (
    select *
    from {{ staged('order_lines') }}
),

dated_orders as (
    select
        order_id,
        customer_id,
        ordered_at,
        {{ business_date('ordered_at') }} as order_date
    from {{ staged('orders') }}
),

orders as (
    select
        dated_orders.*,
        days.input_fingerprint
    from dated_orders
    inner join days on dated_orders.order_date = days.order_date
),

products as (
    select *
    from {{ ref('core_products') }}
),

joined as (
    select
        order_lines.order_line_id,
        order_lines.order_id,
        orders.customer_id,
        coalesce(products.product_id, 'unknown') as product_id,
        order_lines.product_id as source_product_id,
        case
            when order_lines.quantity < 0 or order_lines.net_sales < 0 then 'return'
            when order_lines.quantity > 0 and order_lines.net_sales > 0 then 'sale'
            when order_lines.quantity > 0 then 'free_item'
            when order_lines.net_sales > 0 then 'adjustment'
            else 'coupon_slip'
        end as line_type,
        coalesce(products.is_sold_in_units, true) as is_sold_in_units,
        order_lines.quantity,
        order_lines.gross_sales,
        order_lines.discounts,
        order_lines.net_sales,
        order_lines.coupon_discounts,
        orders.ordered_at,
        orders.order_date,
        orders.input_fingerprint
    from order_lines
    inner join orders on order_lines.order_id = orders.order_id
    left join products on order_lines.product_id = products.product_id
),

final as (
    select
        order_line_id,
        order_id,
        customer_id,
        product_id,
        source_product_id,
        line_type,
        quantity,
        case when is_sold_in_units and quantity != 0 then quantity end as units,
        case when is_sold_in_units and quantity != 0 then {{ ratio('gross_sales', 'quantity', 4) }} end as unit_price,
        gross_sales,
        discounts,
        net_sales,
        coupon_discounts,
        ordered_at,
        order_date,
        input_fingerprint
    from joined
)

select * from final
