with customers as (
    select *
    from {{ staged('customers') }}
),

final as (
    select
        customer_id,
        coalesce(age_band, 'unknown') as age_band,
        coalesce(income_band, 'unknown') as income_band,
        coalesce(household_size, 'unknown') as household_size,
        coalesce(marital_status, 'unknown') as marital_status,
        coalesce(home_ownership, 'unknown') as home_ownership,
        coalesce(kids_count, 'unknown') as kids_count,
        case
            when kids_count != '0' then 'family'
            when household_size = '1' then 'single'
            when household_size = '2' then 'couple'
            when household_size is not null then 'several_adults'
            else 'unknown'
        end as household_type,
        coalesce(region, 'unknown') as region,
        coalesce(country, 'unknown') as country,
        coalesce(gender, 'unknown') as gender,
        coalesce(occupation, 'unknown') as occupation,
        coalesce(acquisition_channel, 'unknown') as acquisition_channel,
        email_key,
        phone_key,
        has_marketing_consent,
        first_seen_at
    from customers
)

select * from final
