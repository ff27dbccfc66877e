-- What rules and recommendations learn from: coupon slips, returns, unknown products and what nobody would offer are left out.
{%- set variables = ['business_time_zone', 'offer_excluded_departments', 'offer_excluded_categories'] %}
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('core_order_days'), 'order_date', ['business_time_zone', 'offer_excluded_departments', 'offer_excluded_categories']) }}",
) }}

with days as (
    {{ missing(model, ref('core_order_days'), 'order_date', variables) }}
),

order_lines as (
    select
        order_lines.customer_id,
        order_lines.order_id,
        order_lines.product_id,
        order_lines.order_date,
        order_lines.units,
        order_lines.net_sales,
        days.input_fingerprint
    from {{ ref('core_order_lines') }} as order_lines
    inner join days on order_lines.order_date = days.order_date
    where order_lines.line_type in ('sale', 'free_item')
),

products as (
    select *
    from {{ ref('core_products') }}
    where product_id != 'unknown'
        and {{ is_none_of('department', var('offer_excluded_departments')) }}
        and {{ is_none_of('category', var('offer_excluded_categories')) }}
),

final as (
    select
        order_lines.customer_id,
        order_lines.order_id,
        order_lines.product_id,
        order_lines.order_date,
        coalesce(sum(order_lines.units), 0)::decimal(18, 3) as units,
        sum(order_lines.net_sales)::decimal(18, 2) as net_sales,
        order_lines.input_fingerprint
    from order_lines
    inner join products on order_lines.product_id = products.product_id
    group by
        order_lines.customer_id, order_lines.order_id, order_lines.product_id, order_lines.order_date, order_lines.input_fingerprint
    -- A batch of customers lies together.
    order by order_lines.customer_id, order_lines.order_id, order_lines.product_id
)

select * from final
