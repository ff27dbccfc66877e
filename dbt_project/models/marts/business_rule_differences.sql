with {{ business_rule_verdicts() }},

final as (
    select
        comparison,
        as_of_date,
        customer_id,
        is_by_rule,
        is_by_model,
        rule_value,
        model_value
    from verdicts
    where is_by_rule != is_by_model
)

select * from final
