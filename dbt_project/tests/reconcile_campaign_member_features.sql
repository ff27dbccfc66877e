-- Every member of a campaign that has begun has features, once.
{{ config(meta={'dagster': {'ref': {'name': 'campaign_member_features'}}}) }}

with expected as (
    select
        members.campaign_id,
        count(*) as members
    from {{ ref('core_campaign_members') }} as members
    inner join {{ ref('core_campaigns') }} as campaigns on members.campaign_id = campaigns.campaign_id
    cross join {{ source('control', 'refresh') }} as refresh
    where campaigns.start_date <= refresh.as_of_date
        and members.assigned_at <= {{ business_midnight('refresh.as_of_date') }}
    group by members.campaign_id
),

built as (
    select
        campaign_id,
        count(*) as members
    from {{ ref('campaign_member_features') }}
    group by campaign_id
)

select
    coalesce(expected.campaign_id, built.campaign_id) as campaign_id,
    expected.members as expected_members,
    built.members as built_members
from expected
full join built on expected.campaign_id = built.campaign_id
where expected.members is distinct from built.members
