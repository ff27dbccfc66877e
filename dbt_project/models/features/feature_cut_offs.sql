-- The days for which features are held, and what each may see in one fingerprint: rows that come late, change or go
-- change the fingerprints of exactly the cut-offs that see them, and customer_features builds those again.
{{ config(materialized='table') }}

with refresh as (
    select
        as_of_date,
        {{ business_midnight('as_of_date') }} as as_of_at
    from {{ source('control', 'refresh') }}
),

customer_days as (
    select *
    from {{ ref('customer_days') }}
),

campaigns as (
    select *
    from {{ ref('core_campaigns') }}
),

campaign_starts as (
    select distinct start_date
    from campaigns
),

span as (
    select
        refresh.as_of_date as last_date,
        greatest(
            min(customer_days.order_date), {{ add_days('refresh.as_of_date', '-' ~ var('feature_span_days')) }}
        ) as first_date,
        min(customer_days.order_date) as first_order_date
    from refresh
    cross join customer_days
    group by refresh.as_of_date
),

calendar as (
    {{ calendar_days('(select first_date from span)', '(select last_date from span)') }}
),

days as (
    select
        calendar.business_date as as_of_date,
        {{ days_into_period('calendar.business_date', "date '" ~ var('feature_grid_anchor') ~ "'", var('feature_grid_days')) }} = 0
        and {{ days_between('span.first_order_date', 'calendar.business_date') }} >= {{ var('feature_history_days') }} as is_on_grid,
        campaign_starts.start_date is not null as is_campaign_start,
        calendar.business_date = span.last_date as is_refreshed_day
    from calendar
    cross join span
    left join campaign_starts on calendar.business_date = campaign_starts.start_date
    where calendar.business_date > span.first_order_date
),

cut_offs as (
    select
        *,
        {{ business_midnight('as_of_date') }} as as_of_at
    from days
    where is_on_grid or is_campaign_start or is_refreshed_day
),

order_inputs as (
    select
        order_date as seen_date,
        {{ row_hash([
            'customer_id', 'order_date', 'visit_number', 'gap_days', 'store_id', 'store_gap_days', 'is_weekend', 'is_morning', 'is_evening',
            'sum_of_hours', 'sum_of_squared_hours', 'count_orders', 'line_count', 'units', 'net_sales', 'discounts', 'coupon_discounts',
            'private_label_net_sales', 'grocery_net_sales', 'fresh_net_sales', 'prepared_net_sales', 'drugstore_net_sales',
            'fuel_net_sales', 'other_net_sales', 'category_count', 'new_category_count', 'new_department_count',
        ]) }} as input_hash
    from customer_days
),

-- What a customer told about itself carries no date; it counts from the first order on, as do the customer's features.
customer_inputs as (
    select
        customer_days.order_date as seen_date,
        {{ row_hash([
            'customers.customer_id', 'customers.age_band', 'customers.income_band', 'customers.household_size',
            'customers.marital_status', 'customers.home_ownership', 'customers.kids_count',
        ]) }} as input_hash
    from {{ ref('core_customers') }} as customers
    inner join customer_days on customers.customer_id = customer_days.customer_id
    where customer_days.visit_number = 1
),

exposure_inputs as (
    select
        greatest(campaigns.start_date, {{ business_date('members.assigned_at') }}) as seen_date,
        {{ row_hash([
            'members.customer_id', 'members.campaign_id', 'members.assignment', 'members.assigned_at', 'campaigns.start_date',
            'campaigns.end_date',
        ]) }} as input_hash
    from {{ ref('core_campaign_members') }} as members
    inner join campaigns on members.campaign_id = campaigns.campaign_id
),

response_inputs as (
    select
        {{ business_date('responded_at') }} as seen_date,
        {{ row_hash(['customer_id', 'campaign_id', 'offer_id', 'responded_at']) }} as input_hash
    from {{ ref('core_campaign_responses') }}
),

inputs as (
    select * from order_inputs
    union all
    select * from customer_inputs
    union all
    select * from exposure_inputs
    union all
    select * from response_inputs
),

daily as (
    select
        seen_date,
        count(*) as input_count,
        sum(input_hash) as input_hash
    from inputs
    group by seen_date
),

final as (
    select
        cut_offs.as_of_date,
        cut_offs.as_of_at,
        cut_offs.is_on_grid,
        cut_offs.is_campaign_start,
        cut_offs.is_refreshed_day,
        sum(daily.input_count)::bigint as input_count,
        md5(concat_ws(' ', sum(daily.input_count)::varchar, sum(daily.input_hash)::varchar)) as input_fingerprint
    from cut_offs
    inner join daily on cut_offs.as_of_date > daily.seen_date
    group by cut_offs.as_of_date, cut_offs.as_of_at, cut_offs.is_on_grid, cut_offs.is_campaign_start, cut_offs.is_refreshed_day
)

select * from final
