with campaigns as (
    select *
    from {{ ref('base_contract__campaigns') }}
    where reject_reason is null
),

final as (
    select
        campaign_id,
        coalesce(name, 'Campaign ' || campaign_id) as name,
        coalesce(campaign_type, 'unknown') as campaign_type,
        coalesce(channel, 'unknown') as channel,
        start_date,
        end_date
    from campaigns
)

select * from final
