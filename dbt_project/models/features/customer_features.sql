-- A cut-off sees what lies strictly before its midnight. Cut-offs that are built and whose inputs are the same are kept; the hook drops
-- the others (of another input, or no cut-off any more) together with the insertion of what is missing.
-- A visit is a day with an order. Sums over visits are exact; floating point comes with the last division.
{%- set visit_windows = [7, 14, 21, 28, 42, 56, 84, 112, 182] %}
{%- set sales_windows = [14, 28, 56, 84, 182] %}
{%- set groups = ['grocery', 'fresh', 'prepared', 'drugstore', 'fuel', 'other'] %}
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('feature_cut_offs'), 'as_of_date', ['small_visit_net_sales', 'large_visit_net_sales']) }}",
) }}

with cut_offs as (
    select
        inputs.as_of_date,
        inputs.as_of_at,
        {{ built_fingerprint(model, 'as_of_date', ['small_visit_net_sales', 'large_visit_net_sales']) }} as input_fingerprint
    from {{ ref('feature_cut_offs') }} as inputs
    {%- if is_incremental() %}
    where inputs.as_of_date not in (select distinct built.as_of_date from {{ this }} as built)
    {%- endif %}
),

customer_days as (
    select *
    from {{ ref('customer_days') }}
),

customers as (
    select *
    from {{ ref('core_customers') }}
),

campaigns as (
    select *
    from {{ ref('core_campaigns') }}
),

campaign_members as (
    select *
    from {{ ref('core_campaign_members') }}
    where assignment = 'treatment'
),

campaign_responses as (
    select *
    from {{ ref('core_campaign_responses') }}
),

visits as (
    select
        *,
        coalesce(lead(order_date) over (partition by customer_id order by order_date), date '9999-12-31') as next_order_date
    from customer_days
),

-- One row per customer and cut-off: the newest visit before it.
newest_visits as (
    select
        cut_offs.as_of_date,
        cut_offs.as_of_at,
        cut_offs.input_fingerprint,
        visits.customer_id,
        visits.visit_number,
        visits.gap_days,
        visits.net_sales,
        visits.line_count,
        {{ days_between('visits.order_date', 'cut_offs.as_of_date') }} as recency_days
    from visits
    inner join cut_offs
        on visits.order_date < cut_offs.as_of_date
            and visits.next_order_date >= cut_offs.as_of_date
),

ages as (
    select distinct {{ days_between('order_days.order_date', 'cut_offs.as_of_date') }} as age_days
    from (select distinct order_date from customer_days) as order_days
    inner join cut_offs on order_days.order_date < cut_offs.as_of_date
),

weights as (
    select
        {%- for days in [7, 14, 28, 56, 84, 112] %}
            {{ faded_millionths('age_days', days) }} as weight_{{ days }},
        {%- endfor %}
        age_days
    from ages
),

seen as (
    select
        customer_days.*,
        newest_visits.as_of_date,
        newest_visits.recency_days,
        newest_visits.visit_number - customer_days.visit_number as visits_since,
        weights.*
    from newest_visits
    inner join customer_days
        on newest_visits.customer_id = customer_days.customer_id
            and newest_visits.as_of_date > customer_days.order_date
    inner join weights on {{ days_between('customer_days.order_date', 'newest_visits.as_of_date') }} = weights.age_days
),

