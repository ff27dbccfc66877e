-- The rows of orders file by file, typed, each with its reason for rejection or none. A file is read when it lands, and not again.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook=[
        "{{ drop_stale(model, files_of('orders'), '_source_file') }}",
        "{{ name_missing_files(model, files_of('orders')) }}",
    ],
) }}

with files as (
    {{ missing(model, files_of('orders'), '_source_file') }}
),

source_rows as (
    select
        orders.*,
        files.input_fingerprint
    from {{ source('contract', 'orders') }} as orders
    inner join files on orders._source_file = files._source_file
    {{ of_missing_files('orders') }}
),

final as (
    select
        order_id::varchar as order_id,
        customer_id::varchar as customer_id,
        store_id::varchar as store_id,
        status::varchar as status,
        channel::varchar as channel,
        upper(currency::varchar) as currency,
        try_cast(ordered_at as timestamp) as ordered_at,
        case
            when order_id is null then 'order_id is missing'
            when customer_id is null then 'customer_id is missing'
            when ordered_at is null then 'ordered_at is missing'
            when {{ cannot_be_read('ordered_at', 'timestamp') }} then 'ordered_at is not a time'
            when try_cast(ordered_at as timestamp) > _loaded_at then 'ordered_at is later than the load'
        end as reject_reason,
        _source_file,
        _row_number,
        input_fingerprint
    from source_rows
)

select * from final
