-- Amounts as delivered; what is derived from them is derived in stg_contract__order_lines.
{%- set columns = [
    'order_line_id', 'order_id', 'product_id', 'quantity', 'unit_price', 'gross_sales', 'discounts', 'net_sales', 'coupon_discounts',
] %}
{{ config(materialized='table') }}

with source_rows as (
    select *
    from {{ source('contract', 'order_lines') }}
),

accepted_orders as (
    select distinct order_id
    from {{ ref('base_contract__orders') }}
    where reject_reason is null
),

typed as (
    select
        order_line_id::varchar as order_line_id,
        order_id::varchar as order_id,
        product_id::varchar as product_id,
        try_cast(quantity as decimal(18, 3)) as quantity,
        try_cast(unit_price as decimal(18, 4)) as unit_price,
        try_cast(gross_sales as decimal(18, 2)) as gross_sales,
        try_cast(discounts as decimal(18, 2)) as discounts,
        try_cast(net_sales as decimal(18, 2)) as net_sales,
        try_cast(coupon_discounts as decimal(18, 2)) as coupon_discounts,
        case
            when order_id is null then 'order_id is missing'
            when product_id is null then 'product_id is missing'
            when quantity is null then 'quantity is missing'
            when {{ cannot_be_read('quantity', 'decimal(18, 3)') }} then 'quantity is not a number'
            when net_sales is null then 'net_sales is missing'
            when {{ cannot_be_read('net_sales', 'decimal(18, 2)') }} then 'net_sales is not an amount'
            when {{ cannot_be_read('unit_price', 'decimal(18, 4)') }} then 'unit_price is not an amount'
            when {{ cannot_be_read('gross_sales', 'decimal(18, 2)') }} then 'gross_sales is not an amount'
            when {{ cannot_be_read('discounts', 'decimal(18, 2)') }} then 'discounts is not an amount'
            when {{ cannot_be_read('coupon_discounts', 'decimal(18, 2)') }} then 'coupon_discounts is not an amount'
        end as unread,
        coalesce(try_cast(quantity as decimal(18, 3)) < 0 or try_cast(net_sales as decimal(18, 2)) < 0, false) as is_return,
        _source_file,
        _row_number
    from source_rows
),

judged as (
    select
        {%- for column in columns %}
            typed.{{ column }},
        {%- endfor %}
        case
            when typed.unread is not null then typed.unread
            when typed.quantity < 0 and typed.net_sales > 0 then 'quantity and net_sales have opposite signs'
            when typed.quantity > 0 and typed.net_sales < 0 then 'quantity and net_sales have opposite signs'
            when typed.unit_price < 0 then 'unit_price is below 0'
            when typed.coupon_discounts < 0 then 'coupon_discounts is below 0'
            when not typed.is_return and typed.discounts < 0 then 'discounts is below 0'
            -- Rounding may leave a cent. Of a return some say with, some without a sign what was taken off.
            when not typed.is_return and abs(typed.gross_sales - typed.discounts - typed.net_sales) > 0.01
                then 'gross_sales less discounts is not net_sales'
            when typed.is_return and abs(abs(typed.gross_sales) - abs(typed.discounts) - abs(typed.net_sales)) > 0.01
                then 'gross_sales less discounts is not net_sales'
            when not typed.is_return and typed.discounts is null and typed.gross_sales < typed.net_sales
                then 'gross_sales is below net_sales'
            when accepted_orders.order_id is null then 'order_id is not in orders, or its order is in quarantine'
        end as reject_reason,
        typed._source_file,
        typed._row_number
    from typed
    left join accepted_orders on typed.order_id = accepted_orders.order_id
),

final as (
    {{ folded('judged', columns) }}
)

select * from final
