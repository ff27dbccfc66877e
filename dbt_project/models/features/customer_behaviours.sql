-- How a customer buys, in the RFM window unless said otherwise: what patterns, needs and loyalty are told from. What was sold in units is read
-- twice: there are few kinds of products and few customers, but many pairs of them.
{%- set sold_lately -%}
    (
        select order_lines.*
        from {{ ref('core_order_lines') }} as order_lines
        inner join refresh
            on order_lines.ordered_at < refresh.as_of_at
                and order_lines.order_date >= {{ add_days('refresh.as_of_date', -var('rfm_window_days')) }}
        where order_lines.line_type = 'sale' and order_lines.units is not null
    )
{%- endset %}

with refresh as (
    select
        as_of_date,
        {{ business_midnight('as_of_date') }} as as_of_at
    from {{ source('control', 'refresh') }}
),

metrics as (
    select metrics.*
    from {{ ref('customer_order_metrics') }} as metrics
    inner join refresh on metrics.as_of_date = refresh.as_of_date
),

visits as (
    select
        customer_days.*,
        {{ days_between('customer_days.order_date', 'refresh.as_of_date') }} as age_days
    from {{ ref('customer_days') }} as customer_days
    inner join refresh on customer_days.order_date < refresh.as_of_date
),

-- In the RFM window.
totals as (
    select
        customer_id,
        sum(net_sales) as net_sales,
        sum(sale_gross_sales) as gross_sales,
        sum(sale_discounts) as discounts,
        sum(private_label_net_sales) as private_label_net_sales,
        sum(serviced_net_sales) as serviced_net_sales,
        sum(line_count) as line_count,
        sum(sale_line_count) as sale_line_count,
        sum(new_product_line_count) as new_product_line_count,
        sum(costed_line_count) as costed_line_count,
        sum(margin) as margin
    from visits
    where age_days <= {{ var('rfm_window_days') }}
    group by customer_id
),

products as (
    select
        product_id,
        dense_rank() over (order by category, subcategory) as kind_number
    from {{ ref('core_products') }}
),

-- What a unit of the same kind usually costs before discounts.
product_sales as (
    select
        order_lines.product_id,
        sum(order_lines.units) as units,
        sum(order_lines.gross_sales) as gross_sales
    from {{ sold_lately }} as order_lines
    group by order_lines.product_id
),

usual_prices as (
    select
        products.kind_number,
        {{ ratio('sum(product_sales.gross_sales)', 'sum(product_sales.units)', 4) }} as usual_price
    from product_sales
    inner join products on product_sales.product_id = products.product_id
    group by products.kind_number
),

product_prices as (
    select
        products.product_id,
        usual_prices.usual_price
    from products
    inner join usual_prices on products.kind_number = usual_prices.kind_number
),

prices as (
    select
        order_lines.customer_id,
        sum(order_lines.gross_sales) as gross_sales,
        sum(order_lines.units * product_prices.usual_price) as usual_gross_sales
    from {{ sold_lately }} as order_lines
    inner join product_prices on order_lines.product_id = product_prices.product_id
    group by order_lines.customer_id
),

-- The pause since the newest visit is a gap too.
gaps as (
    select
        customer_id,
        gap_days
    from visits
    where gap_days is not null and age_days <= {{ var('rfm_window_days') }}
    union all
    select
        customer_id,
        min(age_days) as gap_days
    from visits
    where age_days <= {{ var('rfm_window_days') }}
    group by customer_id
),

rhythms as (
    select
        customer_id,
        count(*) as count_gaps,
        sum(gap_days)::bigint as sum_of_gaps,
        sum(gap_days * gap_days)::bigint as sum_of_squared_gaps
    from gaps
    group by customer_id
),

months as (
    select
        customer_id,
        extract(month from order_date)::integer as month_number,
        count(*) as count_visits
    from visits
    group by customer_id, extract(month from order_date)
),

calendar_months as (
    select distinct month_number
    from months
),

-- Three months of the calendar from each month on, the year being a ring.
seasons as (
    select
        months.customer_id,
        starts.month_number,
        sum(case when (months.month_number - starts.month_number + 12) % 12 < 3 then months.count_visits else 0 end) as count_visits
    from months
    cross join calendar_months as starts
    group by months.customer_id, starts.month_number
),

best_seasons as (
    select
        customer_id,
        max(count_visits)::bigint as count_season_visits
    from seasons
    group by customer_id
),

lifetimes as (
    select
        customer_id,
        count(*) as count_lifetime_visits,
        count_if(age_days <= {{ var('rfm_window_days') }})::bigint as count_visits,
        count(distinct extract(year from order_date)) as count_years,
        count(distinct case
            when age_days <= {{ var('loyalty_period_days') }} * {{ var('loyalty_periods') }}
                then floor((age_days - 1) / {{ var('loyalty_period_days') }})
        end) as count_active_periods
    from visits
    group by customer_id
),

final as (
    select
        metrics.customer_id,
        metrics.as_of_date,
        coalesce(lifetimes.count_visits, 0) as count_visits,
        {{ quotient(
            spread('rhythms.count_gaps', 'rhythms.sum_of_gaps', 'rhythms.sum_of_squared_gaps'),
            quotient('rhythms.sum_of_gaps', 'rhythms.count_gaps')
        ) }} as gap_variation,
        case
            when metrics.tenure_days >= {{ var('seasonal_min_days') }} and lifetimes.count_years > 1
                then {{ quotient('best_seasons.count_season_visits', 'lifetimes.count_lifetime_visits') }}
        end as season_share,
        {{ quotient('totals.discounts', 'totals.gross_sales') }} as discount_share,
        {{ quotient('totals.private_label_net_sales', 'totals.net_sales') }} as private_label_share,
        {{ quotient('totals.serviced_net_sales', 'totals.net_sales') }} as serviced_share,
        {{ quotient('prices.gross_sales', 'prices.usual_gross_sales') }} as price_level,
        {{ quotient('totals.new_product_line_count', 'totals.sale_line_count') }} as new_product_share,
        case
            when metrics.tenure_days is not null
                then least({{ var('loyalty_periods') }}, ceil(metrics.tenure_days / {{ var('loyalty_period_days') }}.0))
        end::integer as count_periods,
        coalesce(lifetimes.count_active_periods, 0) as count_active_periods,
        case
            when totals.costed_line_count >= {{ var('min_costed_share') }} * totals.line_count then round(totals.margin, 2)::decimal(18, 2)
        end as contribution_margin
    from metrics
    left join rhythms on metrics.customer_id = rhythms.customer_id
    left join lifetimes on metrics.customer_id = lifetimes.customer_id
    left join best_seasons on metrics.customer_id = best_seasons.customer_id
    left join totals on metrics.customer_id = totals.customer_id
    left join prices on metrics.customer_id = prices.customer_id
)

select * from final
