with current_day as (
    select *
    from {{ ref('current_day') }}
),

history as (
    select *
    from {{ ref('demand_forecast_history') }}
),

final as (
    select history.*
    from history
    inner join current_day on history.as_of_date = current_day.as_of_date
)

select * from final
