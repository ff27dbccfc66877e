-- As of the first midnight of the campaign: the campaign, its offers and its members are known, nothing of that day or later is.
-- The label is what the refreshed day knows, so this is a table; what takes time, the fit, is kept in campaign_member_fits.
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
        campaigns.campaign_type,
        campaigns.start_date,
        campaigns.end_date,
        campaigns.is_observed_from_start,
        {{ business_midnight('campaigns.start_date') }} as start_at,
        {{ business_midnight(add_days('campaigns.end_date', 1)) }} as end_at,
        refresh.as_of_date as refreshed_date
    from {{ ref('core_campaigns') }} as campaigns
    inner join refresh on campaigns.start_date <= refresh.as_of_date
),

members as (
    select
        members.campaign_id,
        members.customer_id,
        members.assignment,
        members.assigned_at,
        campaigns.campaign_type,
        campaigns.start_date,
        campaigns.start_at,
        campaigns.end_date
    from {{ ref('core_campaign_members') }} as members
    inner join campaigns on members.campaign_id = campaigns.campaign_id
    inner join refresh on members.assigned_at <= refresh.as_of_at
),

offers as (
    select
        offers.campaign_id,
        offers.offer_id,
        offers.product_id
    from {{ ref('core_campaign_offers') }} as offers
    inner join campaigns on offers.campaign_id = campaigns.campaign_id
    where offers.product_id != 'unknown'
),

-- A response is one within its campaign.
responses as (
    select responses.*
    from {{ ref('core_campaign_responses') }} as responses
    inner join refresh on responses.responded_at < refresh.as_of_at
    inner join campaigns
        on responses.campaign_id = campaigns.campaign_id
            and responses.responded_at >= campaigns.start_at
            and responses.responded_at < campaigns.end_at
),

customer_features as (
    select *
    from {{ ref('customer_features') }}
),

campaign_sizes as (
    select
        campaign_id,
        count(*) as count_members
    from members
    group by campaign_id
),

campaign_offers as (
    select
        campaign_id,
        count(distinct offer_id) as count_offers,
        count(distinct product_id) as count_products
    from offers
    group by campaign_id
),

fits as (
    select *
    from {{ ref('campaign_member_fits') }}
),

-- Earlier campaigns of a member, and what had come of them by the start of this one.
earlier as (
    select
        members.campaign_id,
        members.customer_id,
        members.start_date,
        past.campaign_id as past_campaign_id,
        past.start_date as past_start_date,
        past.end_date < members.start_date as is_closed,
        past.campaign_type = members.campaign_type as is_same_type,
        count(responses.campaign_id) as count_responses,
        count(distinct {{ business_date('responses.responded_at') }}) as count_response_days,  -- noqa: LT01,LT06
        min({{ business_date('responses.responded_at') }}) as first_response_date,
        max({{ business_date('responses.responded_at') }}) as last_response_date
    from members
    inner join members as past
        on members.customer_id = past.customer_id
            and members.start_date > past.start_date
            and members.start_at > past.assigned_at
            and past.assignment = 'treatment'
    left join responses
        on past.campaign_id = responses.campaign_id
            and past.customer_id = responses.customer_id
            and members.start_at > responses.responded_at
    group by
        members.campaign_id, members.customer_id, members.start_date, past.campaign_id, past.start_date, past.end_date,
        members.campaign_type, past.campaign_type
),

pasts as (
    select
        campaign_id,
        customer_id,
        count(*) as past_count_campaigns,
        count_if(is_closed)::bigint as past_count_closed,
        count_if(is_same_type)::bigint as past_count_same_type,
        count_if(count_responses > 0)::bigint as past_count_responded,
        count_if(count_responses > 0 and is_closed)::bigint as past_count_responded_closed,
        count_if(count_responses > 0 and not is_closed)::bigint as past_count_responded_open,
        count_if(count_responses > 0 and is_same_type)::bigint as past_count_responded_same_type,
        sum(count_responses)::bigint as past_count_responses,
        sum(count_response_days)::bigint as past_count_response_days,
        max(count_responses) as past_most_responses,
        {{ days_between('max(last_response_date)', 'start_date') }} as past_days_since_response,
        {{ days_between('max(past_start_date)', 'start_date') }} as past_days_since_campaign,
        min({{ days_between('past_start_date', 'first_response_date') }}) as past_fastest_response_days
    from earlier
    group by campaign_id, customer_id, start_date
),

-- Of the campaigns that had begun last.
newest_pasts as (
    select
        earlier.campaign_id,
        earlier.customer_id,
        bool_or(earlier.count_responses > 0) as past_has_responded_to_last
    from earlier
    inner join pasts
        on earlier.campaign_id = pasts.campaign_id
            and earlier.customer_id = pasts.customer_id
            and pasts.past_days_since_campaign = {{ days_between('earlier.past_start_date', 'earlier.start_date') }}
    group by earlier.campaign_id, earlier.customer_id
),

