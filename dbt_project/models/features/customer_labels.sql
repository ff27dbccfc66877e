-- What followed a cut-off: from its midnight on, and only where the whole window lies before the refreshed day. A table: a window
-- that closes gives its rows their labels.
{{ config(materialized='table') }}

with refresh as (
    select as_of_date as refreshed_date
    from {{ source('control', 'refresh') }}
),

customer_features as (
    select
        customer_id,
        as_of_date,
        recency_days,
        {{ add_days('as_of_date', var('churn_window_days')) }} as window_end_date
    from {{ ref('customer_features') }}
),

customer_days as (
    select *
    from {{ ref('customer_days') }}
),

cut_offs as (
    select distinct
        as_of_date,
        window_end_date
    from customer_features
),

-- Of the windows that have closed; those of a cut-off overlap, so a day may count for several.
followed as (
    select
        customer_days.customer_id,
        cut_offs.as_of_date,
        sum(customer_days.count_orders)::bigint as count_orders,
        sum(customer_days.net_sales)::decimal(18, 2) as net_sales
    from cut_offs
    inner join refresh on cut_offs.window_end_date <= refresh.refreshed_date
    inner join customer_days
        on cut_offs.as_of_date <= customer_days.order_date
            and cut_offs.window_end_date > customer_days.order_date
    group by customer_days.customer_id, cut_offs.as_of_date
),

final as (
    select
        customer_features.customer_id,
        customer_features.as_of_date,
        customer_features.window_end_date,
        customer_features.window_end_date <= refresh.refreshed_date as is_label_closed,
        customer_features.recency_days <= {{ var('dormant_after_days') }} as is_eligible_for_churn,
        case when is_label_closed and is_eligible_for_churn then followed.customer_id is null end as has_churned,
        case when is_label_closed then coalesce(followed.count_orders, 0) end as count_orders_next_window,
        case when is_label_closed then coalesce(followed.net_sales, 0)::decimal(18, 2) end as net_sales_next_window
    from customer_features
    cross join refresh
    left join followed
        on customer_features.customer_id = followed.customer_id
            and customer_features.as_of_date = followed.as_of_date
)

select * from final
