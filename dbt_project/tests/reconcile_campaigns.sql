-- Every accepted campaign that has begun is in the marts, with its performance; before the first one both are empty.
{{ config(meta={'dagster': {'ref': {'name': 'campaigns'}}}) }}

with expected as (
    select count(*) as campaigns
    from {{ staged('campaigns') }} as campaigns
    cross join {{ ref('current_day') }} as current_day
    where campaigns.start_date <= current_day.as_of_date
),

published as (
    select
        (select count(*) from {{ ref('campaigns') }}) as campaigns,
        (select count(*) from {{ ref('campaign_performance') }}) as performances
)

select
    expected.campaigns as expected_campaigns,
    published.campaigns as published_campaigns,
    published.performances
from expected
cross join published
where expected.campaigns != published.campaigns or expected.campaigns != published.performances
