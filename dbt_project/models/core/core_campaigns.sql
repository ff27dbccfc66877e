with campaigns as (
    select *
    from {{ staged('campaigns') }}
),

data_begins as (
    select min(order_date) as first_order_date
    from {{ ref('core_orders') }}
),

final as (
    select
        campaigns.campaign_id,
        campaigns.name,
        campaigns.campaign_type,
        campaigns.channel,
        campaigns.start_date,
        campaigns.end_date,
        -- A campaign older than the data lacks its first responses: its rate is not comparable.
        campaigns.start_date >= data_begins.first_order_date as is_observed_from_start
    from campaigns
    cross join data_begins
)

select * from final
