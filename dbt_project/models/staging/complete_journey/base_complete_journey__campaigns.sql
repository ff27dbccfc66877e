with source_rows as (
    select *
    from {{ source('complete_journey', 'campaigns') }}
),

known_campaigns as (
    select campaign_id
    from {{ ref('base_complete_journey__campaign_descriptions') }}
    where reject_reason is null
),

folded as (
    select
        campaign_id::varchar as campaign_id,
        household_id::varchar as customer_id,
        min(_source_file) as _source_file,
        min(_row_number) as _row_number,
        count(*) as copies
    from source_rows
    group by all
),

final as (
    select
        folded.campaign_id,
        folded.customer_id,
        case
            when folded.campaign_id is null then 'campaign_id is missing'
            when folded.customer_id is null then 'household_id is missing'
            when known_campaigns.campaign_id is null then 'campaign_id is not in campaign_descriptions'
        end as reject_reason,
        folded._source_file,
        folded._row_number,
        folded.copies
    from folded
    left join known_campaigns on folded.campaign_id = known_campaigns.campaign_id
)

select * from final
