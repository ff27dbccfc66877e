-- Sales of members are what they bought while the campaign ran, not what it caused.
with campaigns as (
    select *
    from {{ ref('campaigns') }}
),

campaign_members as (
    select *
    from {{ ref('campaign_members') }}
),

orders as (
    select *
    from {{ ref('orders') }}
),

offers as (
    select
        campaign_id,
        count(distinct offer_id) as count_offers
    from {{ ref('core_campaign_offers') }}
    group by campaign_id
),

membership as (
    select
        campaign_id,
        count(*) as count_members,
        count_if(has_responded)::bigint as count_responders,
        sum(count_responses)::bigint as count_responses
    from campaign_members
    group by campaign_id
),

sales as (
    select
        campaigns.campaign_id,
        count(*) as count_orders,
        count(distinct orders.customer_id) as count_buyers,
        sum(orders.net_sales)::decimal(18, 2) as net_sales
    from campaigns
    inner join campaign_members on campaigns.campaign_id = campaign_members.campaign_id
    inner join orders
        on campaign_members.customer_id = orders.customer_id
            and orders.order_date between campaigns.start_date and campaigns.end_date
    group by campaigns.campaign_id
),

final as (
    select
        campaigns.campaign_id,
        campaigns.name,
        campaigns.campaign_type,
        campaigns.channel,
        campaigns.start_date,
        campaigns.end_date,
        campaigns.is_observed_from_start and campaigns.is_ended as is_fully_observed,
        coalesce(offers.count_offers, 0) as count_offers,
        coalesce(membership.count_members, 0) as count_members,
        coalesce(membership.count_responders, 0) as count_responders,
        coalesce(membership.count_responses, 0) as count_responses,
        {{ ratio('membership.count_responders', 'membership.count_members', 6) }}::decimal(9, 6) as response_rate,
        coalesce(sales.count_buyers, 0) as count_buyers,
        coalesce(sales.count_orders, 0) as count_orders,
        coalesce(sales.net_sales, 0)::decimal(18, 2) as members_net_sales,
        {{ ratio('sales.net_sales', 'membership.count_members', 2) }} as net_sales_per_member
    from campaigns
    left join offers on campaigns.campaign_id = offers.campaign_id
    left join membership on campaigns.campaign_id = membership.campaign_id
    left join sales on campaigns.campaign_id = sales.campaign_id
)

select * from final
