-- A table: it is read half a dozen times in a refresh.
{%- set columns = [
    'product_id', 'product_name', 'manufacturer_id', 'brand', 'department', 'category', 'subcategory', 'package_size', 'unit_cost',
    'is_sold_in_units',
] %}
{{ config(materialized='table') }}

with source_rows as (
    select *
    from {{ source('contract', 'products') }}
),

typed as (
    select
        product_id::varchar as product_id,
        product_name::varchar as product_name,
        manufacturer_id::varchar as manufacturer_id,
        brand::varchar as brand,
        department::varchar as department,
        category::varchar as category,
        subcategory::varchar as subcategory,
        package_size::varchar as package_size,
        try_cast(unit_cost as decimal(18, 4)) as unit_cost,
        try_cast(is_sold_in_units as boolean) as is_sold_in_units,
        case
            when product_id is null then 'product_id is missing'
            when {{ cannot_be_read('unit_cost', 'decimal(18, 4)') }} then 'unit_cost is not an amount'
            when try_cast(unit_cost as decimal(18, 4)) < 0 then 'unit_cost is below 0'
            when {{ cannot_be_read('is_sold_in_units', 'boolean') }} then 'is_sold_in_units is not true or false'
        end as reject_reason,
        _source_file,
        _row_number
    from source_rows
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
