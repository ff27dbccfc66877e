-- Every accepted member of a campaign that has begun is in the mart, and every response of theirs is counted.
{{ config(meta={'dagster': {'ref': {'name': 'campaign_members'}}}) }}

with expected as (
    select count(*) as members
    from {{ staged('campaign_members') }} as campaign_members
    inner join {{ staged('campaigns') }} as campaigns on campaign_members.campaign_id = campaigns.campaign_id
    cross join {{ ref('current_day') }} as current_day
    where campaigns.start_date <= current_day.as_of_date
),

expected_responses as (
    select count(*) as responses
    from {{ staged('campaign_responses') }} as campaign_responses
    cross join {{ ref('current_day') }} as current_day
    where campaign_responses.responded_at < current_day.as_of_at
),

published as (
    select
        count(*) as members,
        coalesce(sum(count_responses), 0) as responses
    from {{ ref('campaign_members') }}
)

select
    expected.members as expected_members,
    published.members as published_members,
    expected_responses.responses as expected_responses,
    published.responses as published_responses
from expected
cross join expected_responses
cross join published
where expected.members != published.members or expected_responses.responses != published.responses
