-- The items of each level by number, as there are many more baskets than items. Kept with the search, as its baskets hold these numbers.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('association_inputs'), 'as_of_date', association_variables()) }}",
) }}

with search as (
    {{ missing(model, ref('association_inputs'), 'as_of_date', association_variables()) }}
),

paths as (
    select
        products.product_id,
        {{ item_paths('products') }}
    from {{ ref('core_products') }} as products
),

items as (
    {%- for level, (item_id, parent_id) in item_levels().items() %}
        select distinct
            '{{ level }}' as level,
            {{ item_id }} as item_id,
            {{ parent_id }} as parent_id
        from paths
        where {{ item_id }} is not null
        {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

final as (
    select
        row_number() over (order by items.level, items.item_id) as item_key,
        items.level,
        items.item_id,
        items.parent_id,
        search.input_fingerprint
    from items
    cross join search
)

select * from final
