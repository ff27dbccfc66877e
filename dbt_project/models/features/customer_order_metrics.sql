-- Strictly before the day: what is ordered from its midnight on is not seen.
with refresh as (
    select
        as_of_date,
        {{ business_midnight('as_of_date') }} as as_of_at
    from {{ source('control', 'refresh') }}
),

customers as (
    select
        customers.customer_id,
        refresh.as_of_date,
        refresh.as_of_at
    from {{ ref('core_customers') }} as customers
    cross join refresh
    where customers.first_seen_at is null or customers.first_seen_at < refresh.as_of_at
),

orders as (
    select
        orders.*,
        refresh.as_of_date,
        lag(orders.order_date) over (
            partition by orders.customer_id order by orders.customer_order_seq_number
        ) as previous_order_date
    from {{ ref('core_orders') }} as orders
    inner join refresh on orders.ordered_at < refresh.as_of_at
),

totals as (
    select
        customer_id,
        min(ordered_at) as first_order_at,
        max(ordered_at) as last_order_at,
        min(order_date) as first_order_date,
        max(order_date) as last_order_date,
        -- The longest pause that an order of the activity window ended.
        max({{ days_between('previous_order_date', 'order_date') }}) filter (
            where {{ days_between('order_date', 'as_of_date') }} <= {{ var('dormant_after_days') }}
        ) as longest_ended_gap_days,
        count(*) as lifetime_count_orders,
        sum(net_sales)::decimal(18, 2) as lifetime_net_sales,
        count_if(
            {{ days_between('order_date', 'as_of_date') }} <= {{ var('rfm_window_days') }}
        )::bigint as frequency,
        coalesce(sum(net_sales) filter (
            where {{ days_between('order_date', 'as_of_date') }} <= {{ var('rfm_window_days') }}
        ), 0)::decimal(18, 2) as monetary,
        coalesce(sum(net_sales) filter (
            where {{ days_between('order_date', 'as_of_date') }} <= {{ var('growth_window_days') }}
        ), 0)::decimal(18, 2) as net_sales_current_window,
        coalesce(sum(net_sales) filter (
            where {{ days_between('order_date', 'as_of_date') }} between
            {{ var('growth_window_days') }} + 1 and 2 * {{ var('growth_window_days') }}
        ), 0)::decimal(18, 2) as net_sales_previous_window
    from orders
    group by customer_id
),

store_orders as (
    select
        customer_id,
        store_id,
        row_number() over (partition by customer_id order by count(*) desc, store_id) as store_rank
    from orders
    where store_id is not null
    group by customer_id, store_id
),

final as (
    select
        customers.customer_id,
        customers.as_of_date,
        customers.as_of_at,
        totals.first_order_at,
        totals.last_order_at,
        {{ days_between('totals.first_order_date', 'customers.as_of_date') }} as tenure_days,
        {{ days_between('totals.last_order_date', 'customers.as_of_date') }} as recency_days,
        totals.longest_ended_gap_days,
        coalesce(totals.lifetime_count_orders, 0) as lifetime_count_orders,
        coalesce(totals.lifetime_net_sales, 0)::decimal(18, 2) as lifetime_net_sales,
        {{ ratio('totals.lifetime_net_sales', 'totals.lifetime_count_orders', 2) }} as avg_order_value,
        {{ ratio(
            days_between('totals.first_order_date', 'totals.last_order_date'),
            'nullif(totals.lifetime_count_orders - 1, 0)',
            2
        ) }} as average_days_between_orders,
        coalesce(totals.frequency, 0) as frequency,
        coalesce(totals.monetary, 0)::decimal(18, 2) as monetary,
        coalesce(totals.net_sales_current_window, 0)::decimal(18, 2) as net_sales_current_window,
        coalesce(totals.net_sales_previous_window, 0)::decimal(18, 2) as net_sales_previous_window,
        store_orders.store_id as preferred_store_id
    from customers
    left join totals on customers.customer_id = totals.customer_id
    left join store_orders
        on customers.customer_id = store_orders.customer_id
            and store_orders.store_rank = 1
)

select * from final
