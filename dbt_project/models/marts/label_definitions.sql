-- The dictionary of every label: a label that is given and not here, or is here and is never given, fails a test. Thresholds are those in
-- force: variables, and where the day's customers decide, what they came to on the newest day.
{%- set new = 'new_customer_days = ' ~ var('new_customer_days') -%}
{%- set dormant = 'dormant_after_days = ' ~ var('dormant_after_days') -%}
{%- set churned = 'churned_after_days = ' ~ var('churned_after_days') -%}
{%- set growth = 'growth_ratio = ' ~ var('growth_ratio') ~ ', growth_window_days = ' ~ var('growth_window_days') -%}
{%- set grid = 'cell of rfm_grid by r_score and the rounded mean of f_score and m_score' -%}
{%- set medium = 'churn_risk_medium = ' ~ var('churn_risk_medium') -%}
{%- set high = 'churn_risk_high = ' ~ var('churn_risk_high') -%}
{%- set critical = 'churn_risk_critical = ' ~ var('churn_risk_critical') -%}
{%- set scores = 'r_score, f_score, m_score' -%}
{%- set value_rank = 'high_value_share = ' ~ var('high_value_share') -%}
{%- set key_account = 'key_account_sales_share = ' ~ var('key_account_sales_share') -%}
{%- set driver = 'key_account_driver_share = ' ~ var('key_account_driver_share') -%}
{%- set lifts = 'frequency, monetary' -%}
{%- set visits = 'min_visits_for_pattern = ' ~ var('min_visits_for_pattern') -%}
{%- set season = 'seasonal_share = ' ~ var('seasonal_share') ~ ', seasonal_min_days = ' ~ var('seasonal_min_days') -%}
{%- set gap = 'pattern_score_gap = ' ~ var('pattern_score_gap') -%}
{%- set regular = 'regular_gap_variation = ' ~ var('regular_gap_variation') -%}
{%- set needs = 'needs_top_share = ' ~ var('needs_top_share') ~ ', min_visits_for_needs = ' ~ var('min_visits_for_needs') -%}
{%- set in_top = ' within needs_top_share of the customers with the same f_score, and the highest of the four needs' -%}
{%- set loyal = 'loyalty_period_days = ' ~ var('loyalty_period_days') ~ ', loyalty_periods = ' ~ var('loyalty_periods') -%}
{%- set high_loyal = ', loyalty_high_share = ' ~ var('loyalty_high_share') ~ ', loyalty_high_f_score = ' ~ var('loyalty_high_f_score') -%}
{%- set medium_loyal = ', loyalty_medium_share = ' ~ var('loyalty_medium_share') ~ ', loyalty_min_periods = ' ~ var('loyalty_min_periods') -%}
{%- set periods = 'customer_behaviours.count_active_periods, customer_behaviours.count_periods, f_score' -%}
{%- set labels = [
    ('rfm_segment', 'prospects', 'Known, but without an order.', 'lifetime_count_orders = 0', '', 'lifetime_count_orders'),
    ('rfm_segment', 'new', 'First order within the last weeks.', 'tenure_days <= new_customer_days', new, 'tenure_days'),
    ('rfm_segment', 'champions', 'Bought lately, buys often, spends most.', grid, '', scores),
    ('rfm_segment', 'loyal', 'Buys often and spends well.', grid, '', scores),
    ('rfm_segment', 'active', 'Bought lately; frequency and money in the middle.', grid, '', scores),
    ('rfm_segment', 'promising', 'Bought lately, but still seldom and little.', grid, '', scores),
    ('rfm_segment', 'needs_attention', 'In the middle on every score.', grid, '', scores),
    ('rfm_segment', 'at_risk', 'Used to buy well and has not for a while.', grid, '', scores),
    ('rfm_segment', 'previously_loyal', 'Was among the best and is long gone.', grid, '', scores),
    ('rfm_segment', 'almost_lost', 'Seldom, little and not lately.', grid, '', scores),
    ('rfm_segment', 'dormant', 'Lowest on every score.', grid, '', scores),
    ('lifecycle_stage', 'prospect', 'Known, but without an order.', 'lifetime_count_orders = 0', '', 'lifetime_count_orders'),
    (
        'lifecycle_stage', 'churned', 'No order for so long that the customer counts as lost.',
        'recency_days > churned_after_days', churned, 'recency_days'
    ),
    ('lifecycle_stage', 'dormant', 'No order in the activity window.', 'recency_days > dormant_after_days', dormant, 'recency_days'),
    ('lifecycle_stage', 'new', 'Active; first order within the last weeks.', 'tenure_days <= new_customer_days', new, 'tenure_days'),
    (
        'lifecycle_stage', 'reactivated', 'Active again after a pause longer than the activity window.',
        'an order of the activity window ended a pause > dormant_after_days', dormant, 'longest_ended_gap_days'
    ),
    (
        'lifecycle_stage', 'growing', 'Active; spends clearly more than before.',
        'net sales of the current window >= growth_ratio x those of the window before', growth,
        'net_sales_current_window, net_sales_previous_window'
    ),
    (
        'lifecycle_stage', 'declining', 'Active; spends clearly less than before.',
        'net sales of the window before >= growth_ratio x those of the current one', growth,
        'net_sales_current_window, net_sales_previous_window'
    ),
    (
        'lifecycle_stage', 'mature', 'Active; spends about as before.', 'neither growing nor declining', growth,
        'net_sales_current_window, net_sales_previous_window'
    ),
    ('churn_risk_tier', 'low', 'Likely to order again soon.', 'churn_probability < churn_risk_medium', medium, 'churn_probability'),
    (
        'churn_risk_tier', 'medium', 'More likely than most to stay away.', 'churn_probability >= churn_risk_medium',
        medium ~ ', ' ~ high, 'churn_probability'
    ),
    (
        'churn_risk_tier', 'high', 'Worth an offer before it is too late.', 'churn_probability >= churn_risk_high',
        high ~ ', ' ~ critical, 'churn_probability'
    ),
    (
        'churn_risk_tier', 'critical', 'More likely to stay away than to order.', 'churn_probability >= churn_risk_critical',
        critical, 'churn_probability'
    ),
    (
        'value_tier', 'diamond', 'Worth much now and expected to be.', 'monetary and potential_value both within high_value_share',
        value_rank, 'monetary, potential_value'
    ),
    (
        'value_tier', 'gold', 'Worth much now; less is expected.', 'monetary within high_value_share, potential_value not', value_rank,
        'monetary, potential_value'
    ),
    (
        'value_tier', 'silver', 'Not yet worth much; much is expected.', 'potential_value within high_value_share, monetary not', value_rank,
        'monetary, potential_value'
    ),
    (
        'value_tier', 'bronze', 'Neither worth much now nor expected to be.',
        'neither monetary nor potential_value within high_value_share, or not above 0', value_rank, 'monetary, potential_value'
    ),
    (
        'is_key_account', 'true', 'One of the few who carry a great part of the sales.',
        'customers who spent more come to less than key_account_sales_share of all net sales of the window', key_account, 'monetary'
    ),
    (
        'is_key_account', 'false', 'One of the many.',
        'customers who spent more come to key_account_sales_share or more, or nothing was spent', key_account, 'monetary'
    ),
    ('key_account_driver', 'none', 'Not a key account.', 'not is_key_account', '', 'is_key_account'),
    (
        'key_account_driver', 'orders', 'Orders more often than others.',
        'log of frequency over its median >= key_account_driver_share of log of monetary over its usual', driver, lifts
    ),
    (
        'key_account_driver', 'order_value', 'Spends more per order than others.',
        'log of order value over its median >= key_account_driver_share of log of monetary over its usual', driver, lifts
    ),
    ('key_account_driver', 'both', 'Orders more often and spends more per order.', 'neither share is reached', driver, lifts),
    ('is_unprofitable', 'true', 'Costs more than is paid for.', 'contribution_margin < 0', '', 'contribution_margin'),
    ('is_unprofitable', 'false', 'Pays for what it costs.', 'contribution_margin >= 0', '', 'contribution_margin'),
    ('purchase_pattern', 'no_orders', 'Never bought.', 'lifetime_count_orders = 0', '', 'lifetime_count_orders'),
    (
        'purchase_pattern', 'seasonal', 'Buys in one season of the year.',
        'seasonal_share of all visits in the same three months, over seasonal_min_days and two calendar years', season,
        'customer_behaviours.season_share, tenure_days'
    ),
    (
        'purchase_pattern', 'frequent_low_spend', 'Comes often and spends little each time.',
        'f_score above the score of avg_order_value by pattern_score_gap', gap, 'f_score, avg_order_value'
    ),
    (
        'purchase_pattern', 'infrequent_high_spend', 'Comes seldom and spends much each time.',
        'score of avg_order_value above f_score by pattern_score_gap', gap, 'f_score, avg_order_value'
    ),
    (
        'purchase_pattern', 'regular', 'Comes at even intervals.', 'gap_variation <= regular_gap_variation', regular, 'gap_variation'
    ),
    (
        'purchase_pattern', 'sporadic', 'Comes in bursts, or too seldom to show a pattern.',
        'gap_variation > regular_gap_variation, or fewer visits than min_visits_for_pattern', regular ~ ', ' ~ visits,
        'gap_variation, customer_behaviours.count_visits'
    ),
    ('needs_type', 'no_orders', 'Never bought.', 'lifetime_count_orders = 0', '', 'lifetime_count_orders'),
    (
        'needs_type', 'balanced', 'No need stands out, or too few visits to tell.',
        'no need within needs_top_share, or fewer visits than min_visits_for_needs', needs,
        'discount_share, private_label_share, price_level, serviced_share, new_product_share'
    ),
    (
        'needs_type', 'price_sensitive', 'Looks for discounts and the own brand.',
        'discount_share and private_label_share together' ~ in_top, needs, 'discount_share, private_label_share'
    ),
    ('needs_type', 'quality_seeking', 'Buys the dearer of a kind.', 'price_level' ~ in_top, needs, 'price_level'),
    ('needs_type', 'service_dependent', 'Buys where staff serve.', 'serviced_share' ~ in_top, needs, 'serviced_share'),
    ('needs_type', 'variety_seeking', 'Tries what is new.', 'new_product_share' ~ in_top, needs, 'new_product_share'),
    ('loyalty_tier', 'no_orders', 'Never bought.', 'lifetime_count_orders = 0', '', 'lifetime_count_orders'),
    (
        'loyalty_tier', 'high', 'Orders in nearly every period, and often.',
        'orders in loyalty_high_share of the periods and f_score >= loyalty_high_f_score', loyal ~ high_loyal, periods
    ),
    (
        'loyalty_tier', 'medium', 'Orders in most periods.', 'orders in loyalty_medium_share of the periods', loyal ~ medium_loyal, periods
    ),
    (
        'loyalty_tier', 'low', 'Orders in few periods, or has not been there for long enough.',
        'orders in less than loyalty_medium_share of the periods, or fewer than loyalty_min_periods since the first order',
        loyal ~ medium_loyal, periods
    ),
    ('household_type', 'family', 'With children.', 'kids_count given and not 0', '', 'kids_count'),
    ('household_type', 'single', 'One person.', 'no children told, household_size = 1', '', 'household_size, kids_count'),
    ('household_type', 'couple', 'Two persons without children.', 'no children told, household_size = 2', '', 'household_size, kids_count'),
    (
        'household_type', 'several_adults', 'More than two persons without children.', 'no children told, household_size above 2', '',
        'household_size, kids_count'
    ),
    ('household_type', 'unknown', 'Not told.', 'neither household_size nor kids_count told', '', 'household_size, kids_count'),
] %}

