{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='as_of_date', on_schema_change='append_new_columns'
) }}

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

scores as (
    select *
    from {{ source('scores', 'churn') }}
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
        classes.lifecycle_stage,
        coalesce(metrics.recency_days <= {{ var('dormant_after_days') }}, false) as is_eligible_for_churn,
        scores.churn_probability,
        case
            when scores.churn_probability >= {{ var('churn_risk_critical') }} then 'critical'
            when scores.churn_probability >= {{ var('churn_risk_high') }} then 'high'
            when scores.churn_probability >= {{ var('churn_risk_medium') }} then 'medium'
            when scores.churn_probability is not null then 'low'
        end as churn_risk_tier
    from metrics
    inner join refresh on metrics.as_of_date = refresh.as_of_date
    inner join classes
        on metrics.customer_id = classes.customer_id
            and metrics.as_of_date = classes.as_of_date
    left join scores
        on metrics.customer_id = scores.customer_id
            and metrics.as_of_date = scores.refresh_date
)

select * from final
