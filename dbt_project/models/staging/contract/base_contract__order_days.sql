-- What was delivered of each day in one fingerprint: its orders and their lines. A line of no accepted order is of the day NULL, and so is
-- an order without a time; where an order has several, its lines are of the last one's day.
{{ config(materialized='table') }}

with accepted_orders as (
    {{ accepted_orders() }}
),

inputs as (
    select
        ordered_at::date as delivered_date,
        {{ row_hash(["'orders'", 'input_fingerprint', '_row_number']) }} as input_hash
    from {{ ref('base_contract__typed_orders') }}
    union all
    select
        accepted_orders.delivered_date,
        {{ row_hash(["'order_lines'", 'order_lines.input_fingerprint', 'order_lines._row_number']) }} as input_hash
    from {{ ref('base_contract__typed_order_lines') }} as order_lines
    left join accepted_orders on order_lines.order_id = accepted_orders.order_id
),

final as (
    select
        delivered_date,
        count(*) as row_count,
        md5(concat_ws(' ', count(*)::varchar, sum(input_hash)::varchar)) as input_fingerprint
    from inputs
    group by delivered_date
)

select * from final
