-- A view: the rows are read where they landed. Nothing but the whole row is a key, so readers ask whether a promotion exists.
{{ config(materialized='view') }}

with product_promotions as (
    select *
    from {{ staged('product_promotions') }}
),

final as (
    select
        product_id,
        store_id,
        display,
        mailer,
        period_start,
        period_end
    from product_promotions
)

select * from final
