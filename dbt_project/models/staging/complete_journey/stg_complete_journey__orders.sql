-- A basket whose lines disagree on household, store or time would stand here twice, and the test of the key would stop the run.
with transactions as (
    select *
    from {{ ref('base_complete_journey__transactions') }}
    where reject_reason is null
),

final as (
    select distinct
        order_id,
        customer_id,
        store_id,
        'completed' as status,
        'store' as channel,
        'USD' as currency,
        ordered_at
    from transactions
)

select * from final
