-- Of the customers who had the antecedents in the window before the newest and had never bought the consequent, who bought it then: the chance
-- that an offer meets. Rules know most of their baskets from customers who buy the consequent anyway.
with refresh as (
    select
        as_of_date,
        {{ add_days('as_of_date', -var('offer_window_days')) }} as newest_window_date
    from {{ source('control', 'refresh') }}
),

rules as (
    select rules.*
    from {{ ref('association_rules') }} as rules
    inner join refresh on rules.as_of_date = refresh.as_of_date
    where rules.unit = 'customer_window' and not rules.is_trivial
),

window_items as (
    select
        customer_id,
        level,
        item_id
    from {{ ref('basket_items') }}
    where unit = 'customer_window' and window_number = 1
),

{{ customer_items('refresh') }},

active_customers as (
    select count(distinct customer_id) as count_customers
    from window_items
),

first_purchases as (
    select
        customer_items.customer_id,
        customer_items.level,
        customer_items.item_id,
        customer_items.first_order_date >= refresh.newest_window_date as is_first_in_newest_window
    from customer_items
    cross join refresh
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
        ) / (coalesce(outcomes.count_customers, 0) + {{ var('cross_sell_prior_customers') }}) as purchase_probability
    from rules
    left join outcomes on rules.rule_id = outcomes.rule_id
    left join consequents on rules.level = consequents.level and rules.consequent = consequents.item_id
)

select * from final
