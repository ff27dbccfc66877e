-- The offers in words, and what stands for a category or subcategory: what most customers bought of it in the newest window before the search.
with current_day as (
    select
        as_of_date,
        {{ search_day('as_of_date') }} as search_date
    from {{ ref('current_day') }}
),

offers as (
    select *
    from {{ ref('cross_sell_offers') }}
),

rules as (
    select *
    from {{ ref('product_affinity') }}
),

product_buyers as (
    select
        order_products.product_id,
        count(distinct order_products.customer_id) as count_buyers
    from {{ ref('order_products') }} as order_products
    inner join current_day
        on order_products.order_date < current_day.search_date
            and order_products.order_date >= {{ add_days('current_day.search_date', -var('offer_window_days')) }}
    group by order_products.product_id
),

products as (
    select
        products.product_id,
        {{ item_paths('products') }},
        product_buyers.count_buyers
    from {{ ref('core_products') }} as products
    inner join product_buyers on products.product_id = product_buyers.product_id
),

offered_products as (
    {%- for level, (item_id, _) in item_levels().items() %}
        select
            '{{ level }}' as level,
            {{ item_id }} as item_id,
            product_id,
            row_number() over (partition by {{ item_id }} order by count_buyers desc, product_id asc) as product_rank
        from products
        where {{ item_id }} is not null
        {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

final as (
    select
        offers.customer_id,
        current_day.as_of_date,
        offers.kind,
        offers.level,
        offers.offer_rank,
        offers.item_id,
        rules.consequent_label as item_label,
        offered_products.product_id,
        offers.rule_id,
        concat('bought ', rules.antecedent_label, ', never ', rules.consequent_label) as reason,
        rules.purchase_probability,
        rules.base_probability,
        rules.avg_net_sales,
        offers.expected_value
    from offers
    cross join current_day
    inner join rules on offers.rule_id = rules.rule_id
    inner join offered_products
        on offers.level = offered_products.level
            and offers.item_id = offered_products.item_id
            and offered_products.product_rank = 1
)

select * from final
