-- Every line is kept and named for what it is. A line that sells nothing (a coupon slip, an adjustment) has no units,
-- and neither has a product that is not sold in units (fuel): its quantity is a volume.
with order_lines as (
    select *
    from {{ staged('order_lines') }}
),

orders as (
    select
        order_id,
        customer_id,
        ordered_at,
        {{ business_date('ordered_at') }} as order_date
    from {{ staged('orders') }}
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
        orders.order_date
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
        order_date
    from joined
)

select * from final
