-- A basket whose lines disagree on household, store or time would stand here twice, and the test of the key would stop the run. Kept by
-- the day that it was delivered for, as its lines are: many models ask for the orders.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('base_complete_journey__transaction_days'), 'delivered_date') }}",
) }}

with days as (
    {{ missing(model, ref('base_complete_journey__transaction_days'), 'delivered_date') }}
),

transactions as (
    select
        transactions.*,
        days.input_fingerprint as day_fingerprint
    from {{ ref('base_complete_journey__transactions') }} as transactions
    inner join days on transactions.ordered_at::date = days.delivered_date
    where transactions.reject_reason is null
),

final as (
    select distinct
        order_id,
        customer_id,
        store_id,
        'completed' as status,
        'store' as channel,
        'USD' as currency,
        ordered_at,
        day_fingerprint as input_fingerprint
    from transactions
)

select * from final
