-- The rows of promotions file by file, typed. They may repeat: whoever reads them asks whether one exists, never how many. So nothing is
-- folded here.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook=[
        "{{ drop_stale(model, files_of('product_promotions'), '_source_file') }}",
        "{{ name_missing_files(model, files_of('product_promotions')) }}",
    ],
) }}

with files as (
    {{ missing(model, files_of('product_promotions'), '_source_file') }}
),

source_rows as (
    select
        product_promotions.*,
        files.input_fingerprint
    from {{ source('contract', 'product_promotions') }} as product_promotions
    inner join files on product_promotions._source_file = files._source_file
    {{ of_missing_files('product_promotions') }}
),

final as (
    select
        product_id::varchar as product_id,
        store_id::varchar as store_id,
        display::varchar as display,
        mailer::varchar as mailer,
        try_cast(period_start as date) as period_start,
        try_cast(period_end as date) as period_end,
        case
            when product_id is null then 'product_id is missing'
            when period_start is null then 'period_start is missing'
            when {{ cannot_be_read('period_start', 'date') }} then 'period_start is not a day'
            when {{ cannot_be_read('period_end', 'date') }} then 'period_end is not a day'
            when try_cast(period_end as date) < try_cast(period_start as date) then 'period_end is before period_start'
        end as reject_reason,
        _source_file,
        _row_number,
        1::bigint as copies,
        input_fingerprint
    from source_rows
)

select * from final
