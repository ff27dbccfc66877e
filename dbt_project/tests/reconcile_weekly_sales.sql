-- The weeks tell what was sold before the week of the refreshed day, in total and over the departments; the days tell it up to the
-- refreshed day.
{{ config(meta={'dagster': {'ref': {'name': 'weekly_sales'}}}) }}

with orders as (
    select
        coalesce(sum(orders.net_sales), 0) as by_day,
        coalesce(sum(case when orders.order_date < {{ week_start('refresh.as_of_date') }} then orders.net_sales end), 0) as by_week
    from {{ ref('core_orders') }} as orders
    cross join {{ source('control', 'refresh') }} as refresh
    where orders.order_date < refresh.as_of_date
),

weeks as (
    select
        coalesce(sum(case when level = 'total' then net_sales end), 0) as total,
        coalesce(sum(case when level = 'department' then net_sales end), 0) as departments
    from {{ ref('weekly_sales') }}
),

days as (
    select
        coalesce(sum(case when level = 'total' then net_sales end), 0) as total,
        coalesce(sum(case when level = 'department' then net_sales end), 0) as departments
    from {{ ref('daily_sales') }}
)

select
    orders.*,
    weeks.total as weeks_total,
    weeks.departments as weeks_departments,
    days.total as days_total,
    days.departments as days_departments
from orders
cross join weeks
cross join days
where orders.by_week != weeks.total
    or orders.by_week != weeks.departments
    or orders.by_day != days.total
    or orders.by_day != days.departments
