with source_rows as (
    select *
    from {{ source('complete_journey', 'coupons') }}
),

known_campaigns as (
    select campaign_id
    from {{ ref('base_complete_journey__campaign_descriptions') }}
    where reject_reason is null
),

folded as (
    select
        campaign_id::varchar as campaign_id,
        coupon_upc::varchar as offer_id,
        product_id::varchar as product_id,
        min(_source_file) as _source_file,
        min(_row_number) as _row_number,
        count(*) as copies
    from source_rows
    group by all
),

final as (
    select
        folded.campaign_id,
        folded.offer_id,
        folded.product_id,
        case
            when folded.campaign_id is null then 'campaign_id is missing'
            when folded.offer_id is null then 'coupon_upc is missing'
            when folded.product_id is null then 'product_id is missing'
            when known_campaigns.campaign_id is null then 'campaign_id is not in campaign_descriptions'
        end as reject_reason,
        folded._source_file,
        folded._row_number,
        folded.copies
    from folded
    left join known_campaigns on folded.campaign_id = known_campaigns.campaign_id
)

select * from final
