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
        first_seen_at
    from customers
)

select * from final
