{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='as_of_date') }}

with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

metrics as (
    select *
    from {{ ref('customer_order_metrics') }}
),

classes as (
    select *
    from {{ ref('customer_classes') }}
),

final as (
    select
        metrics.customer_id,
        metrics.as_of_date,
        metrics.lifetime_count_orders,
        metrics.lifetime_net_sales,
        metrics.recency_days,
        metrics.frequency,
        metrics.monetary,
        classes.r_score,
        classes.f_score,
        classes.m_score,
        classes.rfm_segment,
        classes.lifecycle_stage
    from metrics
    inner join refresh on metrics.as_of_date = refresh.as_of_date
    inner join classes
        on metrics.customer_id = classes.customer_id
            and metrics.as_of_date = classes.as_of_date
)

select * from final
