-- The source has no customer table: a household is a customer once it has bought, was sent a campaign, or told about itself.
-- What it told carries no date, so such a household is known from the beginning. A campaign's list is in hand on the eve.
with demographics as (
    select *
    from {{ ref('base_complete_journey__demographics') }}
    where reject_reason is null
),

first_orders as (
    select
        customer_id,
        min(ordered_at) as first_seen_at
    from {{ ref('stg_complete_journey__orders') }}
    group by customer_id
),

first_campaigns as (
    select
        customer_id,
        {{ business_midnight(add_days(business_date('min(assigned_at)'), -1)) }} as first_seen_at
    from {{ ref('stg_complete_journey__campaign_members') }}
    group by customer_id
),

seen as (
    select * from first_orders
    union all
    select * from first_campaigns
    union all
    select
        customer_id,
        null as first_seen_at
    from demographics
),

households as (
    select
        customer_id,
        case when bool_or(first_seen_at is null) then null else min(first_seen_at) end as first_seen_at
    from seen
    group by customer_id
),

final as (
    select
        households.customer_id,
        demographics.age_band,
        demographics.income_band,
        demographics.household_size,
        demographics.marital_status,
        demographics.home_ownership,
        demographics.kids_count,
        -- The source tells no place, and who they are is not known to anybody.
        null::varchar as region,
        null::varchar as country,
        null::varchar as gender,
        null::varchar as occupation,
        null::varchar as acquisition_channel,
        null::varchar as email_key,
        null::varchar as phone_key,
        null::boolean as has_marketing_consent,
        households.first_seen_at
    from households
    left join demographics on households.customer_id = demographics.customer_id
)

select * from final
