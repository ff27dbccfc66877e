-- Business days from the first order to the eve of the refreshed day, days without sales with zeros: what a calendar of weekdays,
-- holidays and paydays is learnt from.
{{ config(materialized='table') }}

with refresh as (
    select as_of_date
    from {{ source('control', 'refresh') }}
),

sales as (
    select
        product_days.order_date,
        products.department,
        sum(product_days.net_sales) as net_sales,
        sum(product_days.units) as units
    from {{ ref('product_days') }} as product_days
    inner join refresh on {{ is_before('product_days.order_date', 'refresh.as_of_date') }}
    inner join {{ ref('core_products') }} as products on product_days.product_id = products.product_id
    group by product_days.order_date, products.department
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
