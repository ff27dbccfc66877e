-- A product that no line of `products` describes is joined to the member 'unknown'; a missing attribute is 'unknown' too.
with products as (
    select *
    from {{ staged('products') }}
),

described as (
    select
        product_id,
        coalesce(nullif(product_name, ''), 'unknown') as product_name,
        coalesce(manufacturer_id, 'unknown') as manufacturer_id,
        coalesce(brand, 'unknown') as brand,
        coalesce(department, 'unknown') as department,
        coalesce(category, 'unknown') as category,
        coalesce(subcategory, 'unknown') as subcategory,
        coalesce(package_size, 'unknown') as package_size,
        is_sold_in_units,
        unit_cost
    from products
),

unknown_member as (
    select
        'unknown' as product_id,
        'unknown' as product_name,
        'unknown' as manufacturer_id,
        'unknown' as brand,
        'unknown' as department,
        'unknown' as category,
        'unknown' as subcategory,
        'unknown' as package_size,
        true as is_sold_in_units,
        null::decimal(18, 4) as unit_cost
),

final as (
    select * from described
    union all
    select * from unknown_member
)

select * from final
