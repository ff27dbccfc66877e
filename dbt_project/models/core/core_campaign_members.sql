with campaign_members as (
    select *
    from {{ staged('campaign_members') }}
),

final as (
    select
        campaign_id,
        customer_id,
        assignment,
        assigned_at
    from campaign_members
)

select * from final
