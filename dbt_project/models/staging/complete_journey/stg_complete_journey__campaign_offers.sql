with coupons as (
    select *
    from {{ ref('base_complete_journey__coupons') }}
    where reject_reason is null
),

final as (
    select
        campaign_id,
        offer_id,
        product_id
    from coupons
)

select * from final
