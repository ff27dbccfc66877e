-- A list that does not say when a customer was put on it is known from the campaign's first day on. Of a customer's several keys one
-- that was written to is enough.
with campaign_members as (
    select *
    from {{ ref('base_contract__campaign_members') }}
    where reject_reason is null
),

campaigns as (
    select *
    from {{ ref('stg_contract__campaigns') }}
),

identities as (
    select *
    from {{ ref('stg_contract__customer_identities') }}
),

identified as (
    select
        campaign_members.campaign_id,
        coalesce(identities.customer_id, campaign_members.customer_id) as customer_id,
        coalesce(campaign_members.assignment, 'treatment') as assignment,
        coalesce(campaign_members.assigned_at, {{ business_midnight('campaigns.start_date') }}) as assigned_at
    from campaign_members
    inner join campaigns on campaign_members.campaign_id = campaigns.campaign_id
    left join identities on campaign_members.customer_id = identities.source_customer_id
),

final as (
    select
        campaign_id,
        customer_id,
        max(assignment) as assignment,
        min(assigned_at) as assigned_at
    from identified
    group by campaign_id, customer_id
)

select * from final
