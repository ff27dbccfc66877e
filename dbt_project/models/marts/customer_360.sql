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
        classes.lifecycle_stage
    from metrics
    inner join current_day on metrics.as_of_date = current_day.as_of_date
    inner join classes
        on metrics.customer_id = classes.customer_id
            and metrics.as_of_date = classes.as_of_date
    inner join customers on metrics.customer_id = customers.customer_id
)

select * from final
