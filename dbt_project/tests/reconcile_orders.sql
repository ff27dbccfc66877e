-- The lines, the orders, the days and the customers tell the same total.
{{ config(meta={'dagster': {'ref': {'name': 'orders'}}}) }}

with totals as (
    select
        (select sum(net_sales) from {{ ref('order_lines') }}) as of_lines,
        (select sum(net_sales) from {{ ref('orders') }}) as of_orders,
        (select sum(net_sales) from {{ ref('kpi_daily') }}) as of_days,
        (select sum(lifetime_net_sales) from {{ ref('customer_360') }}) as of_customers,
        (select count(*) from {{ ref('orders') }}) as orders,
        (select sum(orders) from {{ ref('kpi_daily') }}) as orders_of_days,
        (select sum(lifetime_count_orders) from {{ ref('customer_360') }}) as orders_of_customers
)

select *
from totals
where of_lines is distinct from of_orders
    or of_orders is distinct from of_days
    or of_orders is distinct from of_customers
    or orders is distinct from orders_of_days
    or orders is distinct from orders_of_customers
