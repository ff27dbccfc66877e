{{ config(materialized='view') }}

with campaign_members as (
    select *
    from {{ ref('core_campaign_members') }}
),

campaigns as (
    select *
    from {{ ref('campaigns') }}
),

responses as (
    select
        responses.campaign_id,
        responses.customer_id,
        count(*) as count_responses,
        min(responses.responded_at) as first_responded_at
    from {{ ref('core_campaign_responses') }} as responses
    inner join {{ ref('current_day') }} as current_day on responses.responded_at < current_day.as_of_at
    group by responses.campaign_id, responses.customer_id
),

final as (
    select
        campaign_members.campaign_id,
        campaign_members.customer_id,
        campaign_members.assignment,
        campaign_members.assigned_at,
        coalesce(responses.count_responses, 0) as count_responses,
        responses.campaign_id is not null as has_responded,
        responses.first_responded_at
    from campaign_members
    inner join campaigns on campaign_members.campaign_id = campaigns.campaign_id
    left join responses
        on campaign_members.campaign_id = responses.campaign_id
            and campaign_members.customer_id = responses.customer_id
)

select * from final
