with products as (
    select *
    from {{ ref('base_complete_journey__products') }}
    where reject_reason is null
),

final as (
    select
        product_id,
        concat_ws(' ', subcategory, package_size) as product_name,
        manufacturer_id,
        brand,
        department,
        category,
        subcategory,
        package_size,
        -- The pump reports thousandths of a gallon where a counter reports units.
        coalesce(subcategory, '') not like 'GASOLINE%' as is_sold_in_units,
        -- The source tells no costs.
        null::decimal(18, 4) as unit_cost
    from products
)

select * from final
