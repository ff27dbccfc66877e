-- What a customer who has the rest of a rule has never bought, worth the most first. A set of three of which one is missing is a missing item.
-- A customer has what was bought in the newest window before the search, or since. Offers to who bought nothing since are kept until the next
-- search.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('cross_sell_inputs'), 'customer_id', ['offer_window_days', 'cross_sell_offers']) }}",
) }}

with customers as (
    {{ missing(model, ref('cross_sell_inputs'), 'customer_id', ['offer_window_days', 'cross_sell_offers']) }}
),

current_day as (
    select
        as_of_date,
        {{ search_day('as_of_date') }} as search_date
    from {{ ref('current_day') }}
),

days as (
    select
        customers.customer_id,
        current_day.as_of_date
    from customers
    cross join current_day
),

rules as (
    select
        rules.rule_id,
        rules.level,
        rules.antecedent_1,
        rules.antecedent_2,
        rules.consequent,
        (trials.purchase_probability * rules.avg_net_sales)::decimal(18, 4) as expected_value
    from {{ ref('association_rules') }} as rules
    inner join current_day on rules.as_of_date = current_day.search_date
    inner join {{ ref('association_rule_trials') }} as trials
        on rules.rule_id = trials.rule_id
            and rules.as_of_date = trials.as_of_date
    where rules.unit = 'customer_window' and not rules.is_trivial
),

{{ customer_items('days', ['customer_id']) }},

owned_now as (
    select
        customer_items.customer_id,
        customer_items.item_number
    from customer_items
    inner join current_day on customer_items.last_order_date >= {{ add_days('current_day.search_date', -var('offer_window_days')) }}
),

-- Most of what rules tell was bought before: that is left out before a second item is looked for. Where `not in` stands, an anti join would
-- keep what rules tell all customers, and not what these have, as it takes it for little.
new_to_customer as (
    select
        first_items.customer_id,
        rules.*
    from numbered_rules as rules
    inner join owned_now as first_items on rules.antecedent_1_number = first_items.item_number
    where
        (first_items.customer_id, rules.consequent_number) not in (
            select
                customer_items.customer_id,
                customer_items.item_number
            from customer_items
        )
),

applicable as (
    select
        rules.customer_id,
        rules.rule_id,
        rules.level,
        rules.consequent as item_id,
        case when rules.antecedent_2 is null then 'rule' else 'missing_item' end as kind,
        rules.expected_value
    from new_to_customer as rules
    left join owned_now as second_items
        on rules.antecedent_2_number = second_items.item_number
            and rules.customer_id = second_items.customer_id
    where rules.antecedent_2 is null or second_items.item_number is not null
),

-- Several rules may tell the same item: the one that promises most stands for them.
best_rules as (
    select
        customer_id,
        kind,
        level,
        item_id,
        max(expected_value) as expected_value,
        min_by(rule_id, (-expected_value, rule_id)) as rule_id
    from applicable
    group by customer_id, kind, level, item_id
),

ranked as (
    select
        *,
        row_number() over (partition by customer_id, kind, level order by expected_value desc, item_id asc) as offer_rank
    from best_rules
),

final as (
    select
        ranked.customer_id,
        ranked.kind,
        ranked.level,
        ranked.offer_rank,
        ranked.item_id,
        ranked.rule_id,
        ranked.expected_value,
        customers.input_fingerprint
    from ranked
    inner join customers on ranked.customer_id = customers.customer_id
    where ranked.offer_rank <= {{ var('cross_sell_offers') }}
)

select * from final
