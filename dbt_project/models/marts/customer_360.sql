-- The newest day of the history, with what the customer told and did, and why the models say what they say.
with current_day as (
    select *
    from {{ ref('current_day') }}
),

history as (
    select history.*
    from {{ ref('customer_360_history') }} as history
    inner join current_day on history.as_of_date = current_day.as_of_date
),

metrics as (
    select *
    from {{ ref('customer_order_metrics') }}
),

behaviours as (
    select *
    from {{ ref('customer_behaviours') }}
),

customers as (
    select *
    from {{ ref('core_customers') }}
),

churn_scores as (
    select *
    from {{ source('scores', 'churn') }}
),

next_products as (
    select *
    from {{ ref('product_recommendations') }}
    where rank = 1
),

final as (
    select
        history.customer_id,
        history.as_of_date,
        customers.age_band,
        customers.income_band,
        customers.household_size,
        customers.marital_status,
        customers.home_ownership,
        customers.kids_count,
        customers.household_type,
        customers.region,
        customers.country,
        customers.gender,
        customers.occupation,
        customers.acquisition_channel,
        customers.has_marketing_consent,
        customers.email_key,
        customers.phone_key,
        metrics.first_order_at,
        metrics.last_order_at,
        metrics.tenure_days,
        history.lifetime_count_orders,
        history.lifetime_net_sales,
        metrics.avg_order_value,
        metrics.average_days_between_orders,
        metrics.preferred_store_id,
        history.recency_days,
        history.frequency,
        history.monetary,
        history.r_score,
        history.f_score,
        history.m_score,
        history.rfm_segment,
        history.lifecycle_stage,
        history.value_tier,
        history.potential_value,
        history.is_key_account,
        history.key_account_driver,
        history.key_account_probability,
        history.contribution_margin,
        history.is_unprofitable,
        history.purchase_pattern,
        history.needs_type,
        history.loyalty_tier,
        behaviours.discount_share,
        behaviours.private_label_share,
        behaviours.serviced_share,
        behaviours.price_level,
        behaviours.new_product_share,
        behaviours.gap_variation,
        history.segment_id,
        history.segment_label,
        history.is_eligible_for_churn,
        history.churn_probability,
        history.churn_risk_tier,
        churn_scores.reason_1 as churn_reason_1,
        churn_scores.reason_2 as churn_reason_2,
        churn_scores.reason_3 as churn_reason_3,
        history.historic_clv,
        history.predicted_clv,
        history.predicted_clv_lower_80,
        history.predicted_clv_upper_80,
        history.total_clv,
        next_products.product_id as next_product_id,
        next_products.category as next_category,
        history.next_order_expected_at
    from history
    inner join metrics
        on history.customer_id = metrics.customer_id
            and history.as_of_date = metrics.as_of_date
    inner join behaviours
        on history.customer_id = behaviours.customer_id
            and history.as_of_date = behaviours.as_of_date
    inner join customers on history.customer_id = customers.customer_id
    left join churn_scores
        on history.customer_id = churn_scores.customer_id
            and history.as_of_date = churn_scores.refresh_date
    left join next_products on history.customer_id = next_products.customer_id
)

select * from final
