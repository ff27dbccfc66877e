with order_lines as (
    select *
    from {{ ref('base_contract__order_lines') }}
    where reject_reason is null
),

final as (
    select
        order_line_id,
        order_id,
        product_id,
        quantity,
        gross_sales,
        discounts,
        net_sales,
        coupon_discounts
    from order_lines
)

select * from final
