-- Baskets are orders, and what a customer buys in a window; the windows end with the day of the search, the newest is number 0.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('association_inputs'), 'as_of_date', association_variables()) }}",
) }}

with search as (
    select
        missing.*,
        association_inputs.searched_share
    from ({{ missing(model, ref('association_inputs'), 'as_of_date', association_variables()) }}) as missing
    inner join {{ ref('association_inputs') }} as association_inputs on missing.as_of_date = association_inputs.as_of_date
),

paths as (
    select
        products.product_id,
        {{ item_paths('products') }}
    from {{ ref('core_products') }} as products
),

products as (
    select
        paths.product_id,
        {%- for level in item_levels() %}
            {{ level }}_items.item_key as {{ level }}_key
            {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from paths
    {%- for level, (item_id, _) in item_levels().items() %}
        left join {{ ref('association_items') }} as {{ level }}_items
            on {{ level }}_items.level = '{{ level }}'
                and paths.{{ item_id }} = {{ level }}_items.item_id
    {%- endfor %}
),

order_products as (
    select
        order_products.customer_id,
        order_products.order_id,
        order_products.product_id,
        {{ window_number('order_products.order_date', 'search.as_of_date') }} as window_number,
        order_products.net_sales
    from {{ ref('order_products') }} as order_products
    inner join search
        on order_products.order_date < search.as_of_date
            and {{ is_in_windows('order_products.order_date', 'search.as_of_date') }}
            and {{ is_drawn('order_products.customer_id', 'search.searched_share') }}
),

baskets as (
    select
        order_id,
        row_number() over (order by order_id) as order_number,
        dense_rank() over (order by customer_id, window_number) as customer_window_number
    from (
        select distinct
            order_id,
            customer_id,
            window_number
        from order_products
    ) as orders
),

sold as (
    select
        baskets.order_number,
        baskets.customer_window_number,
        order_products.window_number,
        products.product_key,
        products.subcategory_key,
        products.category_key,
        order_products.net_sales
    from order_products
    inner join baskets on order_products.order_id = baskets.order_id
    inner join products on order_products.product_id = products.product_id
),

items as (
    {%- for unit in ['order', 'customer_window'] %}
        {%- set unit_loop = loop %}
        {%- for level in item_levels() %}
            select
                '{{ unit }}' as unit,
                '{{ level }}' as level,
                {{ unit }}_number as basket_number,
                window_number,
                {{ level }}_key as item_key,
                sum(net_sales)::decimal(18, 2) as net_sales
            from sold
            where {{ level }}_key is not null
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
