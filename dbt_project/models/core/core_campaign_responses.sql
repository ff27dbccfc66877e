with campaign_responses as (
    select *
    from {{ staged('campaign_responses') }}
),

final as (
    select
        campaign_id,
        customer_id,
        offer_id,
        responded_at
    from campaign_responses
)

select * from final
