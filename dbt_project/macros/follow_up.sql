{#
    What came from a cut-off's midnight on, as CTEs that end with `followed`: orders and net sales of each customer in the window of so
    many days, only of cut-offs whose whole window lies before the refreshed day. Windows overlap, so a day may count for several.
#}
{% macro follow_up(window_days) -%}
    refresh as (
        select as_of_date as refreshed_date
        from {{ source('control', 'refresh') }}
    ),

    customer_features as (
        select
            customer_id,
            as_of_date,
            recency_days,
            {{ add_days('as_of_date', window_days) }} as window_end_date
        from {{ ref('customer_features') }}
    ),

    customer_days as (
        select *
        from {{ ref('customer_days') }}
    ),

    cut_offs as (
        select distinct
            as_of_date,
            window_end_date
        from customer_features
    ),

    followed as (
        select
            customer_days.customer_id,
            cut_offs.as_of_date,
            sum(customer_days.count_orders)::bigint as count_orders,
            sum(customer_days.net_sales)::decimal(18, 2) as net_sales
        from cut_offs
        inner join refresh on cut_offs.window_end_date <= refresh.refreshed_date
        inner join customer_days
            on cut_offs.as_of_date <= customer_days.order_date
                and cut_offs.window_end_date > customer_days.order_date
        group by customer_days.customer_id, cut_offs.as_of_date
    )
{%- endmacro %}
