-- The dictionary of every label: a label that is given and not here, or is here and is never given, fails a test.
{%- set new = 'new_customer_days = ' ~ var('new_customer_days') -%}
{%- set dormant = 'dormant_after_days = ' ~ var('dormant_after_days') -%}
{%- set churned = 'churned_after_days = ' ~ var('churned_after_days') -%}
{%- set growth = 'growth_ratio = ' ~ var('growth_ratio') ~ ', growth_window_days = ' ~ var('growth_window_days') -%}
{%- set grid = 'cell of rfm_grid by r_score and the rounded mean of f_score and m_score' -%}
{%- set medium = 'churn_risk_medium = ' ~ var('churn_risk_medium') -%}
{%- set high = 'churn_risk_high = ' ~ var('churn_risk_high') -%}
{%- set critical = 'churn_risk_critical = ' ~ var('churn_risk_critical') -%}
{%- set scores = 'r_score, f_score, m_score' -%}
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
] -%}

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
