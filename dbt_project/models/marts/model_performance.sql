{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='as_of_date', on_schema_change='append_new_columns'
) }}

with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

performance as (
    select *
    from {{ source('scores', 'performance') }}
),

final as (
    select
        performance.model,
        performance.version,
        performance.role,
        performance.split,
        performance.split_start,
        performance.split_end,
        performance.metric,
        performance.value,
        performance.lower,
        performance.upper,
        performance.refresh_date as as_of_date
    from performance
    inner join refresh on performance.refresh_date = refresh.as_of_date
)

select * from final
