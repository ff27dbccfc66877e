{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='as_of_date', on_schema_change='append_new_columns'
) }}

with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

scores as (
    select *
    from {{ source('scores', 'demand') }}
),

final as (
    select
        scores.level,
        scores.series_id,
        scores.period_start,
        scores.refresh_date as as_of_date,
        scores.forecast,
        scores.lower_80,
        scores.upper_80,
        scores.lower_95,
        scores.upper_95
    from scores
    inner join refresh on scores.refresh_date = refresh.as_of_date
)

select * from final
