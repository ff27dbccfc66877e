with campaign_offers as (
    select *
    from {{ ref('base_contract__campaign_offers') }}
    where reject_reason is null
),

campaigns as (
    select campaign_id
    from {{ ref('stg_contract__campaigns') }}
),

final as (
    select
        campaign_offers.campaign_id,
        campaign_offers.offer_id,
        campaign_offers.product_id
    from campaign_offers
    inner join campaigns on campaign_offers.campaign_id = campaigns.campaign_id
)

select * from final
