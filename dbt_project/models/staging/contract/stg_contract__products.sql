with products as (
    select *
    from {{ ref('base_contract__products') }}
    where reject_reason is null
),

final as (
    select
        product_id,
        product_name,
        manufacturer_id,
        brand,
        department,
        category,
        subcategory,
        package_size,
        coalesce(is_sold_in_units, true) as is_sold_in_units,
        unit_cost
    from products
)

select * from final
