with source_rows as (
    select *
    from {{ source('complete_journey', 'coupon_redemptions') }}
),

members as (
    select
        campaign_id,
        customer_id
    from {{ ref('base_complete_journey__campaigns') }}
    where reject_reason is null
),

folded as (
    select
        campaign_id::varchar as campaign_id,
        household_id::varchar as customer_id,
        coupon_upc::varchar as offer_id,
        redemption_date::date as responded_date,
        min(_source_file) as _source_file,
        min(_row_number) as _row_number,
        min(_loaded_at) as _loaded_at,
        count(*) as copies
    from source_rows
    group by all
),

final as (
    select
        folded.campaign_id,
        folded.customer_id,
        folded.offer_id,
        folded.responded_date,
        case
            when folded.campaign_id is null then 'campaign_id is missing'
            when folded.customer_id is null then 'household_id is missing'
            when folded.offer_id is null then 'coupon_upc is missing'
            when folded.responded_date is null then 'redemption_date is missing'
            when folded.responded_date > folded._loaded_at then 'redemption_date is later than the load'
            when members.campaign_id is null then 'the household is not a member of the campaign'
        end as reject_reason,
        folded._source_file,
        folded._row_number,
        folded.copies
    from folded
    left join members
        on folded.campaign_id = members.campaign_id
            and folded.customer_id = members.customer_id
)

select * from final
