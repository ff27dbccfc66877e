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

{{ customer_items('search') }},

-- In the window before the newest.
window_products as (
    select distinct
        order_products.customer_id,
        order_products.product_id
    from {{ ref('order_products') }} as order_products
    inner join search
        on order_products.order_date < search.newest_window_date
            and order_products.order_date >= {{ add_days('search.newest_window_date', -var('offer_window_days')) }}
),

window_items as (
    select distinct
        window_products.customer_id,
        product_items.item_number
    from window_products
    inner join product_items on window_products.product_id = product_items.product_id
),

active_customers as (
    select distinct customer_id
    from window_products
),

first_purchases as (
    select
        customer_items.customer_id,
        customer_items.item_number,
        customer_items.first_order_date >= search.newest_window_date as is_first_in_newest_window
    from customer_items
    cross join search
    where customer_items.customer_id in (select active_customers.customer_id from active_customers)
),

consequents as (
    select
        item_number,
        (select count(*) from active_customers) - count(*) filter (where not is_first_in_newest_window) as count_customers,
        count(*) filter (where is_first_in_newest_window) as count_buyers
    from first_purchases
    group by item_number
),

tried as (
    select
        rules.rule_id,
        first_items.customer_id,
        rules.consequent_number
    from numbered_rules as rules
    inner join window_items as first_items on rules.antecedent_1_number = first_items.item_number
    left join window_items as second_items
        on rules.antecedent_2_number = second_items.item_number
            and first_items.customer_id = second_items.customer_id
    where rules.antecedent_2 is null or second_items.item_number is not null
),

outcomes as (
    select
        tried.rule_id,
        count(*) as count_customers,
        count(first_purchases.item_number) as count_buyers
    from tried
    left join first_purchases
        on tried.customer_id = first_purchases.customer_id
            and tried.consequent_number = first_purchases.item_number
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
    from numbered_rules as rules
    inner join search on rules.as_of_date = search.as_of_date
    left join outcomes on rules.rule_id = outcomes.rule_id
    left join consequents on rules.consequent_number = consequents.item_number
)

select * from final
