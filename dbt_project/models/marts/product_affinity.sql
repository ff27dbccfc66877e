-- The rules of the newest search, in words, and what came of them.
with current_day as (
    select *
    from {{ ref('current_day') }}
),

rules as (
    select rules.*
    from {{ ref('association_rules') }} as rules
    inner join current_day on rules.as_of_date = {{ search_day('current_day.as_of_date') }}
),

trials as (
    select *
    from {{ ref('association_rule_trials') }}
),

names as (
    select
        'product' as level,
        product_id as item_id,
        product_name
    from {{ ref('core_products') }}
),

labelled as (
    select
        rules.*,
        coalesce(first_names.product_name, rules.antecedent_1) as antecedent_1_label,
        coalesce(second_names.product_name, rules.antecedent_2) as antecedent_2_label,
        coalesce(consequent_names.product_name, rules.consequent) as consequent_label
    from rules
    left join names as first_names on rules.level = first_names.level and rules.antecedent_1 = first_names.item_id
    left join names as second_names on rules.level = second_names.level and rules.antecedent_2 = second_names.item_id
    left join names as consequent_names on rules.level = consequent_names.level and rules.consequent = consequent_names.item_id
),

final as (
    select
        labelled.rule_id,
        labelled.as_of_date,
        labelled.unit,
        labelled.level,
        concat_ws(' + ', labelled.antecedent_1, labelled.antecedent_2) as antecedent,
        labelled.antecedent_1,
        labelled.antecedent_2,
        labelled.consequent,
        concat_ws(' + ', labelled.antecedent_1_label, labelled.antecedent_2_label) as antecedent_label,
        labelled.consequent_label,
        labelled.count_baskets,
        labelled.count_antecedent,
        labelled.count_consequent,
        labelled.count_both,
        labelled.support,
        labelled.confidence,
        labelled.lift,
        labelled.leverage,
        labelled.conviction,
        labelled.p_value,
        labelled.adjusted_p_value,
        labelled.is_trivial,
        labelled.count_both_next,
        labelled.confidence_next_period,
        labelled.lift_next_period,
        labelled.avg_net_sales,
        trials.count_customers as count_customers_tried,
        trials.count_buyers as count_first_buyers,
        trials.purchase_probability,
        trials.base_probability
    from labelled
    left join trials on labelled.rule_id = trials.rule_id and labelled.as_of_date = trials.as_of_date
)

select * from final
