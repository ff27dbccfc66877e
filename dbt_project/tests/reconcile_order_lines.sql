-- What staging accepted before the newest day is what the mart holds: rows and sums.
{{ config(meta={'dagster': {'ref': {'name': 'order_lines'}}}) }}

with later_orders as (
    select orders.order_id
    from {{ staged('orders') }} as orders
    inner join {{ ref('current_day') }} as current_day on orders.ordered_at >= current_day.as_of_at
),

accepted as (
    select
        count(*) as row_count,
        coalesce(sum(order_lines.net_sales), 0) as net_sales
    from {{ staged('order_lines') }} as order_lines
    anti join later_orders on order_lines.order_id = later_orders.order_id
),

published as (
    select
        count(*) as row_count,
        coalesce(sum(net_sales), 0) as net_sales
    from {{ ref('order_lines') }}
)

select
    accepted.row_count as accepted_rows,
    published.row_count as published_rows,
    accepted.net_sales as accepted_net_sales,
    published.net_sales as published_net_sales
from accepted
cross join published
where accepted.row_count != published.row_count or accepted.net_sales != published.net_sales
