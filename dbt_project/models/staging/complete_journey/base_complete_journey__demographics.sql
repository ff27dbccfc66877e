with source_rows as (
    select *
    from {{ source('complete_journey', 'demographics') }}
),

final as (
    select
        household_id::varchar as customer_id,
        age as age_band,
        income as income_band,
        home_ownership,
        marital_status,
        household_size,
        kids_count,
        case when household_id is null then 'household_id is missing' end as reject_reason,
        min(_source_file) as _source_file,
        min(_row_number) as _row_number,
        count(*) as copies
    from source_rows
    group by all
)

select * from final
