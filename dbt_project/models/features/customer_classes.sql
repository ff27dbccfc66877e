-- Scores rank by mid-rank (the mean rank of equal values), so equal values always score alike, whatever the ties.
with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

metrics as (
    select metrics.*
    from {{ ref('customer_order_metrics') }} as metrics
    inner join refresh on metrics.as_of_date = refresh.as_of_date
),

buyers as (
    select
        customer_id,
        {{ quintile_score('-recency_days') }} as r_score,
        {{ quintile_score('frequency') }} as f_score,
        {{ quintile_score('monetary') }} as m_score
    from metrics
    where lifetime_count_orders > 0
),

rfm_grid as (
    select *
    from {{ ref('rfm_grid') }}
),

final as (
    select
        metrics.customer_id,
        metrics.as_of_date,
        metrics.as_of_at,
        buyers.r_score,
        buyers.f_score,
        buyers.m_score,
        case
            when metrics.lifetime_count_orders = 0 then 'prospects'
            when metrics.tenure_days <= {{ var('new_customer_days') }} then 'new'
            else rfm_grid.rfm_segment
        end as rfm_segment,
        case
            when metrics.lifetime_count_orders = 0 then 'prospect'
            when metrics.recency_days > {{ var('churned_after_days') }} then 'churned'
            when metrics.recency_days > {{ var('dormant_after_days') }} then 'dormant'
            when metrics.tenure_days <= {{ var('new_customer_days') }} then 'new'
            when metrics.longest_ended_gap_days > {{ var('dormant_after_days') }} then 'reactivated'
            when metrics.net_sales_current_window = metrics.net_sales_previous_window then 'mature'
            when metrics.net_sales_current_window >= {{ var('growth_ratio') }} * metrics.net_sales_previous_window then 'growing'
            when metrics.net_sales_previous_window >= {{ var('growth_ratio') }} * metrics.net_sales_current_window then 'declining'
            else 'mature'
        end as lifecycle_stage
    from metrics
    left join buyers on metrics.customer_id = buyers.customer_id
    left join rfm_grid
        on buyers.r_score = rfm_grid.r_score
        -- Frequency and money count alike; a half point counts up.
            and floor((buyers.f_score + buyers.m_score + 1) / 2) = rfm_grid.fm_score
)

select * from final
