-- A receipt is an order: its positions are of one client and one time.
with receipts as (
    select *
    from {{ ref('base_new_source__receipts') }}
    where reject_reason is null
),

final as (
    select
        receipt_no as order_id,
        min(client_no) as customer_id,
        null::varchar as store_id,
        'completed' as status,
        'store' as channel,
        'EUR' as currency,
        min(sold_at) as ordered_at
    from receipts
    group by receipt_no
)

select * from final
