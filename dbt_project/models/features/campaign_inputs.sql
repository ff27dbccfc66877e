-- The campaigns that have begun, and what goes into the fit of each in one fingerprint: the days before it, as told by their order lines and the
-- products in them, its offers and its members.
{{ config(materialized='table') }}

with refresh as (
    select
        as_of_date,
        {{ business_midnight('as_of_date') }} as as_of_at
    from {{ source('control', 'refresh') }}
),

campaigns as (
    select
        campaigns.campaign_id,
        campaigns.start_date,
        {{ business_midnight('campaigns.start_date') }} as start_at
    from {{ ref('core_campaigns') }} as campaigns
    inner join refresh on campaigns.start_date <= refresh.as_of_date
),

products as (
    select
        product_id,
        {{ row_hash(['product_id', 'department', 'category', 'brand']) }} as product_hash
    from {{ ref('core_products') }}
),

earlier_days as (
    select
        campaigns.campaign_id,
        sum({{ row_hash(['order_days.order_date', 'order_days.input_fingerprint']) }}) as input_hash
    from campaigns
    inner join {{ ref('core_order_days') }} as order_days on campaigns.start_date > order_days.order_date
    group by campaigns.campaign_id
),

offers as (
    select
        offers.campaign_id,
        sum({{ row_hash(['offers.offer_id', 'product_hash']) }}) as input_hash
    from {{ ref('core_campaign_offers') }} as offers
    inner join products on offers.product_id = products.product_id
    group by offers.campaign_id
),

members as (
    select
        members.campaign_id,
        sum({{ row_hash(['members.customer_id']) }}) as input_hash
    from {{ ref('core_campaign_members') }} as members
    inner join refresh on members.assigned_at <= refresh.as_of_at
    group by members.campaign_id
),

final as (
    select
        campaigns.campaign_id,
        campaigns.start_date,
        md5(concat_ws(
            ' ',
            campaigns.start_at::varchar,
            coalesce(earlier_days.input_hash, 0)::varchar,
            coalesce(offers.input_hash, 0)::varchar,
            coalesce(members.input_hash, 0)::varchar
        )) as input_fingerprint
    from campaigns
    left join earlier_days on campaigns.campaign_id = earlier_days.campaign_id
    left join offers on campaigns.campaign_id = offers.campaign_id
    left join members on campaigns.campaign_id = members.campaign_id
)

select * from final
