-- What followed a cut-off: from its midnight on, and only where the whole window lies before the refreshed day. A table: a window
-- that closes gives its rows their labels.
{{ config(materialized='table') }}

with {{ follow_up(var('churn_window_days')) }},

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
