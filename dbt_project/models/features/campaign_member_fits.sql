-- What a member had bought before the campaign's first midnight, against what the campaign offers. Campaigns that are built and
-- whose inputs are the same are kept. Numbers stand for members and products, as there are many pairs of them; a campaign begins
-- with a business day, so a day lies before it or not.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('campaign_inputs'), 'campaign_id') }}",
) }}

with campaigns as (
    select
        inputs.campaign_id,
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
        offers.campaign_id,
        offers.offer_id,
        products.product_number,
        products.line_number
    from {{ ref('core_campaign_offers') }} as offers
    inner join campaigns on offers.campaign_id = campaigns.campaign_id
    inner join products on offers.product_id = products.product_id
    where offers.product_id != 'unknown'
),

-- With the numbers of their products: an engine that looked these up later would first join all products to all campaigns.
order_lines as (
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
        campaign_id,
        count(distinct offer_id) as count_offers
    from offers
    group by campaign_id
),

-- What is offered, and what is of the same category and brand.
campaign_products as (
    select distinct
        campaign_id,
        product_number,
        line_number
    from offers
),

campaign_lines as (
    select distinct
        campaign_id,
        line_number
    from campaign_products
),

order_days as (
    select
        customer_id,
        order_date,
        count(*) as count_lines,
        sum(net_sales) as net_sales
    from order_lines
    group by customer_id, order_date
),

-- All that a member had bought before the campaign.
totals as (
    select
        members.member_number,
        sum(order_days.net_sales) as net_sales,
        sum(
            order_days.count_lines * {{ faded_millionths(days_between('order_days.order_date', 'members.start_date'), 56) }}
        ) as faded_lines
    from members
    inner join order_days
        on members.customer_id = order_days.customer_id
            and members.start_date > order_days.order_date
    group by members.member_number
),

-- Of that, what is compared, per product.
matched as (
    select
        members.member_number,
        order_lines.product_number,
        min(order_lines.category_number) as category_number,
        bool_or(campaign_products.product_number is not null) as is_offered,
        sum(order_lines.net_sales) as net_sales,
        count(*) as count_lines,
        count_if(order_lines.coupon_discounts > 0) as count_coupon_lines,
        sum(order_lines.coupon_discounts) as coupon_discounts,
        sum({{ faded_millionths(days_between('order_lines.order_date', 'members.start_date'), 56) }}) as faded_lines,
        max(order_lines.order_date) as last_order_date
    from members
    inner join order_lines
        on members.customer_id = order_lines.customer_id
            and members.start_date > order_lines.order_date
    inner join campaign_lines
        on members.campaign_id = campaign_lines.campaign_id
            and order_lines.line_number = campaign_lines.line_number
    left join campaign_products
        on members.campaign_id = campaign_products.campaign_id
            and order_lines.product_number = campaign_products.product_number
    group by members.member_number, order_lines.product_number
),

fits as (
    select
        member_number,
        sum(net_sales) filter (where is_offered) as fit_net_sales,
        (sum(count_lines) filter (where is_offered))::bigint as fit_count_lines,
        sum(faded_lines) filter (where is_offered) as fit_faded_lines,
        count_if(is_offered)::bigint as fit_count_products,
        max(last_order_date) filter (where is_offered) as fit_last_order_date,
        sum(coupon_discounts) filter (where is_offered) as fit_coupon_discounts,
        sum(net_sales) as category_net_sales,
        sum(faded_lines) as category_faded_lines,
        count(distinct category_number) as category_count,
        sum(count_coupon_lines)::bigint as category_count_coupon_lines
    from matched
    group by member_number
),

-- Per offer what a member had bought of its products, the best offer first.
member_offers as (
    select
        members.member_number,
        offers.offer_id,
        sum(matched.count_lines) as count_lines,
        sum(matched.faded_lines) as faded_lines,
        sum(matched.count_coupon_lines) as count_coupon_lines
    from matched
    inner join members on matched.member_number = members.member_number
    inner join offers
        on members.campaign_id = offers.campaign_id
            and matched.product_number = offers.product_number
    where matched.is_offered
    group by members.member_number, offers.offer_id
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
coupon_lines as (
    select
        members.member_number,
        order_lines.order_id,
        order_lines.product_number,
        order_lines.category_number,
        order_lines.coupon_discounts,
        {{ days_between('order_lines.order_date', 'members.start_date') }} as age_days
    from members
    inner join order_lines
        on members.customer_id = order_lines.customer_id
            and members.start_date > order_lines.order_date
    where order_lines.coupon_discounts > 0
),

coupon_uses as (
    select
        member_number,
        count(distinct order_id) as coupon_count_orders,
        count(distinct case when age_days <= 28 then order_id end) as coupon_count_orders_28d,
        count(distinct case when age_days <= 56 then order_id end) as coupon_count_orders_56d,
        sum({{ faded_millionths('age_days', 56) }}) as coupon_faded_lines,
        sum(coupon_discounts) as coupon_discounts,
        min(age_days) as days_since_coupon,
        count(distinct product_number) as coupon_count_products,
        count(distinct category_number) as coupon_count_categories
    from coupon_lines
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
        {{ days_between('fits.fit_last_order_date', 'members.start_date') }} as fit_days_since_order,
        coalesce(fits.fit_coupon_discounts, 0)::decimal(18, 2) as fit_coupon_discounts,
        coalesce({{ quotient('fits.fit_net_sales', 'totals.net_sales') }}, 0) as fit_net_sales_share,
        coalesce({{ quotient('fits.fit_faded_lines', 'totals.faded_lines') }}, 0) as fit_faded_share,
        coalesce(fits.category_net_sales, 0)::decimal(18, 2) as category_net_sales,
        coalesce(fits.category_faded_lines, 0)::double / 1000000 as category_faded_lines_56d,
        coalesce(fits.category_count, 0) as category_count,
        coalesce(fits.category_count_coupon_lines, 0) as category_count_coupon_lines,
        coalesce({{ quotient('fits.category_net_sales', 'totals.net_sales') }}, 0) as category_net_sales_share,
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
    left join campaign_offers on members.campaign_id = campaign_offers.campaign_id
    left join totals on members.member_number = totals.member_number
    left join fits on members.member_number = fits.member_number
    left join offer_fits on members.member_number = offer_fits.member_number
    left join coupon_uses on members.member_number = coupon_uses.member_number
)

select * from final
