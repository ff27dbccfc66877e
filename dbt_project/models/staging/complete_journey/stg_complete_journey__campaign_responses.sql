-- A redemption has a day but no time: it counts from that day's midnight, so the day after is the first to see it.
with coupon_redemptions as (
    select *
    from {{ ref('base_complete_journey__coupon_redemptions') }}
    where reject_reason is null
),

final as (
    select
        campaign_id,
        customer_id,
        offer_id,
        {{ business_midnight('responded_date') }} as responded_at
    from coupon_redemptions
)

select * from final
