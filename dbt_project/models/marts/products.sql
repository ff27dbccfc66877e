{{ config(materialized='view') }}

with products as (
    select *
    from {{ ref('core_products') }}
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
        is_sold_in_units
    from products
)

select * from final
