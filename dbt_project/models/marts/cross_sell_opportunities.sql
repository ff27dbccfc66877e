-- What a customer who has the rest of a rule has never bought, worth the most first. A set of three of which one is missing is a missing item.
with current_day as (
    select
        as_of_date,
        {{ add_days('as_of_date', -var('offer_window_days')) }} as newest_window_date
    from {{ ref('current_day') }}
),

rules as (
    select rules.*
    from {{ ref('product_affinity') }} as rules
    where rules.unit = 'customer_window' and not rules.is_trivial
),

{{ customer_items('current_day') }},

owned_now as (
    select
        customer_items.customer_id,
        customer_items.level,
        customer_items.item_id
    from customer_items
    cross join current_day
    where customer_items.last_order_date >= current_day.newest_window_date
),

-- What stands for a category or subcategory in an offer: what most customers bought of it lately.
product_buyers as (
    select
        customer_products.product_id,
        customer_products.subcategory_id,
        customer_products.category_id,
        count(*) as count_buyers
    from customer_products
    cross join current_day
    where customer_products.last_order_date >= current_day.newest_window_date
    group by customer_products.product_id, customer_products.subcategory_id, customer_products.category_id
),

offered_products as (
    {%- for level, (item_id, _) in item_levels().items() %}
        select
            '{{ level }}' as level,
            {{ item_id }} as item_id,
            product_id,
            row_number() over (partition by {{ item_id }} order by count_buyers desc, product_id asc) as product_rank
        from product_buyers
        where {{ item_id }} is not null
        {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

applicable as (
    select
        first_items.customer_id,
        rules.rule_id,
        rules.level,
        rules.consequent as item_id,
        case when rules.antecedent_2 is null then 'rule' else 'missing_item' end as kind,
        (rules.purchase_probability * rules.avg_net_sales)::decimal(18, 4) as expected_value
    from rules
    inner join owned_now as first_items
        on rules.level = first_items.level and rules.antecedent_1 = first_items.item_id
    left join owned_now as second_items
        on rules.level = second_items.level
            and rules.antecedent_2 = second_items.item_id
            and first_items.customer_id = second_items.customer_id
    where rules.antecedent_2 is null or second_items.item_id is not null
),

missing as (
    select applicable.*
    from applicable
    anti join customer_items
        on applicable.customer_id = customer_items.customer_id
            and applicable.level = customer_items.level
            and applicable.item_id = customer_items.item_id
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
    from missing
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
        current_day.as_of_date,
        ranked.kind,
        ranked.level,
        ranked.offer_rank,
        ranked.item_id,
        rules.consequent_label as item_label,
        offered_products.product_id,
        ranked.rule_id,
        concat('bought ', rules.antecedent_label, ', never ', rules.consequent_label) as reason,
        rules.purchase_probability,
        rules.base_probability,
        rules.avg_net_sales,
        ranked.expected_value
    from ranked
    cross join current_day
    inner join rules on ranked.rule_id = rules.rule_id
    inner join offered_products
        on ranked.level = offered_products.level
            and ranked.item_id = offered_products.item_id
            and offered_products.product_rank = 1
    where ranked.offer_rank <= {{ var('cross_sell_offers') }}
)

select * from final
