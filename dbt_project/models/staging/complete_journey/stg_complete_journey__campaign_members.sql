-- The source does not say when a household was assigned: a member list is known from the campaign's first day on.
with campaigns as (
    select *
    from {{ ref('base_complete_journey__campaigns') }}
    where reject_reason is null
),

campaign_descriptions as (
    select *
    from {{ ref('base_complete_journey__campaign_descriptions') }}
    where reject_reason is null
),

final as (
    select
        campaigns.campaign_id,
        campaigns.customer_id,
        'treatment' as assignment,
        {{ business_midnight('campaign_descriptions.start_date') }} as assigned_at
    from campaigns
    inner join campaign_descriptions on campaigns.campaign_id = campaign_descriptions.campaign_id
)

select * from final