totals as (
    select
        customer_id,
        as_of_date,
        max(age_days) as tenure_days,
        count(*) as count_visits,
        sum(count_orders)::bigint as count_orders,
        sum(line_count)::bigint as line_count,
        sum(units) as units,
        sum(net_sales) as net_sales,
        sum(discounts) as discounts,
        sum(coupon_discounts) as coupon_discounts,
        sum(private_label_net_sales) as private_label_net_sales,
        {%- for days in visit_windows %}
            count_if(age_days <= {{ days }})::bigint as count_visits_{{ days }}d,
        {%- endfor %}
        {%- for days in sales_windows %}
            sum(case when age_days <= {{ days }} then net_sales else 0 end) as net_sales_{{ days }}d,
        {%- endfor %}
        {%- for days in [7, 14, 28, 56, 112] %}
            sum(weight_{{ days }}) as faded_visits_{{ days }},
        {%- endfor %}
        {%- for days in [28, 84] %}
            sum(net_sales * weight_{{ days }}) as faded_net_sales_{{ days }},
        {%- endfor %}

        -- Gaps: the days from one visit to the next, counted at the visit that ended them.
        sum(gap_days) as sum_of_gaps,
        sum(gap_days * gap_days) as sum_of_squared_gaps,
        max(gap_days) as longest_gap_days,
        -- Holds every gap in memory: once for both, and in few bytes.
        quantile_cont(gap_days::integer, [0.5, 0.9]) as gap_days_quantiles,
        count(case when age_days <= 84 then gap_days end) as count_gaps_84d,
        sum(case when age_days <= 84 then gap_days end) as sum_of_gaps_84d,
        sum(case when age_days <= 84 then gap_days * gap_days end) as sum_of_squared_gaps_84d,
        max(case when age_days <= 84 then gap_days end) as longest_gap_days_84d,
        max(case when age_days <= 28 then gap_days end) as longest_gap_days_28d,
        count(case when visits_since < 3 then gap_days end) as count_gaps_last_3,
        sum(case when visits_since < 3 then gap_days end) as sum_of_gaps_last_3,
        max(case when visits_since < 5 then gap_days end) as longest_gap_days_last_5,
        {%- for days in [14, 21, 28] %}
            count_if(coalesce(gap_days, 0) > {{ days }})::bigint as count_gaps_over_{{ days }}d,
        {%- endfor %}
        {%- for days in [7, 14, 28] %}
            sum(case when gap_days > {{ days }} then gap_days - {{ days }} else 0 end) as silent_days_{{ days }},
        {%- endfor %}
        count_if(coalesce(gap_days, 0) > recency_days)::bigint as count_gaps_over_recency,
        count_if(coalesce(gap_days, 0) > recency_days + 14)::bigint as count_gaps_over_recency_14d,
        count_if(coalesce(gap_days, 0) > recency_days + 28)::bigint as count_gaps_over_recency_28d,
        sum(case when gap_days > recency_days then gap_days - recency_days else 0 end)::bigint as residual_gap_days,
        -- The oldest visit of each week counts for it: the one before it lies in an older week.
        {%- for weeks in [4, 12, 26] %}
            count_if(
                age_days <= {{ 7 * weeks }}
                and (gap_days is null or floor((age_days - 1) / 7) < floor((age_days + gap_days - 1) / 7))
            )::bigint as count_active_weeks_{{ weeks }}w,
        {%- endfor %}
        count_if(
            gap_days is null or floor((age_days - 1) / 28) < floor((age_days + gap_days - 1) / 28)
        )::bigint as count_active_months,

        -- Habits.
        count_if(is_weekend) as count_weekend_visits,
        count_if(is_morning) as count_morning_visits,
        count_if(is_evening) as count_evening_visits,
        sum(sum_of_hours) as sum_of_hours,
        sum(sum_of_squared_hours) as sum_of_squared_hours,
        count_if(store_gap_days is null)::bigint as count_stores,
        count_if(age_days <= 84 and (store_gap_days is null or age_days + store_gap_days > 84))::bigint as count_stores_84d,

        -- Baskets.
        max(net_sales) as largest_visit_net_sales,
        sum(net_sales * net_sales) as sum_of_squared_net_sales,
        max(case when visits_since < 3 then net_sales end) as largest_of_last_3_net_sales,
        count_if(net_sales < {{ var('small_visit_net_sales') }}) as count_small_visits,
        count_if(net_sales >= {{ var('large_visit_net_sales') }}) as count_large_visits,
        count_if(net_sales >= {{ var('large_visit_net_sales') }} and age_days <= 56)::bigint as count_large_visits_56d,
        min(case when net_sales >= {{ var('large_visit_net_sales') }} then age_days end) as days_since_large_visit,
        count_if(coupon_discounts > 0) as count_coupon_visits,
        count_if(coupon_discounts > 0 and age_days <= 56)::bigint as count_coupon_visits_56d,
        sum(case when age_days <= 56 then discounts end) as discounts_56d,
        sum(case when age_days <= 56 then private_label_net_sales end) as private_label_net_sales_56d,

        -- Mix.
        {%- for group in groups %}
            sum({{ group }}_net_sales) as {{ group }}_net_sales,
            sum(case when age_days <= 56 then {{ group }}_net_sales else 0 end) as {{ group }}_net_sales_56d,
        {%- endfor %}
        count_if(fresh_net_sales > 0) as count_fresh_visits,
        min(case when fresh_net_sales > 0 then age_days end) as days_since_fresh,
        min(case when fuel_net_sales > 0 then age_days end) as days_since_fuel,
        sum(category_count) as sum_of_categories,
        sum(case when age_days <= 56 then category_count end) as sum_of_categories_56d,
        sum(new_category_count)::bigint as count_categories,
        sum(case when age_days <= 56 then new_category_count else 0 end)::bigint as count_new_categories_56d,
        sum(new_department_count)::bigint as count_departments
    from seen
    group by customer_id, as_of_date
),

