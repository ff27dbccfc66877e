-- How the search for rules went, also where nothing was found.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('association_inputs'), 'as_of_date', association_variables(), is_history=true) }}",
) }}

with search as (
    {{ missing(model, ref('association_inputs'), 'as_of_date', association_variables()) }}
),

supports as (
    {{ basket_supports() }}
),

totals as (
    select
        basket_items.unit,
        count(distinct case when basket_items.window_number > 0 then basket_items.basket_number end) as count_baskets
    from {{ ref('basket_items') }} as basket_items
    cross join search
    group by basket_items.unit
),

items as (
    select
        unit,
        level,
        count(*) as count_frequent_items,
        count_if(is_searched)::bigint as count_searched_items
    from {{ ref('frequent_items') }}
    group by unit, level
),

rules as (
    select
        rules.unit,
        rules.level,
        count(*) as count_rules,
        count_if(rules.is_trivial)::bigint as count_trivial_rules,
        avg(case when rules.lift_next_period is not null then (rules.lift_next_period > 1)::integer end) as holding_share
    from {{ ref('association_rules') }} as rules
    inner join search on rules.as_of_date = search.as_of_date
    group by rules.unit, rules.level
),

final as (
    select
        search.as_of_date,
        supports.unit,
        supports.level,
        supports.min_support::decimal(9, 6) as min_support,
        coalesce(totals.count_baskets, 0) as count_baskets,
        coalesce(items.count_frequent_items, 0) as count_frequent_items,
        coalesce(items.count_searched_items, 0) as count_searched_items,
        coalesce(rules.count_rules, 0) as count_rules,
        coalesce(rules.count_trivial_rules, 0) as count_trivial_rules,
        rules.holding_share,
        case
            when coalesce(totals.count_baskets, 0) = 0 then 'nothing that may be offered was bought in the searched windows'
            when items.count_frequent_items is null
                then concat('no item is in enough baskets; lower min_support_', supports.unit, '_', supports.level, ' or association_min_baskets')
            when items.count_searched_items < items.count_frequent_items
                then concat(
                        'too many combinations: the most frequent items alone were searched; raise min_support_', supports.unit, '_',
                        supports.level, ' or association_max_combinations'
                    )
            when inputs.searched_share < 1
                then concat(
                        'complete among ', round(100 * inputs.searched_share)::integer, ' % of the customers; raise association_max_lines to',
                        ' search more'
                    )
            when rules.count_rules is null then 'no rule is frequent enough and more than chance'
            when rules.count_rules >= {{ var('association_max_rules') }}
                then 'complete; of more rules than association_max_rules those that explain the most baskets are kept'
            else 'complete'
        end as outcome,
        search.input_fingerprint
    from supports
    cross join search
    inner join {{ ref('association_inputs') }} as inputs on search.as_of_date = inputs.as_of_date
    left join totals on supports.unit = totals.unit
    left join items on supports.unit = items.unit and supports.level = items.level
    left join rules on supports.unit = rules.unit and supports.level = rules.level
)

select * from final
