{%- set columns = ['campaign_id', 'name', 'campaign_type', 'channel', 'start_date', 'end_date'] %}

with source_rows as (
    select *
    from {{ source('contract', 'campaigns') }}
),

typed as (
    select
        campaign_id::varchar as campaign_id,
        name::varchar as name,
        campaign_type::varchar as campaign_type,
        channel::varchar as channel,
        try_cast(start_date as date) as start_date,
        try_cast(end_date as date) as end_date,
        case
            when campaign_id is null then 'campaign_id is missing'
            when start_date is null then 'start_date is missing'
            when {{ cannot_be_read('start_date', 'date') }} then 'start_date is not a day'
            when end_date is null then 'end_date is missing'
            when {{ cannot_be_read('end_date', 'date') }} then 'end_date is not a day'
            when try_cast(end_date as date) < try_cast(start_date as date) then 'end_date is before start_date'
        end as reject_reason,
        _source_file,
        _row_number
    from source_rows
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
