-- Every day from the first order to the eve of the current day is there, days without an order with zeros.
with orders as (
    select *
    from {{ ref('orders') }}
),

span as (
    select
        min(orders.order_date) as first_date,
        {{ add_days('max(current_day.as_of_date)', -1) }} as last_date
    from orders
    cross join {{ ref('current_day') }} as current_day
),

calendar as (
    {{ calendar_days('(select first_date from span)', '(select last_date from span)') }}
),

daily as (
    select
        order_date,
        count(*) as orders,
        sum(line_count)::bigint as order_lines,
        sum(units)::decimal(18, 3) as units,
        sum(gross_sales)::decimal(18, 2) as gross_sales,
        sum(discounts)::decimal(18, 2) as discounts,
        sum(returns)::decimal(18, 2) as returns,
        sum(net_sales)::decimal(18, 2) as net_sales,
        sum(coupon_discounts)::decimal(18, 2) as coupon_discounts,
        count(distinct customer_id) as active_customers,
        count_if(new_vs_repeat = 'new')::bigint as new_customers
    from orders
    group by order_date
),

final as (
    select
        calendar.business_date,
        coalesce(daily.orders, 0) as orders,
        coalesce(daily.order_lines, 0) as order_lines,
        coalesce(daily.units, 0)::decimal(18, 3) as units,
        coalesce(daily.gross_sales, 0)::decimal(18, 2) as gross_sales,
        coalesce(daily.discounts, 0)::decimal(18, 2) as discounts,
        coalesce(daily.returns, 0)::decimal(18, 2) as returns,
        coalesce(daily.net_sales, 0)::decimal(18, 2) as net_sales,
        coalesce(daily.coupon_discounts, 0)::decimal(18, 2) as coupon_discounts,
        coalesce(daily.active_customers, 0) as active_customers,
        coalesce(daily.new_customers, 0) as new_customers,
        {{ ratio('daily.net_sales', 'daily.orders', 2) }} as avg_order_value
    from calendar
    left join daily on calendar.business_date = daily.order_date
)

select * from final
