-- Rows of a promotion may repeat: whoever reads them asks whether one exists, never how many. So nothing is folded here,
-- and 21 million rows are read in place.
with source_rows as (
    select *
    from {{ source('complete_journey', 'promotions') }}
),

final as (
    select
        product_id::varchar as product_id,
        store_id::varchar as store_id,
        nullif(display_location, '0') as display,
        nullif(mailer_location, '0') as mailer,
        week,
        case
            when product_id is null then 'product_id is missing'
            when store_id is null then 'store_id is missing'
            when week is null then 'week is missing'
            when week not between 1 and 53 then 'week is not between 1 and 53'
        end as reject_reason,
        _source_file,
        _row_number,
        1 as copies
    from source_rows
)

select * from final
