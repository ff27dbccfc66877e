with campaign_descriptions as (
    select *
    from {{ ref('base_complete_journey__campaign_descriptions') }}
    where reject_reason is null
),

final as (
    select
        campaign_id,
        'Campaign ' || campaign_id as name,
        campaign_type,
        'direct_mail' as channel,
        start_date,
        end_date
    from campaign_descriptions
)

select * from final