exposures as (
    select
        campaign_members.customer_id,
        cut_offs.as_of_date,
        count(*) as count_campaigns,
        count_if({{ days_between('campaigns.start_date', 'cut_offs.as_of_date') }} <= 84)::bigint as count_campaigns_84d,
        count_if(campaigns.end_date >= cut_offs.as_of_date)::bigint as count_open_campaigns,
        {{ days_between('max(campaigns.start_date)', 'cut_offs.as_of_date') }} as days_since_campaign
    from campaign_members
    inner join campaigns on campaign_members.campaign_id = campaigns.campaign_id
    inner join cut_offs
        on campaigns.start_date < cut_offs.as_of_date
            and campaign_members.assigned_at < cut_offs.as_of_at
    group by campaign_members.customer_id, cut_offs.as_of_date
),

responses as (
    select
        campaign_responses.customer_id,
        cut_offs.as_of_date,
        count(*) as count_responses,
        count(distinct campaign_responses.campaign_id) as count_campaigns_responded,
        {{ days_between(business_date('max(campaign_responses.responded_at)'), 'cut_offs.as_of_date') }} as days_since_response
    from campaign_responses
    inner join cut_offs on campaign_responses.responded_at < cut_offs.as_of_at
    group by campaign_responses.customer_id, cut_offs.as_of_date
),

