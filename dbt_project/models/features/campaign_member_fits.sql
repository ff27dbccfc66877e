-- What a member had bought before the campaign's first midnight, against what the campaign offers. Campaigns that are built and
-- whose inputs are the same are kept.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('campaign_inputs'), 'campaign_id') }}",
) }}

with campaigns as (
    select
        inputs.campaign_id,
        inputs.start_date,
        inputs.start_at,
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
        members.campaign_id,
        members.customer_id,
        campaigns.start_date,
        campaigns.start_at,
        campaigns.input_fingerprint
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

products as (
    select
        product_id,
        dense_rank() over (order by department, category) as category_number,
        dense_rank() over (order by department, category, brand) as line_number
    from {{ ref('core_products') }}
),

order_lines as (
    select *
    from {{ ref('core_order_lines') }}
    where line_type != 'return'
),

campaign_offers as (
    select
        campaign_id,
        count(distinct offer_id) as count_offers
    from offers
    group by campaign_id
),

campaign_products as (
    select distinct
        campaign_id,
        product_id
    from offers
),

-- What is offered, and what is of the same category and brand.
campaign_lines as (
    select distinct
        campaign_products.campaign_id,
        products.line_number
    from campaign_products
    inner join products on campaign_products.product_id = products.product_id
),

-- What a member had bought before the campaign, per product.
bought as (
    select
        members.campaign_id,
        members.customer_id,
        order_lines.product_id,
        products.category_number,
        products.line_number,
        sum(order_lines.net_sales) as net_sales,
        count(*) as count_lines,
        count_if(order_lines.coupon_discounts > 0) as count_coupon_lines,
        sum(order_lines.coupon_discounts) as coupon_discounts,
        sum({{ faded_millionths(days_between('order_lines.order_date', 'members.start_date'), 56) }}) as faded_lines,
        max(order_lines.order_date) as last_order_date
    from members
    inner join order_lines
        on members.customer_id = order_lines.customer_id
            and members.start_at > order_lines.ordered_at
    inner join products on order_lines.product_id = products.product_id
    group by members.campaign_id, members.customer_id, order_lines.product_id, products.category_number, products.line_number
),

matched as (
    select
        bought.*,
        campaign_products.product_id is not null as is_offered
    from bought
    left join campaign_products
        on bought.campaign_id = campaign_products.campaign_id
            and bought.product_id = campaign_products.product_id
),

fits as (
    select
        matched.campaign_id,
        matched.customer_id,
        sum(matched.net_sales) as net_sales,
        sum(matched.faded_lines) as faded_lines,
        sum(case when matched.is_offered then matched.net_sales else 0 end) as fit_net_sales,
        sum(case when matched.is_offered then matched.count_lines else 0 end)::bigint as fit_count_lines,
        sum(case when matched.is_offered then matched.faded_lines else 0 end) as fit_faded_lines,
        count_if(matched.is_offered)::bigint as fit_count_products,
        max(case when matched.is_offered then matched.last_order_date end) as fit_last_order_date,
        sum(case when matched.is_offered then matched.coupon_discounts else 0 end) as fit_coupon_discounts,
        sum(case when campaign_lines.campaign_id is not null then matched.net_sales else 0 end) as category_net_sales,
        sum(case when campaign_lines.campaign_id is not null then matched.faded_lines else 0 end) as category_faded_lines,
        count(distinct case when campaign_lines.campaign_id is not null then matched.category_number end) as category_count,
        sum(
            case when campaign_lines.campaign_id is not null then matched.count_coupon_lines else 0 end
        )::bigint as category_count_coupon_lines
    from matched
    left join campaign_lines
        on matched.campaign_id = campaign_lines.campaign_id
            and matched.line_number = campaign_lines.line_number
    group by matched.campaign_id, matched.customer_id
),

-- Per offer what a member had bought of its products, the best offer first.
member_offers as (
    select
        offers.campaign_id,
        matched.customer_id,
        offers.offer_id,
        sum(matched.count_lines) as count_lines,
        sum(matched.faded_lines) as faded_lines,
        sum(matched.count_coupon_lines) as count_coupon_lines
    from offers
    inner join matched
        on offers.campaign_id = matched.campaign_id
            and offers.product_id = matched.product_id
    where matched.is_offered
    group by offers.campaign_id, matched.customer_id, offers.offer_id
),

ranked_offers as (
    select
        *,
        row_number() over (partition by campaign_id, customer_id order by faded_lines desc, offer_id asc) as offer_rank
    from member_offers
),

offer_fits as (
    select
        campaign_id,
        customer_id,
        count(*) as offer_count_bought,
        count_if(count_lines >= 3)::bigint as offer_count_bought_3,
        max(faded_lines) as offer_top_faded_lines,
        sum(case when offer_rank <= 4 then faded_lines else 0 end) as offer_top_4_faded_lines,
        sum(case when offer_rank <= 16 then faded_lines else 0 end) as offer_top_16_faded_lines,
        max(count_lines)::bigint as offer_top_count_lines,
        sum(count_coupon_lines)::bigint as offer_count_coupon_lines
    from ranked_offers
    group by campaign_id, customer_id
),

-- Coupons at the till, of a campaign or not.
coupon_lines as (
    select
        members.campaign_id,
        members.customer_id,
        order_lines.order_id,
        order_lines.product_id,
        products.category_number,
        order_lines.coupon_discounts,
        {{ days_between('order_lines.order_date', 'members.start_date') }} as age_days
    from members
    inner join order_lines
        on members.customer_id = order_lines.customer_id
            and members.start_at > order_lines.ordered_at
    inner join products on order_lines.product_id = products.product_id
    where order_lines.coupon_discounts > 0
),

coupon_uses as (
    select
        campaign_id,
        customer_id,
        count(distinct order_id) as coupon_count_orders,
        count(distinct case when age_days <= 28 then order_id end) as coupon_count_orders_28d,
        count(distinct case when age_days <= 56 then order_id end) as coupon_count_orders_56d,
        sum({{ faded_millionths('age_days', 56) }}) as coupon_faded_lines,
        sum(coupon_discounts) as coupon_discounts,
        min(age_days) as days_since_coupon,
        count(distinct product_id) as coupon_count_products,
        count(distinct category_number) as coupon_count_categories
    from coupon_lines
    group by campaign_id, customer_id
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
    left join campaign_offers on members.campaign_id = campaign_offers.campaign_id
    left join fits
        on members.campaign_id = fits.campaign_id
            and members.customer_id = fits.customer_id
    left join offer_fits
        on members.campaign_id = offer_fits.campaign_id
            and members.customer_id = offer_fits.customer_id
    left join coupon_uses
        on members.campaign_id = coupon_uses.campaign_id
            and members.customer_id = coupon_uses.customer_id
)

select * from final
