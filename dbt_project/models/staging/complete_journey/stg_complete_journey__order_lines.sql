with transactions as (
    select *
    from {{ ref('base_complete_journey__transactions') }}
    where reject_reason is null
),

final as (
    select
        order_id || '-' || product_id as order_line_id,
        order_id,
        product_id,
        quantity,
        net_sales + discounts as gross_sales,
        discounts,
        net_sales,
        coupon_discounts
    from transactions
)

select * from final