final as (
    select
        newest_visits.customer_id,
        newest_visits.as_of_date,
        newest_visits.as_of_at,

        newest_visits.recency_days,
        totals.tenure_days,
        totals.count_visits,
        totals.count_orders as lifetime_count_orders,
        {%- for days in visit_windows %}
            totals.count_visits_{{ days }}d,
        {%- endfor %}
        totals.net_sales::decimal(18, 2) as lifetime_net_sales,
        {%- for days in sales_windows %}
            totals.net_sales_{{ days }}d::decimal(18, 2) as net_sales_{{ days }}d,
        {%- endfor %}
        {%- for days in [7, 14, 28, 56, 112] %}
            totals.faded_visits_{{ days }}::double / 1000000 as faded_visits_{{ days }}d,
        {%- endfor %}
        {%- for days in [28, 84] %}
            totals.faded_net_sales_{{ days }}::double / 1000000 as faded_net_sales_{{ days }}d,
        {%- endfor %}
        {{ quotient('totals.count_visits', 'totals.tenure_days') }} as visits_per_day,
        {{ quotient('totals.count_visits_28d + 0.5', 'totals.count_visits_56d - totals.count_visits_28d + 0.5') }} as visits_trend_28d,
        {{ quotient('totals.count_visits_56d + 0.5', 'totals.count_visits_112d - totals.count_visits_56d + 0.5') }} as visits_trend_56d,
        {{ quotient(
            '(totals.count_visits_84d + 0.5) * (totals.tenure_days + 1)', '84 * (totals.count_visits + 0.5)'
        ) }} as visits_trend_84d,
        {{ quotient('totals.net_sales_28d + 5', 'totals.net_sales_56d - totals.net_sales_28d + 5') }} as net_sales_trend_28d,
        {{ quotient(
            '(totals.net_sales_56d + 5) * (totals.tenure_days + 1)', '56 * (totals.net_sales + 5)'
        ) }} as net_sales_trend_56d,
        {{ quotient('totals.faded_visits_14', 'totals.faded_visits_56 + 10000') }} as faded_visits_trend,

        newest_visits.gap_days as last_gap_days,
        {{ quotient('totals.sum_of_gaps', 'totals.count_visits - 1') }} as mean_gap_days,
        {{ spread('(totals.count_visits - 1)', 'totals.sum_of_gaps', 'totals.sum_of_squared_gaps') }} as sd_gap_days,
        totals.gap_days_quantiles[1] as median_gap_days,
        totals.gap_days_quantiles[2] as p90_gap_days,
        totals.longest_gap_days,
        {{ quotient('totals.sum_of_gaps_84d', 'totals.count_gaps_84d') }} as mean_gap_days_84d,
        {{ spread('totals.count_gaps_84d', 'totals.sum_of_gaps_84d', 'totals.sum_of_squared_gaps_84d') }} as sd_gap_days_84d,
        totals.longest_gap_days_84d,
        totals.longest_gap_days_28d,
        {{ quotient('totals.sum_of_gaps_last_3', 'totals.count_gaps_last_3') }} as mean_gap_days_last_3,
        totals.longest_gap_days_last_5,
        {%- for days in [14, 21, 28] %}
            totals.count_gaps_over_{{ days }}d,
        {%- endfor %}
        {{ quotient('newest_visits.recency_days', 'mean_gap_days + 1') }} as recency_to_mean_gap,
        {{ quotient('newest_visits.recency_days', 'mean_gap_days_84d + 1') }} as recency_to_mean_gap_84d,
        {{ quotient('newest_visits.recency_days', 'totals.longest_gap_days + 1') }} as recency_to_longest_gap,
        {{ quotient('newest_visits.recency_days - mean_gap_days', 'sd_gap_days + 1') }} as recency_z_score,
        {{ quotient('sd_gap_days', 'mean_gap_days + 1') }} as gap_variation,
        totals.count_gaps_over_recency,
        totals.count_gaps_over_recency_14d,
        totals.count_gaps_over_recency_28d,
        totals.residual_gap_days,
        {{ quotient('totals.residual_gap_days', 'totals.count_gaps_over_recency') }} as mean_residual_gap_days,
        {{ quotient('totals.count_gaps_over_recency_14d + 0.4', 'totals.count_gaps_over_recency + 2') }} as own_hazard_14d,
        {{ quotient('totals.count_gaps_over_recency_28d + 0.2', 'totals.count_gaps_over_recency + 2') }} as own_hazard_28d,
        {%- for days in [7, 14, 28] %}
        {{ quotient(
            'totals.silent_days_' ~ days ~ ' + greatest(newest_visits.recency_days - ' ~ days ~ ', 0)', 'totals.tenure_days'
        ) }} as silent_share_{{ days }}d,
        {%- endfor %}
        {%- for weeks in [4, 12, 26] %}
            totals.count_active_weeks_{{ weeks }}w,
        {%- endfor %}
        totals.count_active_months,

        {{ quotient('totals.count_weekend_visits', 'totals.count_visits') }} as weekend_share,
        {{ quotient('totals.count_morning_visits', 'totals.count_visits') }} as morning_share,
        {{ quotient('totals.count_evening_visits', 'totals.count_visits') }} as evening_share,
        {{ quotient('totals.sum_of_hours', 'totals.count_orders') }} as mean_order_hour,
        {{ spread('totals.count_orders', 'totals.sum_of_hours', 'totals.sum_of_squared_hours') }} as sd_order_hour,
        totals.count_stores,
        totals.count_stores_84d,

        {{ quotient('totals.net_sales', 'totals.count_visits') }} as mean_visit_net_sales,
        {{ quotient('totals.net_sales_56d', 'totals.count_visits_56d') }} as mean_visit_net_sales_56d,
        {{ spread('totals.count_visits', 'totals.net_sales', 'totals.sum_of_squared_net_sales') }} as sd_visit_net_sales,
        totals.largest_visit_net_sales,
        totals.largest_of_last_3_net_sales,
        newest_visits.net_sales as last_visit_net_sales,
        newest_visits.line_count as last_visit_line_count,
        {{ quotient('mean_visit_net_sales_56d', 'mean_visit_net_sales + 1') }} as visit_net_sales_trend_56d,
        {{ quotient('newest_visits.net_sales', 'mean_visit_net_sales + 1') }} as last_visit_to_mean,
        {{ quotient('totals.count_small_visits', 'totals.count_visits') }} as small_visit_share,
        {{ quotient('totals.count_large_visits', 'totals.count_visits') }} as large_visit_share,
        totals.count_large_visits_56d,
        totals.days_since_large_visit,
        {{ quotient('totals.units', 'totals.count_visits') }} as mean_visit_units,
        {{ quotient('totals.line_count', 'totals.count_visits') }} as mean_visit_line_count,
        {{ quotient('totals.count_orders', 'totals.count_visits') }} as orders_per_visit,
        {{ quotient('totals.discounts', 'totals.net_sales + totals.discounts + 1') }} as discount_share,
        {{ quotient('totals.discounts_56d', 'totals.net_sales_56d + totals.discounts_56d + 1') }} as discount_share_56d,
        discount_share_56d - discount_share as discount_share_change_56d,
        {{ quotient('totals.count_coupon_visits', 'totals.count_visits') }} as coupon_visit_share,
        totals.count_coupon_visits_56d,
        totals.coupon_discounts::decimal(18, 2) as lifetime_coupon_discounts,
        {{ quotient('totals.private_label_net_sales', 'totals.net_sales + 1') }} as private_label_share,
        {{ quotient('totals.private_label_net_sales_56d', 'totals.net_sales_56d + 1') }} as private_label_share_56d,
        private_label_share_56d - private_label_share as private_label_share_change_56d,

        {%- for group in groups %}
            {{ quotient('totals.' ~ group ~ '_net_sales', 'totals.net_sales + 1') }} as {{ group }}_share,
        {%- endfor %}
        (
            {%- for group in groups %}
                abs(
                    {{ quotient('totals.' ~ group ~ '_net_sales_56d', 'totals.net_sales_56d') }}
                    - {{ quotient(
                    'totals.' ~ group ~ '_net_sales - totals.' ~ group ~ '_net_sales_56d', 'totals.net_sales - totals.net_sales_56d'
                ) }}
                ){{ '' if loop.last else ' +' }}
            {%- endfor %}
        ) / 2 as mix_change_56d,
        {{ quotient('totals.count_fresh_visits', 'totals.count_visits') }} as fresh_visit_share,
        totals.days_since_fresh,
        totals.days_since_fuel,
        totals.count_departments,
        totals.count_categories,
        totals.count_new_categories_56d,
        {{ quotient('totals.sum_of_categories', 'totals.count_visits') }} as mean_visit_categories,
        {{ quotient('totals.sum_of_categories_56d', 'totals.count_visits_56d') }} as mean_visit_categories_56d,

        coalesce(exposures.count_campaigns, 0) as count_campaigns,
        coalesce(exposures.count_campaigns_84d, 0) as count_campaigns_84d,
        coalesce(exposures.count_open_campaigns, 0) as count_open_campaigns,
        exposures.days_since_campaign,
        coalesce(responses.count_responses, 0) as count_responses,
        coalesce(responses.count_campaigns_responded, 0) as count_campaigns_responded,
        responses.days_since_response,

        customers.age_band,
        customers.income_band,
        customers.household_size,
        customers.marital_status,
        customers.home_ownership,
        customers.kids_count,

        newest_visits.input_fingerprint
    from newest_visits
    inner join totals
        on newest_visits.customer_id = totals.customer_id
            and newest_visits.as_of_date = totals.as_of_date
    inner join customers on newest_visits.customer_id = customers.customer_id
    left join exposures
        on newest_visits.customer_id = exposures.customer_id
            and newest_visits.as_of_date = exposures.as_of_date
    left join responses
        on newest_visits.customer_id = responses.customer_id
            and newest_visits.as_of_date = responses.as_of_date
)

select * from final
