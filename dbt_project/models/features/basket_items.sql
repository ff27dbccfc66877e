-- Baskets are orders, and what a customer buys in a window; the windows end with the day of the search, the newest is number 0.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('association_inputs'), 'as_of_date', association_variables()) }}",
) }}
{%- set baskets = {
    'order': 'order_id', 'customer_window': "concat(customer_id, ' ', window_number)",
} %}

with search as (
    {{ missing(model, ref('association_inputs'), 'as_of_date', association_variables()) }}
),

products as (
    select
        products.product_id,
        {{ item_paths('products') }}
    from {{ ref('core_products') }} as products
),

order_products as (
    select
        order_products.customer_id,
        order_products.order_id,
        order_products.product_id,
        products.subcategory_id,
        products.category_id,
        {{ window_number('order_products.order_date', 'search.as_of_date') }} as window_number,
        order_products.net_sales
    from {{ ref('order_products') }} as order_products
    inner join search
        on order_products.order_date < search.as_of_date
            and {{ days_between('order_products.order_date', 'search.as_of_date') }}
            <= {{ var('offer_window_days') * (var('association_windows') + 1) }}
    inner join products on order_products.product_id = products.product_id
),

items as (
    {%- for unit, basket_id in baskets.items() %}
        {%- set unit_loop = loop %}
        {%- for level, (item_id, parent_id) in item_levels().items() %}
            select
                '{{ unit }}' as unit,
                '{{ level }}' as level,
                {{ basket_id }} as basket_id,
                customer_id,
                window_number,
                {{ item_id }} as item_id,
                {{ parent_id }} as parent_id,
                sum(net_sales)::decimal(18, 2) as net_sales
            from order_products
            where {{ item_id }} is not null
            group by all
            {% if not (loop.last and unit_loop.last) %}union all{% endif %}
        {%- endfor %}
    {%- endfor %}
),

final as (
    select
        items.*,
        search.input_fingerprint
    from items
    cross join search
)

select * from final
