with articles as (
    select *
    from {{ ref('base_new_source__articles') }}
    where reject_reason is null
),

final as (
    select
        article_no as product_id,
        label as product_name,
        null::varchar as manufacturer_id,
        null::varchar as brand,
        trim(split_part(article_group, '/', 1)) as department,
        nullif(trim(split_part(article_group, '/', 2)), '') as category,
        null::varchar as subcategory,
        null::varchar as package_size,
        true as is_sold_in_units,
        null::decimal(18, 4) as unit_cost
    from articles
)

select * from final
