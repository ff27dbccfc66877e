-- The behavioural segments of the newest day, and those without one.
with customer_360 as (
    select
        *,
        coalesce(segment_label, 'none') as label
    from {{ ref('customer_360') }}
),

segments as (
    select
        refresh_date,
        segment_label,
        max(segment_traits) as traits,
        max(segment_rule) as rule
    from {{ source('scores', 'segments') }}
    where segment_label is not null
    group by refresh_date, segment_label
),

products as (
    select *
    from {{ ref('core_products') }}
),

category_sales as (
    select
        customer_360.label,
        products.category,
        sum(order_lines.net_sales) as net_sales
    from {{ ref('core_order_lines') }} as order_lines
    inner join {{ ref('current_day') }} as current_day on {{ is_before('order_lines.ordered_at', 'current_day.as_of_at') }}
    inner join customer_360 on order_lines.customer_id = customer_360.customer_id
    inner join products on order_lines.product_id = products.product_id
    where {{ days_between('order_lines.order_date', 'current_day.as_of_date') }} <= {{ var('rfm_window_days') }}
    group by customer_360.label, products.category
),

-- How much more of the segment's money goes there than of everybody's.
category_shares as (
    select
        label,
        category,
        net_sales,
        {{ quotient('net_sales', 'sum(net_sales) over (partition by label)') }} as share_in_segment,
        {{ quotient('sum(net_sales) over (partition by category)', 'sum(net_sales) over ()') }} as share_in_all
    from category_sales
),

ranked_categories as (
    select
        label,
        category,
        share_in_segment,
        row_number() over (partition by label order by net_sales desc, category asc) as top_rank,
        round(share_in_segment - share_in_all, 9) > 0 as is_distinctive,
        row_number() over (
            partition by label order by round(share_in_segment - share_in_all, 9) desc, category asc
        ) as distinctive_rank
    from category_shares
    where net_sales > 0
),

categories as (
    select
        label,
        listagg(case when top_rank <= 5 then category end, ', ' order by top_rank) as top_categories,
        listagg(case when is_distinctive and distinctive_rank <= 5 then category end, ', ' order by distinctive_rank) as distinctive_categories
    from ranked_categories
    group by label
),

sizes as (
    select
        label,
        max(as_of_date) as as_of_date,
        max(segment_id) as segment_id,
        count(*) as customers,
        sum(monetary)::decimal(18, 2) as net_sales,
        {{ ratio('sum(monetary)', 'count(*)', 2) }} as avg_net_sales,
        {{ ratio('sum(frequency)', 'count(*)', 2) }} as avg_frequency,
        {{ ratio('sum(monetary)', 'nullif(sum(frequency), 0)', 2) }} as avg_order_value,
        {{ ratio('sum(recency_days)', 'count(recency_days)', 1) }} as avg_recency_days,
        {{ ratio('sum(predicted_clv)', 'count(predicted_clv)', 2) }} as avg_predicted_clv,
        {{ ratio('sum(churn_probability)', 'count(churn_probability)', 6) }} as avg_churn_probability,
        {{ ratio('count_if(is_key_account)', 'count(*)', 6) }} as key_account_share
    from customer_360
    group by label
),

final as (
    select
        sizes.label as segment_label,
        sizes.as_of_date,
        sizes.segment_id,
        segments.traits,
        segments.rule,
        sizes.customers,
        ({{ ratio('sizes.customers', 'sum(sizes.customers) over ()', 6) }})::decimal(9, 6) as share_of_customers,
        sizes.net_sales,
        ({{ ratio('sizes.net_sales', 'nullif(sum(sizes.net_sales) over (), 0)', 6) }})::decimal(9, 6) as share_of_sales,
        sizes.avg_net_sales,
        sizes.avg_frequency,
        sizes.avg_order_value,
        sizes.avg_recency_days,
        sizes.avg_predicted_clv,
        sizes.avg_churn_probability::decimal(9, 6) as avg_churn_probability,
        sizes.key_account_share::decimal(9, 6) as key_account_share,
        categories.top_categories,
        categories.distinctive_categories
    from sizes
    left join segments
        on sizes.label = segments.segment_label
            and sizes.as_of_date = segments.refresh_date
    left join categories on sizes.label = categories.label
)

select * from final