answers as (
    select
        campaign_id,
        customer_id,
        min(responded_at) as first_responded_at
    from responses
    group by campaign_id, customer_id
),

final as (
    select
        members.campaign_id,
        members.customer_id,
        members.assignment,
        campaigns.start_date,
        campaigns.end_date,
        campaigns.is_observed_from_start,

        campaigns.campaign_type,
        {{ days_between('campaigns.start_date', 'campaigns.end_date') }} + 1 as campaign_days,
        campaign_sizes.count_members,
        coalesce(campaign_offers.count_offers, 0) as count_offers,
        coalesce(campaign_offers.count_products, 0) as count_products,

        coalesce(pasts.past_count_campaigns, 0) as past_count_campaigns,
        coalesce(pasts.past_count_closed, 0) as past_count_closed,
        coalesce(pasts.past_count_same_type, 0) as past_count_same_type,
        coalesce(pasts.past_count_responded, 0) as past_count_responded,
        coalesce(pasts.past_count_responded_closed, 0) as past_count_responded_closed,
        coalesce(pasts.past_count_responded_open, 0) as past_count_responded_open,
        coalesce(pasts.past_count_responded_same_type, 0) as past_count_responded_same_type,
        coalesce(pasts.past_count_responses, 0) as past_count_responses,
        coalesce(pasts.past_count_response_days, 0) as past_count_response_days,
        coalesce(pasts.past_most_responses, 0) as past_most_responses,
        coalesce(newest_pasts.past_has_responded_to_last, false) as past_has_responded_to_last,
        pasts.past_days_since_campaign,
        pasts.past_days_since_response,
        pasts.past_fastest_response_days,
        -- Drawn towards a tenth, as much as three campaigns weigh: one answer to one campaign is no certainty.
        {{ quotient(
            'coalesce(pasts.past_count_responded, 0) + 0.3', 'coalesce(pasts.past_count_campaigns, 0) + 3'
        ) }} as past_response_rate,
        {{ quotient(
            'coalesce(pasts.past_count_responded_same_type, 0) + 0.3', 'coalesce(pasts.past_count_same_type, 0) + 3'
        ) }} as past_response_rate_same_type,

        fits.fit_net_sales,
        fits.fit_count_lines,
        fits.fit_count_products,
        fits.fit_faded_lines_56d,
        fits.fit_days_since_order,
        fits.fit_coupon_discounts,
        fits.fit_net_sales_share,
        fits.fit_faded_share,
        fits.category_net_sales,
        fits.category_faded_lines_56d,
        fits.category_count,
        fits.category_count_coupon_lines,
        fits.category_net_sales_share,
        fits.offer_count_bought,
        fits.offer_count_bought_3,
        fits.offer_share_bought,
        fits.offer_top_faded_lines_56d,
        fits.offer_top_4_faded_lines_56d,
        fits.offer_top_16_faded_lines_56d,
        fits.offer_top_count_lines,
        fits.offer_count_coupon_lines,

        fits.coupon_count_orders,
        fits.coupon_count_orders_28d,
        fits.coupon_count_orders_56d,
        fits.coupon_faded_lines_56d,
        fits.coupon_discounts,
        fits.coupon_count_products,
        fits.coupon_count_categories,
        fits.days_since_coupon,

        customer_features.customer_id is not null as has_customer_features,
        campaigns.end_date < campaigns.refreshed_date as is_label_closed,
        {{ days_between(
            'campaigns.start_date', 'least(campaigns.refreshed_date, ' ~ add_days('campaigns.end_date', 1) ~ ')'
        ) }} as observed_days,
        answers.first_responded_at is not null as has_responded,
        answers.first_responded_at
    from members
    inner join campaigns on members.campaign_id = campaigns.campaign_id
    inner join campaign_sizes on members.campaign_id = campaign_sizes.campaign_id
    left join campaign_offers on members.campaign_id = campaign_offers.campaign_id
    left join pasts
        on members.campaign_id = pasts.campaign_id
            and members.customer_id = pasts.customer_id
    left join newest_pasts
        on members.campaign_id = newest_pasts.campaign_id
            and members.customer_id = newest_pasts.customer_id
    inner join fits
        on members.campaign_id = fits.campaign_id
            and members.customer_id = fits.customer_id
    left join customer_features
        on members.customer_id = customer_features.customer_id
            and members.start_date = customer_features.as_of_date
    left join answers
        on members.campaign_id = answers.campaign_id
            and members.customer_id = answers.customer_id
)

select * from final