with customer_360 as (
    select *
    from {{ ref('customer_360') }}
),

segments as (
    select *
    from {{ source('scores', 'segments') }}
),

labels as (
    {% for classification, label, meaning, rule, threshold, source_columns in labels %}
        select
            '{{ classification }}' as classification,
            '{{ label }}' as label,
            '{{ meaning }}' as meaning,
            '{{ rule }}' as rule,
            nullif('{{ threshold }}', '') as threshold,
            '{{ source_columns }}' as source_columns
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

-- Where a rule ranks the customers of the day, what the ranks came to.
measured as (
    select
        {%- for score, column, extreme in [('r', 'recency_days', 'max'), ('f', 'frequency', 'min'), ('m', 'monetary', 'min')] %}
            {%- for value in [5, 4, 3, 2] %}
                {{ extreme }}(case when {{ score }}_score = {{ value }} then {{ column }} end) as {{ score }}_{{ value }},
            {%- endfor %}
        {%- endfor %}
        min(case when value_tier in ('diamond', 'gold') then monetary end) as high_value,
        min(case when value_tier in ('diamond', 'silver') then potential_value end) as high_potential,
        min(case when is_key_account then monetary end) as key_account_value,
        count_if(is_key_account) as count_key_accounts
    from customer_360
),

thresholds as (
    select
        'rfm_segment' as classification,
        'r_score 5 to 2 for recency_days up to '
        || coalesce(r_5::varchar, 'none')
        || ', ' || coalesce(r_4::varchar, 'none')
        || ', ' || coalesce(r_3::varchar, 'none')
        || ', ' || coalesce(r_2::varchar, 'none')
        || '; f_score 5 to 2 for frequency from '
        || coalesce(f_5::varchar, 'none')
        || ', ' || coalesce(f_4::varchar, 'none')
        || ', ' || coalesce(f_3::varchar, 'none')
        || ', ' || coalesce(f_2::varchar, 'none')
        || '; m_score 5 to 2 for monetary from '
        || coalesce(m_5::varchar, 'none')
        || ', ' || coalesce(m_4::varchar, 'none')
        || ', ' || coalesce(m_3::varchar, 'none')
        || ', ' || coalesce(m_2::varchar, 'none') as threshold
    from measured
    union all
    select
        'value_tier' as classification,
        'monetary from ' || coalesce(high_value::varchar, 'none') || ', potential_value from '
        || coalesce(high_potential::varchar, 'none') as threshold
    from measured
    union all
    select
        'is_key_account' as classification,
        'monetary from ' || coalesce(key_account_value::varchar, 'none') || ': ' || count_key_accounts || ' customers' as threshold
    from measured
),

segment_labels as (
    select
        'segment_label' as classification,
        segments.segment_label as label,
        max(segments.segment_traits) as meaning,
        max(segments.segment_rule) as rule,
        null::varchar as threshold,
        'customer_features' as source_columns
    from segments
    inner join customer_360
        on segments.customer_id = customer_360.customer_id
            and segments.refresh_date = customer_360.as_of_date
    where segments.segment_label is not null
    group by segments.segment_label
),

final as (
    select
        labels.classification,
        labels.label,
        labels.meaning,
        labels.rule,
        nullif(concat_ws('; ', labels.threshold, thresholds.threshold), '') as threshold,
        labels.source_columns
    from labels
    -- The two labels of rfm_segment that no grid gives have thresholds of their own.
    left join thresholds
        on labels.classification = thresholds.classification
            and labels.label not in ('prospects', 'new')
    union all
    select * from segment_labels
)

select * from final
