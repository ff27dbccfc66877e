-- How much of a series is promoted in a week: its products that are on display, or in the mailer, in any store. Promotions are planned, so
-- weeks that have not begun are here as well; rows may repeat, so a product counts once. The rows are read in one pass.
{{ config(materialized='table') }}

with refresh as (
    select
        {{ week_start('as_of_date') }} as current_week,
        {{ add_days(week_start('as_of_date'), 7 * var('promotions_known_ahead_weeks')) }} as known_until
    from {{ source('control', 'refresh') }}
),

product_promotions as (
    select *
    from {{ ref('core_product_promotions') }}
),

products as (
    select
        product_id,
        department,
        concat(department, ' / ', category) as category
    from {{ ref('core_products') }}
),

weekly_sales as (
    select
        level,
        series_id,
        min(period_start) as first_period,
        max(period_start) as last_period
    from {{ ref('weekly_sales') }}
    where level in ('department', 'category', 'product')
    group by level, series_id
),

product_periods as (
    select
        product_id,
        period_start,
        period_end,
        bool_or(display is not null) as is_on_display,
        bool_or(mailer is not null) as is_in_mailer
    from product_promotions
    group by product_id, period_start, period_end
),

span as (
    select
        min(weekly_sales.first_period) as first_period,
        {{ add_days('max(refresh.known_until)', -7) }} as last_period
    from weekly_sales
    cross join refresh
),

calendar as (
    {{ calendar_days('(select first_period from span)', '(select last_period from span)') }}
),

weeks as (
    select
        business_date as period_start,
        {{ add_days('business_date', 6) }} as period_end
    from calendar
    where {{ week_start('business_date') }} = business_date
),

-- A promotion may begin within a week or span several.
product_weeks as (
    select
        product_periods.product_id,
        weeks.period_start,
        bool_or(product_periods.is_on_display) as is_on_display,
        bool_or(product_periods.is_in_mailer) as is_in_mailer
    from product_periods
    inner join weeks
        on product_periods.period_start <= weeks.period_end
            and product_periods.period_end >= weeks.period_start
    group by product_periods.product_id, weeks.period_start
),

category_weeks as (
    select
        products.department,
        products.category,
        product_weeks.period_start,
        count_if(product_weeks.is_on_display)::bigint as count_products_on_display,
        count_if(product_weeks.is_in_mailer)::bigint as count_products_in_mailer
    from product_weeks
    inner join products on product_weeks.product_id = products.product_id
    group by products.department, products.category, product_weeks.period_start
),

promoted as (
    select
        'department' as level,
        department as series_id,
        period_start,
        sum(count_products_on_display)::bigint as count_products_on_display,
        sum(count_products_in_mailer)::bigint as count_products_in_mailer
    from category_weeks
    group by department, period_start
    union all
    select
        'category' as level,
        category as series_id,
        period_start,
        sum(count_products_on_display)::bigint as count_products_on_display,
        sum(count_products_in_mailer)::bigint as count_products_in_mailer
    from category_weeks
    group by category, period_start
    union all
    select
        'product' as level,
        product_id as series_id,
        period_start,
        is_on_display::integer::bigint as count_products_on_display,
        is_in_mailer::integer::bigint as count_products_in_mailer
    from product_weeks
),

final as (
    select
        weekly_sales.level,
        weekly_sales.series_id,
        weeks.period_start,
        coalesce(promoted.count_products_on_display, 0) as count_products_on_display,
        coalesce(promoted.count_products_in_mailer, 0) as count_products_in_mailer
    from weekly_sales
    inner join weeks on weekly_sales.first_period <= weeks.period_start
    left join promoted
        on weekly_sales.level = promoted.level
            and weekly_sales.series_id = promoted.series_id
            and weeks.period_start = promoted.period_start
)

select * from final
