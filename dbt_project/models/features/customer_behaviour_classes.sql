-- Patterns, needs and loyalty, the first rule that holds. Needs are told against customers who buy as often: so they say what a customer
-- wants, and not how much.
with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

behaviours as (
    select
        behaviours.*,
        metrics.avg_order_value,
        metrics.lifetime_count_orders,
        classes.f_score
    from {{ ref('customer_behaviours') }} as behaviours
    inner join refresh on behaviours.as_of_date = refresh.as_of_date
    inner join {{ ref('customer_order_metrics') }} as metrics
        on behaviours.customer_id = metrics.customer_id
            and behaviours.as_of_date = metrics.as_of_date
    inner join {{ ref('customer_classes') }} as classes
        on behaviours.customer_id = classes.customer_id
            and behaviours.as_of_date = classes.as_of_date
),

order_values as (
    select
        customer_id,
        {{ quintile_score('avg_order_value') }} as order_value_score
    from behaviours
    where lifetime_count_orders > 0
),

-- What is not known is in the middle. Rounded, so that equal sums of shares are equal.
shares as (
    select
        customer_id,
        f_score,
        round(
            case when discount_share is null then 0.5 else {{ rank_share('discount_share', 'f_score') }} end
            + case when private_label_share is null then 0.5 else {{ rank_share('private_label_share', 'f_score') }} end,
            9
        ) as price_share,
        price_level as quality_share,
        serviced_share as service_share,
        new_product_share as variety_share
    from behaviours
    where count_visits >= {{ var('min_visits_for_needs') }}
),

needs as (
    select
        customer_id,
        {%- for need in ['price', 'quality', 'service', 'variety'] %}
            case when {{ need }}_share is null then 0.5 else {{ rank_share(need ~ '_share', 'f_score') }} end as {{ need }}_rank,
        {%- endfor %}
        greatest(price_rank, quality_rank, service_rank, variety_rank) as highest_rank
    from shares
),

final as (
    select
        behaviours.customer_id,
        behaviours.as_of_date,
        case
            when behaviours.lifetime_count_orders = 0 then 'no_orders'
            when behaviours.count_visits < {{ var('min_visits_for_pattern') }} then 'sporadic'
            when behaviours.season_share >= {{ var('seasonal_share') }} then 'seasonal'
            when behaviours.f_score - order_values.order_value_score >= {{ var('pattern_score_gap') }} then 'frequent_low_spend'
            when order_values.order_value_score - behaviours.f_score >= {{ var('pattern_score_gap') }} then 'infrequent_high_spend'
            when behaviours.gap_variation <= {{ var('regular_gap_variation') }} then 'regular'
            else 'sporadic'
        end as purchase_pattern,
        case
            when behaviours.lifetime_count_orders = 0 then 'no_orders'
            when coalesce(needs.highest_rank, 0) < 1 - {{ var('needs_top_share') }} then 'balanced'
            when needs.price_rank = needs.highest_rank then 'price_sensitive'
            when needs.quality_rank = needs.highest_rank then 'quality_seeking'
            when needs.service_rank = needs.highest_rank then 'service_dependent'
            else 'variety_seeking'
        end as needs_type,
        case
            when behaviours.lifetime_count_orders = 0 then 'no_orders'
            when behaviours.count_periods < {{ var('loyalty_min_periods') }} then 'low'
            when
                behaviours.count_active_periods >= {{ var('loyalty_high_share') }} * behaviours.count_periods
                and behaviours.f_score >= {{ var('loyalty_high_f_score') }} then 'high'
            when behaviours.count_active_periods >= {{ var('loyalty_medium_share') }} * behaviours.count_periods then 'medium'
            else 'low'
        end as loyalty_tier
    from behaviours
    left join order_values on behaviours.customer_id = order_values.customer_id
    left join needs on behaviours.customer_id = needs.customer_id
)

select * from final
