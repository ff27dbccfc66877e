with source_rows as (
    select *
    from {{ source('complete_journey', 'products') }}
),

final as (
    select
        product_id::varchar as product_id,
        manufacturer_id::varchar as manufacturer_id,
        department,
        brand,
        product_category as category,
        product_type as subcategory,
        package_size,
        case when product_id is null then 'product_id is missing' end as reject_reason,
        min(_source_file) as _source_file,
        min(_row_number) as _row_number,
        count(*) as copies
    from source_rows
    group by all
)

select * from final
