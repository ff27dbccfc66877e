{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='as_of_date', on_schema_change='append_new_columns'
) }}

with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

monitoring as (
    select *
    from {{ source('scores', 'monitoring') }}
),

final as (
    select
        monitoring.model,
        monitoring.kind,
        monitoring.metric,
        monitoring.value,
        monitoring.expected,
        monitoring.warn_limit,
        monitoring.block_limit,
        monitoring.status,
        monitoring.row_count,
        monitoring.compared_with,
        monitoring.refresh_date as as_of_date
    from monitoring
    inner join refresh on monitoring.refresh_date = refresh.as_of_date
)

select * from final
