-- Responses of members; without a list of members nobody can be said to have responded or not.
with campaign_responses as (
    select *
    from {{ ref('base_contract__campaign_responses') }}
    where reject_reason is null
),

campaign_members as (
    select
        campaign_id,
        customer_id
    from {{ ref('stg_contract__campaign_members') }}
),

identities as (
    select *
    from {{ ref('stg_contract__customer_identities') }}
),

identified as (
    select
        campaign_responses.campaign_id,
        coalesce(identities.customer_id, campaign_responses.customer_id) as customer_id,
        coalesce(campaign_responses.offer_id, 'unknown') as offer_id,
        campaign_responses.responded_at
    from campaign_responses
    left join identities on campaign_responses.customer_id = identities.source_customer_id
),

final as (
    select distinct
        identified.campaign_id,
        identified.customer_id,
        identified.offer_id,
        identified.responded_at
    from identified
    inner join campaign_members
        on identified.campaign_id = campaign_members.campaign_id
            and identified.customer_id = campaign_members.customer_id
)

select * from final
