-- Business days from the first order to the eve of the refreshed day, days without sales with zeros: what a calendar of weekdays,
-- holidays and paydays is learnt from.
{{ config(materialized='table') }}

with refresh as (
    select
        as_of_date,
        {{ business_midnight('as_of_date') }} as as_of_at
    from {{ source('control', 'refresh') }}
),

sales as (
    select
        order_lines.order_date,
        products.department,
        sum(order_lines.net_sales) as net_sales,
        sum(order_lines.units) as units
    from {{ ref('core_order_lines') }} as order_lines
    inner join refresh on order_lines.ordered_at < refresh.as_of_at
    inner join {{ ref('core_products') }} as products on order_lines.product_id = products.product_id
    group by order_lines.order_date, products.department
),

observed as (
    select
        'total' as level,
        'total' as series_id,
        order_date,
        sum(net_sales) as net_sales,
        sum(units) as units
    from sales
    group by order_date
    union all
    select
        'department' as level,
        department as series_id,
        order_date,
        net_sales,
        units
    from sales
),

series as (
    select
        level,
        series_id,
        min(order_date) as first_date
    from observed
    group by level, series_id
),

span as (
    select
        min(sales.order_date) as first_date,
        {{ add_days('max(refresh.as_of_date)', -1) }} as last_date
    from sales
    cross join refresh
),

calendar as (
    {{ calendar_days('(select first_date from span)', '(select last_date from span)') }}
),

final as (
    select
        series.level,
        series.series_id,
        calendar.business_date,
        coalesce(observed.net_sales, 0)::decimal(18, 2) as net_sales,
        coalesce(observed.units, 0)::decimal(18, 3) as units
    from series
    inner join calendar on series.first_date <= calendar.business_date
    left join observed
        on series.level = observed.level
            and series.series_id = observed.series_id
            and calendar.business_date = observed.order_date
)

select * from final
