-- What a member had bought before the campaign's first midnight, against what the campaign offers. Campaigns that are built and
-- whose inputs are the same are kept. Numbers stand for campaigns, members and products, as there are many pairs of them; a campaign begins
-- with a business day, so a day lies before it or not.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('campaign_inputs'), 'campaign_id') }}",
) }}

with campaigns as (
    select
        inputs.campaign_id,
        row_number() over (order by inputs.campaign_id) as campaign_number,
        inputs.start_date,
        {{ built_fingerprint(model, 'campaign_id') }} as input_fingerprint
    from {{ ref('campaign_inputs') }} as inputs
    {%- if is_incremental() %}
    where inputs.campaign_id not in (select distinct built.campaign_id from {{ this }} as built)
    {%- endif %}
),

refresh as (
    select {{ business_midnight('as_of_date') }} as as_of_at
    from {{ source('control', 'refresh') }}
),

members as (
    select
        row_number() over (order by members.campaign_id, members.customer_id) as member_number,
        campaigns.campaign_number,
        members.campaign_id,
        members.customer_id,
        campaigns.start_date,
        campaigns.input_fingerprint
    from {{ ref('core_campaign_members') }} as members
    inner join campaigns on members.campaign_id = campaigns.campaign_id
    inner join refresh on members.assigned_at <= refresh.as_of_at
),

products as (
    select
        product_id,
        row_number() over (order by product_id) as product_number,
        dense_rank() over (order by department, category) as category_number,
        dense_rank() over (order by department, category, brand) as line_number
    from {{ ref('core_products') }}
),

offers as (
    select
        campaigns.campaign_number,
        offers.offer_id,
        products.product_number,
        products.line_number
    from {{ ref('core_campaign_offers') }} as offers
    inner join campaigns on offers.campaign_id = campaigns.campaign_id
    inner join products on offers.product_id = products.product_id
    where offers.product_id != 'unknown'
),

order_lines as not materialized (
    select
        order_lines.order_id,
        order_lines.customer_id,
        order_lines.order_date,
        order_lines.net_sales,
        order_lines.coupon_discounts,
        products.product_number,
        products.category_number,
        products.line_number
    from {{ ref('core_order_lines') }} as order_lines
    inner join products on order_lines.product_id = products.product_id
    where order_lines.line_type != 'return'
),

campaign_offers as (
    select
        campaign_number,
        count(distinct offer_id) as count_offers
    from offers
    group by campaign_number
),

-- What is offered, and what is of the same category and brand.
campaign_products as (
    select distinct
        campaign_number,
        product_number
    from offers
),

campaign_lines as (
    select distinct
        campaign_number,
        line_number
    from offers
),

-- All that members had bought before their campaigns: read anew by each that follows, as it may be many times all lines.
member_lines as not materialized (
    select
        members.member_number,
        members.campaign_number,
        order_lines.order_id,
        order_lines.product_number,
        order_lines.category_number,
        order_lines.line_number,
        order_lines.net_sales,
        order_lines.coupon_discounts,
        {{ days_between('order_lines.order_date', 'members.start_date') }} as age_days,
        {{ faded_millionths(days_between('order_lines.order_date', 'members.start_date'), 56) }} as faded_lines
    from members
    inner join order_lines
        on members.customer_id = order_lines.customer_id
            and members.start_date > order_lines.order_date
),

compared as not materialized (
    select
        member_lines.*,
        campaign_lines.line_number is not null as is_of_category,
        campaign_products.product_number is not null as is_offered
    from member_lines
    left join campaign_lines
        on member_lines.campaign_number = campaign_lines.campaign_number
            and member_lines.line_number = campaign_lines.line_number
    left join campaign_products
        on member_lines.campaign_number = campaign_products.campaign_number
            and member_lines.product_number = campaign_products.product_number
),

fits as (
    select
        member_number,
        sum(net_sales) as net_sales,
        sum(faded_lines) as faded_lines,
        sum(net_sales) filter (where is_offered) as fit_net_sales,
        count_if(is_offered)::bigint as fit_count_lines,
        sum(faded_lines) filter (where is_offered) as fit_faded_lines,
        count(distinct case when is_offered then product_number end) as fit_count_products,
        min(age_days) filter (where is_offered) as fit_days_since_order,
        sum(coupon_discounts) filter (where is_offered) as fit_coupon_discounts,
        sum(net_sales) filter (where is_of_category) as category_net_sales,
        sum(faded_lines) filter (where is_of_category) as category_faded_lines,
        count(distinct case when is_of_category then category_number end) as category_count,
        count_if(is_of_category and coupon_discounts > 0)::bigint as category_count_coupon_lines
    from compared
    group by member_number
),

-- The semi join, as an engine would rather join all members to all products of their campaigns first.
bought_products as (
    select
        member_lines.member_number,
        member_lines.campaign_number,
        member_lines.product_number,
        count(*) as count_lines,
        sum(member_lines.faded_lines) as faded_lines,
        count_if(member_lines.coupon_discounts > 0) as count_coupon_lines
    from member_lines
    semi join campaign_products
        on member_lines.campaign_number = campaign_products.campaign_number
            and member_lines.product_number = campaign_products.product_number
    group by member_lines.member_number, member_lines.campaign_number, member_lines.product_number
),

