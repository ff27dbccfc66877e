-- The export has none: no rows, and `lacks` in the declaration of the source says so.
with final as (
    select
        null::varchar as campaign_id,
        null::varchar as customer_id,
        null::varchar as offer_id,
        null::timestamp as responded_at
    where false
)

select * from final
