-- Of gross sales, discounts and net sales the third follows from two; else a price tells the gross sales, and without one nothing was
-- discounted. A price below what was received (rounded, or without a surcharge) tells of no discount. What a return takes back is its
-- net sales: the discount that it undoes is none. A table, as numbering the lines passes over all of them, and several models read the result.
{{ config(materialized='table') }}

with order_lines as (
    select *
    from {{ ref('base_contract__order_lines') }}
    where reject_reason is null
),

discounted as (
    select
        *,
        case
            when quantity < 0 or net_sales < 0 then 0
            when discounts is not null then discounts
            when gross_sales is not null then gross_sales - net_sales
            when unit_price is not null then greatest((unit_price * quantity)::decimal(18, 2) - net_sales, 0)
            else 0
        end::decimal(18, 2) as net_discounts
    from order_lines
),

-- Lines of an order that name no line go by their product. Where it stands there several times, what the lines say numbers them, never
-- where they stood.
named as (
    select
        *,
        concat(order_id, '-', product_id) as product_line_id,
        row_number() over (
            partition by concat(order_id, '-', product_id), order_line_id is null
            order by quantity, net_sales, net_discounts, unit_price, coupon_discounts, gross_sales, discounts, order_id
        ) as line_number
    from discounted
),

final as (
    select
        case
            when order_line_id is not null then order_line_id
            when line_number = 1 then product_line_id
            else concat(product_line_id, '-', line_number)
        end as order_line_id,
        order_id,
        product_id,
        quantity,
        (net_sales + net_discounts)::decimal(18, 2) as gross_sales,
        net_discounts as discounts,
        net_sales,
        coalesce(coupon_discounts, 0)::decimal(18, 2) as coupon_discounts
    from named
)

select * from final
