-- What goes into the facts of each day in one fingerprint: its orders, their lines, and the products in them as they are described now.
-- Rows that come late, change or go change the fingerprints of exactly their days, and the facts build those again.
with orders as (
    select
        order_id,
        {{ business_date('ordered_at') }} as order_date,
        {{ row_hash(['order_id', 'customer_id', 'store_id', 'status', 'channel', 'currency', 'ordered_at']) }} as order_hash
    from {{ staged('orders') }}
),

order_lines as (
    select *
    from {{ staged('order_lines') }}
),

products as (
    select
        product_id,
        {{ row_hash(['product_id', 'department', 'category', 'subcategory', 'brand', 'is_sold_in_units', 'unit_cost']) }} as product_hash
    from {{ ref('core_products') }}
),

inputs as (
    select
        order_date,
        order_hash as input_hash
    from orders
    union all
    select
        orders.order_date,
        {{ row_hash([
            'orders.order_hash', 'products.product_hash', 'order_lines.order_line_id', 'order_lines.product_id', 'order_lines.quantity',
            'order_lines.gross_sales', 'order_lines.discounts', 'order_lines.net_sales', 'order_lines.coupon_discounts',
        ]) }} as input_hash
    from order_lines
    inner join orders on order_lines.order_id = orders.order_id
    left join products on order_lines.product_id = products.product_id
),

final as (
    select
        order_date,
        count(*) as input_count,
        md5(concat_ws(' ', count(*)::varchar, sum(input_hash)::varchar)) as input_fingerprint
    from inputs
    group by order_date
)

select * from final
