-- The export has none: no rows, and `lacks` in the declaration of the source says so.
with final as (
    select
        null::varchar as product_id,
        null::varchar as store_id,
        null::varchar as display,
        null::varchar as mailer,
        null::date as period_start,
        null::date as period_end
    where false
)

select * from final
