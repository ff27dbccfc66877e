-- A table: which categories, products and stores are series of their own is decided on the refreshed day, by the sales before it.
-- A week is seen once it is over.
{%- set top = {'category': var('forecast_categories'), 'store': var('forecast_stores')} %}
{{ config(materialized='table') }}

with refresh as (
    select {{ week_start('as_of_date') }} as current_week
    from {{ source('control', 'refresh') }}
),

products as (
    select
        product_id,
        department,
        concat(department, ' / ', category) as category
    from {{ ref('core_products') }}
),

-- Read anew each time: a CTE of all rows that several others use would be held in memory.
top_products as (
    select product_days.product_id
    from {{ ref('product_days') }} as product_days
    inner join refresh on product_days.order_date < refresh.current_week
    where product_days.product_id != 'unknown'
    group by product_days.product_id
    order by sum(product_days.net_sales) desc, product_days.product_id asc
    limit {{ var('forecast_products') }}
),

product_sales as (
    select
        'product' as level,
        product_days.product_id as series_id,
        {{ week_start('product_days.order_date') }} as period_start,
        sum(product_days.net_sales) as net_sales,
        sum(product_days.units) as units
    from {{ ref('product_days') }} as product_days
    inner join refresh on product_days.order_date < refresh.current_week
    inner join top_products on product_days.product_id = top_products.product_id
    group by product_days.product_id, {{ week_start('product_days.order_date') }}
),

week_sales as (
    select
        products.department,
        products.category,
        {{ week_start('product_days.order_date') }} as period_start,
        sum(product_days.net_sales) as net_sales,
        sum(product_days.units) as units
    from {{ ref('product_days') }} as product_days
    inner join refresh on product_days.order_date < refresh.current_week
    inner join products on product_days.product_id = products.product_id
    group by products.department, products.category, {{ week_start('product_days.order_date') }}
),

store_sales as (
    select
        'store' as level,
        orders.store_id as series_id,
        {{ week_start('orders.order_date') }} as period_start,
        sum(orders.net_sales) as net_sales,
        sum(orders.net_units) as units
    from {{ ref('core_orders') }} as orders
    inner join refresh on orders.order_date < refresh.current_week
    where orders.store_id is not null and orders.line_count > 0
    group by orders.store_id, {{ week_start('orders.order_date') }}
),

{% for level in ['category', 'department'] -%}
    {{ level }}_sales as (
        select
            '{{ level }}' as level,
            {{ level }} as series_id,
            period_start,
            sum(net_sales) as net_sales,
            sum(units) as units
        from week_sales
        group by {{ level }}, period_start
    ),

{% endfor -%}
total_sales as (
    select
        'total' as level,
        'total' as series_id,
        period_start,
        sum(net_sales) as net_sales,
        sum(units) as units
    from department_sales
    group by period_start
),

observed as (
    select * from total_sales
    union all
    select * from department_sales
    union all
    select * from category_sales
    union all
    select * from product_sales
    union all
    select * from store_sales
),

series as (
    select
        level,
        series_id,
        min(period_start) as first_period,
        row_number() over (partition by level order by sum(net_sales) desc, series_id) as sales_rank
    from observed
    group by level, series_id
),

chosen as (
    select *
    from series
    where case level
            {%- for level, series_count in top.items() %}
                when '{{ level }}' then sales_rank <= {{ series_count }}
            {%- endfor %}
            else true
        end
),

span as (
    select
        {{ week_start('min(product_days.order_date)') }} as first_period,
        min(product_days.order_date) as first_date,
        {{ add_days('max(refresh.current_week)', -7) }} as last_period
    from {{ ref('product_days') }} as product_days
    inner join refresh on product_days.order_date < refresh.current_week
),

calendar as (
    {{ calendar_days('(select first_period from span)', '(select last_period from span)') }}
),

weeks as (
    select
        calendar.business_date as period_start,
        calendar.business_date >= span.first_date as is_complete
    from calendar
    cross join span
    where {{ week_start('calendar.business_date') }} = calendar.business_date
),

category_departments as (
    select distinct
        category,
        department
    from products
),

chosen_categories as (
    select series_id
    from chosen
    where level = 'category'
),

-- The series that a series is part of; a product whose category is no series of its own is part of its department.
parents as (
    select
        chosen.level,
        chosen.series_id,
        case chosen.level
            when 'department' then 'total'
            when 'store' then 'total'
            when 'category' then category_departments.department
            when 'product' then coalesce(chosen_categories.series_id, products.department)
        end as parent_id
    from chosen
    left join category_departments on chosen.level = 'category' and chosen.series_id = category_departments.category
    left join products on chosen.level = 'product' and chosen.series_id = products.product_id
    left join chosen_categories on products.category = chosen_categories.series_id
),

final as (
    select
        chosen.level,
        chosen.series_id,
        parents.parent_id,
        weeks.period_start,
        coalesce(observed.net_sales, 0)::decimal(18, 2) as net_sales,
        coalesce(observed.units, 0)::decimal(18, 3) as units,
        weeks.is_complete
    from chosen
    inner join parents on chosen.level = parents.level and chosen.series_id = parents.series_id
    inner join weeks on chosen.first_period <= weeks.period_start
    left join observed
        on chosen.level = observed.level
            and chosen.series_id = observed.series_id
            and weeks.period_start = observed.period_start
)

select * from final
