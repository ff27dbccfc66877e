{#
    What a manual rule and a model say of the same customers: name, what both are asked, the rule, the model's verdict (NULL where no
    model may score), and the figures that they rest on. Expressions over `ranked`, customer_360 with the ranks that the rules need.
#}
{% macro business_rules() -%}
    {{ return([
        {
            'comparison': 'high_value',
            'question': 'Who will be worth much?',
            'rule': 'spend_share >= 1 - ' ~ var('high_value_share'),
            'rule_words': 'monetary within high_value_share',
            'model': 'case when predicted_clv is not null then value_share >= 1 - ' ~ var('high_value_share') ~ ' end',
            'model_words': 'predicted_clv within high_value_share',
            'rule_value': 'monetary',
            'model_value': 'predicted_clv',
        },
        {
            'comparison': 'key_account',
            'question': 'Who will carry the sales?',
            'rule': 'is_key_account',
            'rule_words': 'is_key_account',
            'model': 'case when key_account_probability is not null then key_account_rank <= count_key_accounts end',
            'model_words': 'as many customers, by the highest key_account_probability',
            'rule_value': 'monetary',
            'model_value': 'key_account_probability',
        },
        {
            'comparison': 'at_risk',
            'question': 'Who is about to leave?',
            'rule': 'is_eligible_for_churn and recency_days > 2 * average_days_between_orders',
            'rule_words': 'eligible, and silent for twice the mean days between orders',
            'model': "case when churn_risk_tier is not null then churn_risk_tier in ('high', 'critical') end",
            'model_words': 'churn_risk_tier high or critical',
            'rule_value': 'recency_days',
            'model_value': 'churn_probability',
        },
        {
            'comparison': 'best_customers',
            'question': 'Who are the best customers?',
            'rule': "rfm_segment = 'champions'",
            'rule_words': 'rfm_segment is champions',
            'model': "case when predicted_clv is not null then value_tier = 'diamond' end",
            'model_words': 'value_tier is diamond',
            'rule_value': 'monetary',
            'model_value': 'predicted_clv',
        },
    ]) }}
{%- endmacro %}

{# One row per comparison and customer of whom both speak, as the CTE `verdicts`. #}
{% macro business_rule_verdicts() -%}
    customer_360 as (
        select *
        from {{ ref('customer_360') }}
    ),

    ranked as (
        select
            *,
            {{ rank_share('monetary') }} as spend_share,
            {{ rank_share('predicted_clv') }} as value_share,
            rank() over (order by key_account_probability desc nulls last) as key_account_rank,
            count_if(is_key_account) over () as count_key_accounts
        from customer_360
        where lifetime_count_orders > 0
    ),

    verdicts as (
        {%- for rule in business_rules() %}
            select
                '{{ rule.comparison }}' as comparison,
                as_of_date,
                customer_id,
                coalesce({{ rule.rule }}, false) as is_by_rule,
                {{ rule.model }} as is_by_model,
                ({{ rule.rule_value }})::decimal(18, 6) as rule_value,
                ({{ rule.model_value }})::decimal(18, 6) as model_value
            from ranked
            {% if not loop.last %}union all{% endif %}
        {%- endfor %}
    )
{%- endmacro %}
