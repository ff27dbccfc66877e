-- Lines of accepted orders, exact copies folded into one, each with its name and all of its amounts. Copies are of one order, and so of one
-- day; a name tells its order, so that days stand alone.
{%- set columns = [
    'order_line_id', 'order_id', 'product_id', 'quantity', 'unit_price', 'gross_sales', 'discounts', 'net_sales', 'coupon_discounts',
] %}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('base_contract__order_days'), 'delivered_date') }}",
) }}

with days as (
    {{ missing(model, ref('base_contract__order_days'), 'delivered_date') }}
),

accepted_orders as (
    {{ accepted_orders() }}
),

judged as (
    select
        {%- for column in columns %}
            order_lines.{{ column }},
        {%- endfor %}
        case
            when order_lines.reject_reason is not null then order_lines.reject_reason
            when accepted_orders.order_id is null then 'order_id is not in orders, or its order is in quarantine'
        end as reject_reason,
        order_lines._source_file,
        order_lines._row_number,
        days.input_fingerprint
    from {{ ref('base_contract__typed_order_lines') }} as order_lines
    left join accepted_orders on order_lines.order_id = accepted_orders.order_id
    inner join days on accepted_orders.delivered_date is not distinct from days.delivered_date
),

folded as (
    {{ folded('judged', columns + ['input_fingerprint']) }}
),

-- Of gross sales, discounts and net sales the third follows from two; else a price tells the gross sales, and without one nothing was
-- discounted. A price below what was received (rounded, or without a surcharge) tells of no discount. What a return takes back is its
-- net sales: the discount that it undoes is none.
discounted as (
    select
        *,
        case
            when reject_reason is not null then null
            when quantity < 0 or net_sales < 0 then 0
            when discounts is not null then discounts
            when gross_sales is not null then gross_sales - net_sales
            when unit_price is not null then greatest((unit_price * quantity)::decimal(18, 2) - net_sales, 0)
            else 0
        end::decimal(18, 2) as net_discounts
    from folded
),

-- Lines of an order that name no line go by their product; a hyphen or # of its own is escaped, so that no two names read the same. Where it
-- stands there several times, what the lines say numbers them, never where they stood.
numbered as (
    select
        *,
        concat(
            order_id, '-', replace(replace(replace(product_id, '%', '%25'), '-', '%2D'), '#', '%23')
        ) as product_line_id,
        row_number() over (
            partition by order_id, product_id, order_line_id is null, reject_reason is null
            order by quantity, net_sales, net_discounts, unit_price, coupon_discounts, gross_sales, discounts
        ) as line_number
    from discounted
),

final as (
    select
        case
            when order_line_id is not null or reject_reason is not null then order_line_id
            when line_number = 1 then product_line_id
            else concat(product_line_id, '#', line_number)
        end as order_line_id,
        order_id,
        product_id,
        quantity,
        case when reject_reason is null then (net_sales + net_discounts)::decimal(18, 2) end as gross_sales,
        net_discounts as discounts,
        net_sales,
        case when reject_reason is null then coalesce(coupon_discounts, 0) end::decimal(18, 2) as coupon_discounts,
        reject_reason,
        _source_file,
        _row_number,
        copies,
        input_fingerprint
    from numbered
)

select * from final
