-- Of the customers who had the antecedents in the window before the newest and had never bought the consequent, who bought it then: the chance
-- that an offer meets. Rules know most of their baskets from customers who buy the consequent anyway.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('association_inputs'), 'as_of_date', association_variables(), is_history=true) }}",
) }}

with search as (
    select
        missing.*,
        {{ add_days('missing.as_of_date', -var('offer_window_days')) }} as newest_window_date
    from ({{ missing(model, ref('association_inputs'), 'as_of_date', association_variables()) }}) as missing
),

rules as (
    select rules.*
    from {{ ref('association_rules') }} as rules
    inner join search on rules.as_of_date = search.as_of_date
    where rules.unit = 'customer_window' and not rules.is_trivial
),

window_items as (
    select
        basket_items.customer_id,
        basket_items.level,
        basket_items.item_id
    from {{ ref('basket_items') }} as basket_items
    cross join search
    where basket_items.unit = 'customer_window' and basket_items.window_number = 1
),

{{ customer_items('search') }},

active_customers as (
    select count(distinct customer_id) as count_customers
    from window_items
),

first_purchases as (
    select
        customer_items.customer_id,
        customer_items.level,
        customer_items.item_id,
        customer_items.first_order_date >= search.newest_window_date as is_first_in_newest_window
    from customer_items
    cross join search
    where customer_items.customer_id in (select window_items.customer_id from window_items)
),

consequents as (
    select
        first_purchases.level,
        first_purchases.item_id,
        max(active_customers.count_customers) - count(*) filter (where not first_purchases.is_first_in_newest_window) as count_customers,
        count(*) filter (where first_purchases.is_first_in_newest_window) as count_buyers
    from first_purchases
    cross join active_customers
    group by first_purchases.level, first_purchases.item_id
),

tried as (
    select
        rules.rule_id,
        first_items.customer_id,
        rules.level,
        rules.consequent
    from rules
    inner join window_items as first_items
        on rules.level = first_items.level and rules.antecedent_1 = first_items.item_id
    left join window_items as second_items
        on rules.level = second_items.level
            and rules.antecedent_2 = second_items.item_id
            and first_items.customer_id = second_items.customer_id
    where rules.antecedent_2 is null or second_items.item_id is not null
),

outcomes as (
    select
        tried.rule_id,
        count(*) as count_customers,
        count(first_purchases.item_id) as count_buyers
    from tried
    left join first_purchases
        on tried.customer_id = first_purchases.customer_id
            and tried.level = first_purchases.level
            and tried.consequent = first_purchases.item_id
    where coalesce(first_purchases.is_first_in_newest_window, true)
    group by tried.rule_id
),

final as (
    select
        rules.rule_id,
        rules.as_of_date,
        coalesce(outcomes.count_customers, 0) as count_customers,
        coalesce(outcomes.count_buyers, 0) as count_buyers,
        coalesce({{ quotient('consequents.count_buyers', 'consequents.count_customers') }}, 0) as base_probability,
        (
            coalesce(outcomes.count_buyers, 0)
            + {{ var('cross_sell_prior_customers') }}
            * coalesce({{ quotient('consequents.count_buyers', 'consequents.count_customers') }}, 0)
        ) / (coalesce(outcomes.count_customers, 0) + {{ var('cross_sell_prior_customers') }}) as purchase_probability,
        search.input_fingerprint
    from rules
    inner join search on rules.as_of_date = search.as_of_date
    left join outcomes on rules.rule_id = outcomes.rule_id
    left join consequents on rules.level = consequents.level and rules.consequent = consequents.item_id
)

select * from final
