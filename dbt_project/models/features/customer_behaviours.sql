-- How a customer buys, in the RFM window unless said otherwise: what patterns, needs and loyalty are told from.
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

department_groups as (
    select *
    from {{ ref('department_groups') }}
    where source = '{{ var("source") }}'
),

products as (
    select
        products.product_id,
        products.category,
        products.subcategory,
        products.unit_cost,
        products.brand = '{{ var("private_label_brand") }}' as is_private_label,
        coalesce(department_groups.is_serviced, false) as is_serviced
    from {{ ref('core_products') }} as products
    left join department_groups on products.department = department_groups.department
),

order_lines as (
    select
        order_lines.customer_id,
        order_lines.product_id,
        order_lines.quantity,
        order_lines.gross_sales,
        order_lines.discounts,
        order_lines.net_sales,
        order_lines.order_date,
        products.category,
        products.subcategory,
        products.is_private_label,
        products.is_serviced,
        order_lines.line_type = 'sale' as is_sale,
        case when order_lines.line_type = 'sale' then order_lines.units end as units_sold,
        (order_lines.quantity * products.unit_cost)::decimal(18, 4) as cost,
        {{ days_between('order_lines.order_date', 'refresh.as_of_date') }} <= {{ var('rfm_window_days') }} as is_in_window
    from {{ ref('core_order_lines') }} as order_lines
    inner join refresh on order_lines.ordered_at < refresh.as_of_at
    inner join products on order_lines.product_id = products.product_id
),

-- What a unit of the same kind usually costs before discounts.
usual_prices as (
    select
        category,
        subcategory,
        {{ ratio('sum(gross_sales)', 'sum(units_sold)', 4) }} as usual_price
    from order_lines
    where is_in_window and units_sold is not null
    group by category, subcategory
),

first_purchases as (
    select
        customer_id,
        product_id,
        min(order_date) as first_order_date
    from order_lines
    where is_sale
    group by customer_id, product_id
),

baskets as (
    select
        order_lines.customer_id,
        sum(order_lines.net_sales) as net_sales,
        sum(order_lines.gross_sales) filter (where order_lines.is_sale) as gross_sales,
        sum(order_lines.discounts) filter (where order_lines.is_sale) as discounts,
        sum(order_lines.net_sales) filter (where order_lines.is_private_label) as private_label_net_sales,
        sum(order_lines.net_sales) filter (where order_lines.is_serviced) as serviced_net_sales,
        sum(order_lines.gross_sales) filter (where order_lines.units_sold is not null) as priced_gross_sales,
        sum((order_lines.units_sold * usual_prices.usual_price)::decimal(18, 4)) as usual_gross_sales,
        count(*) as line_count,
        count_if(order_lines.is_sale) as sale_count,
        count_if(order_lines.is_sale and order_lines.order_date = first_purchases.first_order_date) as new_product_count,
        count(order_lines.cost) as costed_count,
        sum((order_lines.net_sales - order_lines.cost)::decimal(18, 4)) as margin
    from order_lines
    left join usual_prices
        on order_lines.category = usual_prices.category
            and order_lines.subcategory = usual_prices.subcategory
    left join first_purchases
        on order_lines.customer_id = first_purchases.customer_id
            and order_lines.product_id = first_purchases.product_id
    where order_lines.is_in_window
    group by order_lines.customer_id
),

order_days as (
    select distinct
        orders.customer_id,
        orders.order_date,
        refresh.as_of_date
    from {{ ref('core_orders') }} as orders
    inner join refresh on orders.ordered_at < refresh.as_of_at
),

visits as (
    select
        customer_id,
        order_date,
        {{ days_between('order_date', 'as_of_date') }} as age_days,
        {{ days_between('lag(order_date) over (partition by customer_id order by order_date)', 'order_date') }} as gap_days
    from order_days
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
        {{ quotient('baskets.discounts', 'baskets.gross_sales') }} as discount_share,
        {{ quotient('coalesce(baskets.private_label_net_sales, 0)', 'baskets.net_sales') }} as private_label_share,
        {{ quotient('coalesce(baskets.serviced_net_sales, 0)', 'baskets.net_sales') }} as serviced_share,
        {{ quotient('baskets.priced_gross_sales', 'baskets.usual_gross_sales') }} as price_level,
        {{ quotient('baskets.new_product_count', 'baskets.sale_count') }} as new_product_share,
        case
            when metrics.tenure_days is not null
                then least({{ var('loyalty_periods') }}, ceil(metrics.tenure_days / {{ var('loyalty_period_days') }}.0))
        end::integer as count_periods,
        coalesce(lifetimes.count_active_periods, 0) as count_active_periods,
        case
            when baskets.costed_count >= {{ var('min_costed_share') }} * baskets.line_count then round(baskets.margin, 2)::decimal(18, 2)
        end as contribution_margin
    from metrics
    left join rhythms on metrics.customer_id = rhythms.customer_id
    left join lifetimes on metrics.customer_id = lifetimes.customer_id
    left join best_seasons on metrics.customer_id = best_seasons.customer_id
    left join baskets on metrics.customer_id = baskets.customer_id
)

select * from final
