-- The export tells what was paid alone, so gross sales are net sales and nothing was discounted.
with receipts as (
    select *
    from {{ ref('base_new_source__receipts') }}
    where reject_reason is null
),

final as (
    select
        concat(receipt_no, '-', position) as order_line_id,
        receipt_no as order_id,
        article_no as product_id,
        pieces as quantity,
        amount as gross_sales,
        0::decimal(18, 2) as discounts,
        amount as net_sales,
        0::decimal(18, 2) as coupon_discounts
    from receipts
)

select * from final
