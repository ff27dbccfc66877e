{%- set rules = business_rules() -%}
with {{ business_rule_verdicts() }},

counts as (
    select
        comparison,
        count(is_by_model) as customers,
        count_if(is_by_rule and is_by_model)::bigint as count_both,
        count_if(is_by_rule and not is_by_model)::bigint as count_rule_only,
        count_if(not is_by_rule and is_by_model)::bigint as count_model_only,
        count_if(not is_by_rule and not is_by_model)::bigint as count_neither
    from verdicts
    where is_by_model is not null
    group by comparison
),

-- Agreement beyond chance: Cohen 1960, "A coefficient of agreement for nominal scales".
chances as (
    select
        *,
        {{ quotient('count_both + count_neither', 'customers') }} as agreed,
        {{ quotient(
            '(count_both + count_rule_only) * (count_both + count_model_only)'
            ~ ' + (count_neither + count_rule_only) * (count_neither + count_model_only)',
            'customers * customers'
        ) }} as expected
    from counts
),

rules as (
    {% for rule in rules %}
        select
            '{{ rule.comparison }}' as comparison,
            '{{ rule.question }}' as question,
            '{{ rule.rule_words }}' as rule,
            '{{ rule.model_words }}' as model
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

current_day as (
    select *
    from {{ ref('current_day') }}
),

final as (
    select
        rules.comparison,
        current_day.as_of_date,
        rules.question,
        rules.rule,
        rules.model,
        coalesce(chances.customers, 0) as customers,
        coalesce(chances.count_both, 0) as count_both,
        coalesce(chances.count_rule_only, 0) as count_rule_only,
        coalesce(chances.count_model_only, 0) as count_model_only,
        coalesce(chances.count_neither, 0) as count_neither,
        round(chances.agreed, 6)::decimal(9, 6) as agreement,
        round({{ quotient('chances.agreed - chances.expected', '1 - chances.expected') }}, 6)::decimal(9, 6) as kappa
    from rules
    cross join current_day
    left join chances on rules.comparison = chances.comparison
)

select * from final
