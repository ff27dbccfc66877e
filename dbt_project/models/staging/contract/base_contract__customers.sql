-- What says who a person is (names, addresses, the day of birth) is read in the vault and nowhere here.
{%- set columns = [
    'customer_id', 'gender', 'region', 'country', 'acquisition_channel', 'age_band', 'income_band', 'household_size', 'marital_status',
    'home_ownership', 'kids_count', 'occupation', 'has_marketing_consent', 'created_at',
] %}

with source_rows as (
    select *
    from {{ source('contract', 'customers') }}
),

typed as (
    select
        customer_id::varchar as customer_id,
        gender::varchar as gender,
        region::varchar as region,
        country::varchar as country,
        acquisition_channel::varchar as acquisition_channel,
        age_band::varchar as age_band,
        income_band::varchar as income_band,
        household_size::varchar as household_size,
        marital_status::varchar as marital_status,
        home_ownership::varchar as home_ownership,
        kids_count::varchar as kids_count,
        occupation::varchar as occupation,
        try_cast(marketing_consent as boolean) as has_marketing_consent,
        try_cast(created_at as timestamp) as created_at,
        case
            when customer_id is null then 'customer_id is missing'
            when {{ cannot_be_read('marketing_consent', 'boolean') }} then 'marketing_consent is not true or false'
            when {{ cannot_be_read('created_at', 'timestamp') }} then 'created_at is not a time'
            when try_cast(created_at as timestamp) > _loaded_at then 'created_at is later than the load'
        end as reject_reason,
        _source_file,
        _row_number
    from source_rows
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
