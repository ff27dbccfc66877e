{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='as_of_date', on_schema_change='append_new_columns'
) }}

with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

scores as (
    select *
    from {{ source('scores', 'recommendations') }}
),

final as (
    select
        scores.customer_id,
        scores.refresh_date as as_of_date,
        scores.rank,
        scores.list,
        scores.list_rank,
        scores.product_id,
        scores.score,
        scores.reason,
        scores.is_new_to_customer,
        scores.method,
        scores.listed_on
    from scores
    inner join refresh on scores.refresh_date = refresh.as_of_date
)

select * from final
