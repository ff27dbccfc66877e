with campaign_offers as (
    select *
    from {{ staged('campaign_offers') }}
),

products as (
    select product_id
    from {{ ref('core_products') }}
),

final as (
    select
        campaign_offers.campaign_id,
        campaign_offers.offer_id,
        coalesce(products.product_id, 'unknown') as product_id,
        campaign_offers.product_id as source_product_id
    from campaign_offers
    left join products on campaign_offers.product_id = products.product_id
)

select * from final
