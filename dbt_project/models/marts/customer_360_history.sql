-- The one place where scores become classes.
{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='as_of_date', on_schema_change='append_new_columns'
) }}

with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

metrics as (
    select metrics.*
    from {{ ref('customer_order_metrics') }} as metrics
    inner join refresh on metrics.as_of_date = refresh.as_of_date
),

classes as (
    select *
    from {{ ref('customer_classes') }}
),

behaviour_classes as (
    select *
    from {{ ref('customer_behaviour_classes') }}
),

value_classes as (
    select *
    from {{ ref('customer_value_classes') }}
),

churn_scores as (
    select *
    from {{ source('scores', 'churn') }}
),

value_scores as (
    select *
    from {{ source('scores', 'value') }}
),

segments as (
    select *
    from {{ source('scores', 'segments') }}
),

gaps as (
    select
        customer_id,
        as_of_date,
        as_of_at,
        mean_residual_gap_days
    from {{ ref('customer_features') }}
),

-- What a customer is expected to bring; where no model may say it, what the last growth window brought stands for it.
values_of_buyers as (
    select
        metrics.customer_id,
        metrics.monetary,
        coalesce(value_scores.predicted_clv, metrics.net_sales_current_window) as potential_value
    from metrics
    left join value_scores
        on metrics.customer_id = value_scores.customer_id
            and metrics.as_of_date = value_scores.refresh_date
    where metrics.lifetime_count_orders > 0
),

value_ranks as (
    select
        customer_id,
        potential_value,
        monetary > 0 and {{ rank_share('monetary') }} >= 1 - {{ var('high_value_share') }} as is_of_high_value,
        potential_value > 0 and {{ rank_share('potential_value') }} >= 1 - {{ var('high_value_share') }} as is_of_high_potential
    from values_of_buyers
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
        case
            when value_ranks.is_of_high_value and value_ranks.is_of_high_potential then 'diamond'
            when value_ranks.is_of_high_value then 'gold'
            when value_ranks.is_of_high_potential then 'silver'
            else 'bronze'
        end as value_tier,
        coalesce(value_ranks.potential_value, 0)::decimal(18, 2) as potential_value,
        value_classes.is_key_account,
        value_classes.key_account_driver,
        value_scores.key_account_probability,
        value_classes.contribution_margin,
        value_classes.is_unprofitable,
        behaviour_classes.purchase_pattern,
        behaviour_classes.needs_type,
        behaviour_classes.loyalty_tier,
        segments.segment_id,
        segments.segment_label,
        coalesce(metrics.recency_days <= {{ var('dormant_after_days') }}, false) as is_eligible_for_churn,
        churn_scores.churn_probability,
        case
            when churn_scores.churn_probability >= {{ var('churn_risk_critical') }} then 'critical'
            when churn_scores.churn_probability >= {{ var('churn_risk_high') }} then 'high'
            when churn_scores.churn_probability >= {{ var('churn_risk_medium') }} then 'medium'
            when churn_scores.churn_probability is not null then 'low'
        end as churn_risk_tier,
        metrics.lifetime_net_sales as historic_clv,
        value_scores.predicted_clv,
        value_scores.lower_80 as predicted_clv_lower_80,
        value_scores.upper_80 as predicted_clv_upper_80,
        (metrics.lifetime_net_sales + value_scores.predicted_clv)::decimal(18, 2) as total_clv,
        -- What was left of the customer's own gaps that lasted as long as this one.
        gaps.as_of_at + {{ hours('24 * gaps.mean_residual_gap_days') }} as next_order_expected_at
    from metrics
    inner join classes
        on metrics.customer_id = classes.customer_id
            and metrics.as_of_date = classes.as_of_date
    inner join behaviour_classes
        on metrics.customer_id = behaviour_classes.customer_id
            and metrics.as_of_date = behaviour_classes.as_of_date
    inner join value_classes
        on metrics.customer_id = value_classes.customer_id
            and metrics.as_of_date = value_classes.as_of_date
    left join value_ranks on metrics.customer_id = value_ranks.customer_id
    left join churn_scores
        on metrics.customer_id = churn_scores.customer_id
            and metrics.as_of_date = churn_scores.refresh_date
    left join value_scores
        on metrics.customer_id = value_scores.customer_id
            and metrics.as_of_date = value_scores.refresh_date
    left join gaps
        on metrics.customer_id = gaps.customer_id
            and metrics.as_of_date = gaps.as_of_date
    left join segments
        on metrics.customer_id = segments.customer_id
            and metrics.as_of_date = segments.refresh_date
)

select * from final
