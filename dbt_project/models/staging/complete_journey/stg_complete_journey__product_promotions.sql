-- Week 1 holds 1 January 2017, a Sunday; every later week begins on its Monday.
with promotions as (
    select *
    from {{ ref('base_complete_journey__promotions') }}
    where reject_reason is null
),

final as (
    select
        product_id,
        store_id,
        display,
        mailer,
        {{ add_days("date '2016-12-26'", '7 * (week - 1)') }} as period_start,
        {{ add_days("date '2016-12-26'", '7 * (week - 1) + 6') }} as period_end
    from promotions
)

select * from final
