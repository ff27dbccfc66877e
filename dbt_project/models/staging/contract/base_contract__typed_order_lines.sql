-- The rows of order lines file by file: amounts as delivered, typed, each row with the reason why it cannot be used by itself, or none.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook=[
        "{{ drop_stale(model, files_of('order_lines'), '_source_file') }}",
        "{{ name_missing_files(model, files_of('order_lines')) }}",
    ],
) }}

with files as (
    {{ missing(model, files_of('order_lines'), '_source_file') }}
),

source_rows as (
    select
        order_lines.*,
        files.input_fingerprint
    from {{ source('contract', 'order_lines') }} as order_lines
    inner join files on order_lines._source_file = files._source_file
    {{ of_missing_files('order_lines') }}
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
        _row_number,
        input_fingerprint
    from source_rows
),

final as (
    select
        order_line_id,
        order_id,
        product_id,
        quantity,
        unit_price,
        gross_sales,
        discounts,
        net_sales,
        coupon_discounts,
        case
            when unread is not null then unread
            when quantity < 0 and net_sales > 0 then 'quantity and net_sales have opposite signs'
            when quantity > 0 and net_sales < 0 then 'quantity and net_sales have opposite signs'
            when unit_price < 0 then 'unit_price is below 0'
            when coupon_discounts < 0 then 'coupon_discounts is below 0'
            when not is_return and discounts < 0 then 'discounts is below 0'
            -- Rounding may leave a cent. Of a return some say with, some without a sign what was taken off.
            when not is_return and abs(gross_sales - discounts - net_sales) > 0.01 then 'gross_sales less discounts is not net_sales'
            when is_return and abs(abs(gross_sales) - abs(discounts) - abs(net_sales)) > 0.01
                then 'gross_sales less discounts is not net_sales'
            when not is_return and discounts is null and gross_sales < net_sales then 'gross_sales is below net_sales'
        end as reject_reason,
        _source_file,
        _row_number,
        input_fingerprint
    from typed
)

select * from final
