with current_day as (
    select *
    from {{ ref('current_day') }}
),

history as (
    select *
    from {{ ref('demand_forecast_history') }}
),

final as (
    select
        history.level,
        history.series_id,
        history.period_start,
        history.as_of_date,
        history.forecast,
        history.lower_80,
        history.upper_80,
        history.lower_95,
        history.upper_95
    from history
    inner join current_day on history.as_of_date = current_day.as_of_date
)

select * from final
