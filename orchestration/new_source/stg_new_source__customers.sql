-- Who bought and is not among the clients is a customer with an unknown profile. Known from the day of registration or the first receipt on.
with clients as (
    select *
    from {{ ref('base_new_source__clients') }}
    where reject_reason is null
),

first_orders as (
    select
        customer_id,
        min(ordered_at) as first_seen_at
    from {{ ref('stg_new_source__orders') }}
    group by customer_id
),

seen as (
    select * from first_orders
    union all
    select
        client_no as customer_id,
        {{ business_midnight('registered_on') }} as first_seen_at
    from clients
),

known as (
    select
        customer_id,
        min(first_seen_at) as first_seen_at
    from seen
    group by customer_id
),

final as (
    select
        known.customer_id,
        null::varchar as gender,
        clients.state as region,
        'DE' as country,
        null::varchar as acquisition_channel,
        null::varchar as age_band,
        null::varchar as income_band,
        null::varchar as household_size,
        null::varchar as marital_status,
        null::varchar as home_ownership,
        null::varchar as kids_count,
        null::varchar as occupation,
        null::varchar as email_key,
        null::varchar as phone_key,
        null::boolean as has_marketing_consent,
        known.first_seen_at
    from known
    left join clients on known.customer_id = clients.client_no
)

select * from final
