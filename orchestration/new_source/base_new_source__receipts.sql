-- A row that cannot be used names its reason: the first one that holds.
{%- set columns = ['receipt_no', 'position', 'client_no', 'article_no', 'pieces', 'amount', 'sold_at'] %}
{{ config(materialized='table') }}

with source_rows as (
    select *
    from {{ source('new_source', 'receipts') }}
),

typed as (
    select
        receipt_no::varchar as receipt_no,
        try_cast(position as integer) as position,
        client_no::varchar as client_no,
        article_no::varchar as article_no,
        try_cast(pieces as decimal(18, 3)) as pieces,
        try_cast(amount as decimal(18, 2)) as amount,
        try_cast(sold_at as timestamp) as sold_at,
        case
            when receipt_no is null then 'receipt_no is missing'
            when position is null then 'position is missing'
            when {{ cannot_be_read('position', 'integer') }} then 'position is not a number'
            when client_no is null then 'client_no is missing'
            when article_no is null then 'article_no is missing'
            when sold_at is null then 'sold_at is missing'
            when {{ cannot_be_read('sold_at', 'timestamp') }} then 'sold_at is not a time'
            when pieces is null then 'pieces is missing'
            when {{ cannot_be_read('pieces', 'decimal(18, 3)') }} then 'pieces is not a number'
            when amount is null then 'amount is missing'
            when {{ cannot_be_read('amount', 'decimal(18, 2)') }} then 'amount is not an amount'
            when try_cast(pieces as decimal(18, 3)) * try_cast(amount as decimal(18, 2)) < 0 then 'pieces and amount have opposite signs'
        end as reject_reason,
        _source_file,
        _row_number
    from source_rows
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
