-- What customers were worth from a cut-off's midnight on, and who then was a key account: by the rule of customer_value_classes, in the
-- value window. Only where the whole window lies before the refreshed day. A table: a window that closes gives its rows their labels.
{{ config(materialized='table') }}

with {{ follow_up(var('value_window_days')) }},

labels as (
    select
        customer_features.customer_id,
        customer_features.as_of_date,
        customer_features.window_end_date,
        customer_features.window_end_date <= refresh.refreshed_date as is_label_closed,
        case when is_label_closed then coalesce(followed.net_sales, 0)::decimal(18, 2) end as net_sales_value_window
    from customer_features
    cross join refresh
    left join followed
        on customer_features.customer_id = followed.customer_id
            and customer_features.as_of_date = followed.as_of_date
),

carriers as (
    select
        customer_id,
        as_of_date,
        {{ carries_share('net_sales_value_window', var('key_account_sales_share'), 'as_of_date') }} as is_carrier
    from labels
    where net_sales_value_window > 0
),

final as (
    select
        labels.customer_id,
        labels.as_of_date,
        labels.window_end_date,
        labels.is_label_closed,
        labels.net_sales_value_window,
        case when labels.is_label_closed then coalesce(carriers.is_carrier, false) end as becomes_key_account
    from labels
    left join carriers
        on labels.customer_id = carriers.customer_id
            and labels.as_of_date = carriers.as_of_date
)

select * from final
