with current_day as (
    select *
    from {{ ref('current_day') }}
),

metrics as (
    select *
    from {{ ref('customer_order_metrics') }}
),

classes as (
    select *
    from {{ ref('customer_classes') }}
),

customers as (
    select *
    from {{ ref('core_customers') }}
),

-- The newest day of the history is the one place where scores become classes.
history as (
    select *
    from {{ ref('customer_360_history') }}
),

scores as (
    select *
    from {{ source('scores', 'churn') }}
),

final as (
    select
        metrics.customer_id,
        metrics.as_of_date,
        customers.age_band,
        customers.income_band,
        customers.household_size,
        customers.marital_status,
        customers.home_ownership,
        customers.kids_count,
        metrics.first_order_at,
        metrics.last_order_at,
        metrics.tenure_days,
        metrics.lifetime_count_orders,
        metrics.lifetime_net_sales,
        metrics.avg_order_value,
        metrics.average_days_between_orders,
        metrics.preferred_store_id,
        metrics.recency_days,
        metrics.frequency,
        metrics.monetary,
        classes.r_score,
        classes.f_score,
        classes.m_score,
        classes.rfm_segment,
        classes.lifecycle_stage,
        history.is_eligible_for_churn,
        history.churn_probability,
        history.churn_risk_tier,
        scores.reason_1 as churn_reason_1,
        scores.reason_2 as churn_reason_2,
        scores.reason_3 as churn_reason_3
    from metrics
    inner join current_day on metrics.as_of_date = current_day.as_of_date
    inner join classes
        on metrics.customer_id = classes.customer_id
            and metrics.as_of_date = classes.as_of_date
    inner join customers on metrics.customer_id = customers.customer_id
    inner join history
        on metrics.customer_id = history.customer_id
            and metrics.as_of_date = history.as_of_date
    left join scores
        on metrics.customer_id = scores.customer_id
            and metrics.as_of_date = scores.refresh_date
)

select * from final
