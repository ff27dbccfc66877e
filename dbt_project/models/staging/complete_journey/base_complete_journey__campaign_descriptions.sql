with source_rows as (
    select *
    from {{ source('complete_journey', 'campaign_descriptions') }}
),

final as (
    select
        campaign_id::varchar as campaign_id,
        campaign_type,
        start_date::date as start_date,
        end_date::date as end_date,
        case
            when campaign_id is null then 'campaign_id is missing'
            when start_date is null then 'start_date is missing'
            when end_date is null then 'end_date is missing'
            when end_date < start_date then 'end_date is before start_date'
        end as reject_reason,
        min(_source_file) as _source_file,
        min(_row_number) as _row_number,
        count(*) as copies
    from source_rows
    group by all
)

select * from final
