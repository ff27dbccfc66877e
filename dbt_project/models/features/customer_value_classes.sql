-- Key accounts: the fewest customers whose net sales in the RFM window come to the stated share. What drives one: ln(monetary / usual) =
-- ln(frequency / usual) + ln(order value / usual), the usual being the median of the buyers in the window.
with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

metrics as (
    select
        metrics.*,
        behaviours.contribution_margin
    from {{ ref('customer_order_metrics') }} as metrics
    inner join refresh on metrics.as_of_date = refresh.as_of_date
    inner join {{ ref('customer_behaviours') }} as behaviours
        on metrics.customer_id = behaviours.customer_id
            and metrics.as_of_date = behaviours.as_of_date
),

usual as (
    select
        median(frequency)::double as frequency,
        median(monetary / frequency)::double as order_value
    from metrics
    where frequency > 0
),

carriers as (
    select
        customer_id,
        {{ carries_share('monetary', var('key_account_sales_share')) }} as is_carrier
    from metrics
    where monetary > 0
),

drivers as (
    select
        metrics.customer_id,
        ln(metrics.frequency / usual.frequency) as frequency_lift,
        ln((metrics.monetary / metrics.frequency)::double / usual.order_value) as order_value_lift
    from metrics
    cross join usual
    where metrics.monetary > 0 and usual.order_value > 0
),

final as (
    select
        metrics.customer_id,
        metrics.as_of_date,
        coalesce(carriers.is_carrier, false) as is_key_account,
        case
            when not is_key_account then 'none'
            when
                drivers.frequency_lift > 0
                and drivers.frequency_lift >= {{ var('key_account_driver_share') }} * (drivers.frequency_lift + drivers.order_value_lift)
                then 'orders'
            when
                drivers.order_value_lift > 0
                and drivers.order_value_lift
                >= {{ var('key_account_driver_share') }} * (drivers.frequency_lift + drivers.order_value_lift)
                then 'order_value'
            else 'both'
        end as key_account_driver,
        metrics.contribution_margin,
        metrics.contribution_margin < 0 as is_unprofitable
    from metrics
    left join carriers on metrics.customer_id = carriers.customer_id
    left join drivers on metrics.customer_id = drivers.customer_id
)

select * from final
