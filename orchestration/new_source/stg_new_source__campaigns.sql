-- The export has none: no rows, and `lacks` in the declaration of the source says so.
with final as (
    select
        null::varchar as campaign_id,
        null::varchar as name,
        null::varchar as campaign_type,
        null::varchar as channel,
        null::date as start_date,
        null::date as end_date
    where false
)

select * from final