-- Per offer what a member had bought of its products, the best offer first.
member_offers as (
    select
        bought_products.member_number,
        offers.offer_id,
        sum(bought_products.count_lines) as count_lines,
        sum(bought_products.faded_lines) as faded_lines,
        sum(bought_products.count_coupon_lines) as count_coupon_lines
    from bought_products
    inner join offers
        on bought_products.campaign_number = offers.campaign_number
            and bought_products.product_number = offers.product_number
    group by bought_products.member_number, offers.offer_id
),

ranked_offers as (
    select
        *,
        row_number() over (partition by member_number order by faded_lines desc, offer_id asc) as offer_rank
    from member_offers
),

offer_fits as (
    select
        member_number,
        count(*) as offer_count_bought,
        count_if(count_lines >= 3)::bigint as offer_count_bought_3,
        max(faded_lines) as offer_top_faded_lines,
        sum(case when offer_rank <= 4 then faded_lines else 0 end) as offer_top_4_faded_lines,
        sum(case when offer_rank <= 16 then faded_lines else 0 end) as offer_top_16_faded_lines,
        max(count_lines)::bigint as offer_top_count_lines,
        sum(count_coupon_lines)::bigint as offer_count_coupon_lines
    from ranked_offers
    group by member_number
),

-- Coupons at the till, of a campaign or not.
coupon_uses as (
    select
        member_number,
        count(distinct order_id) as coupon_count_orders,
        count(distinct case when age_days <= 28 then order_id end) as coupon_count_orders_28d,
        count(distinct case when age_days <= 56 then order_id end) as coupon_count_orders_56d,
        sum(faded_lines) as coupon_faded_lines,
        sum(coupon_discounts) as coupon_discounts,
        min(age_days) as days_since_coupon,
        count(distinct product_number) as coupon_count_products,
        count(distinct category_number) as coupon_count_categories
    from member_lines
    where coupon_discounts > 0
    group by member_number
),

final as (
    select
        members.campaign_id,
        members.customer_id,
        members.start_date,
        coalesce(fits.fit_net_sales, 0)::decimal(18, 2) as fit_net_sales,
        coalesce(fits.fit_count_lines, 0) as fit_count_lines,
        coalesce(fits.fit_count_products, 0) as fit_count_products,
        coalesce(fits.fit_faded_lines, 0)::double / 1000000 as fit_faded_lines_56d,
        fits.fit_days_since_order,
        coalesce(fits.fit_coupon_discounts, 0)::decimal(18, 2) as fit_coupon_discounts,
        coalesce({{ quotient('fits.fit_net_sales', 'fits.net_sales') }}, 0) as fit_net_sales_share,
        coalesce({{ quotient('fits.fit_faded_lines', 'fits.faded_lines') }}, 0) as fit_faded_share,
        coalesce(fits.category_net_sales, 0)::decimal(18, 2) as category_net_sales,
        coalesce(fits.category_faded_lines, 0)::double / 1000000 as category_faded_lines_56d,
        coalesce(fits.category_count, 0) as category_count,
        coalesce(fits.category_count_coupon_lines, 0) as category_count_coupon_lines,
        coalesce({{ quotient('fits.category_net_sales', 'fits.net_sales') }}, 0) as category_net_sales_share,
        coalesce(offer_fits.offer_count_bought, 0) as offer_count_bought,
        coalesce(offer_fits.offer_count_bought_3, 0) as offer_count_bought_3,
        coalesce({{ quotient('offer_fits.offer_count_bought', 'campaign_offers.count_offers') }}, 0) as offer_share_bought,
        coalesce(offer_fits.offer_top_faded_lines, 0)::double / 1000000 as offer_top_faded_lines_56d,
        coalesce(offer_fits.offer_top_4_faded_lines, 0)::double / 1000000 as offer_top_4_faded_lines_56d,
        coalesce(offer_fits.offer_top_16_faded_lines, 0)::double / 1000000 as offer_top_16_faded_lines_56d,
        coalesce(offer_fits.offer_top_count_lines, 0) as offer_top_count_lines,
        coalesce(offer_fits.offer_count_coupon_lines, 0) as offer_count_coupon_lines,

        coalesce(coupon_uses.coupon_count_orders, 0) as coupon_count_orders,
        coalesce(coupon_uses.coupon_count_orders_28d, 0) as coupon_count_orders_28d,
        coalesce(coupon_uses.coupon_count_orders_56d, 0) as coupon_count_orders_56d,
        coalesce(coupon_uses.coupon_faded_lines, 0)::double / 1000000 as coupon_faded_lines_56d,
        coalesce(coupon_uses.coupon_discounts, 0)::decimal(18, 2) as coupon_discounts,
        coalesce(coupon_uses.coupon_count_products, 0) as coupon_count_products,
        coalesce(coupon_uses.coupon_count_categories, 0) as coupon_count_categories,
        coupon_uses.days_since_coupon,
        members.input_fingerprint
    from members
    left join campaign_offers on members.campaign_number = campaign_offers.campaign_number
    left join fits on members.member_number = fits.member_number
    left join offer_fits on members.member_number = offer_fits.member_number
    left join coupon_uses on members.member_number = coupon_uses.member_number
)

select * from final
