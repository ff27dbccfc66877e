-- A promotion without a store is one of all stores, without an end one of a week; one that does not say where it is seen is a display.
with product_promotions as (
    select *
    from {{ ref('base_contract__product_promotions') }}
    where reject_reason is null
),

final as (
    select
        product_id,
        coalesce(store_id, 'all') as store_id,
        case when display is null and mailer is null then 'unknown' else display end as display,
        mailer,
        period_start,
        coalesce(period_end, {{ add_days('period_start', 6) }}) as period_end
    from product_promotions
)

select * from final
