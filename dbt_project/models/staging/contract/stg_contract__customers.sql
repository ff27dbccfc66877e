-- A customer is known from the day of record, the first order or the eve of the first campaign on, whichever came first; without any of
-- them from the beginning. Who ordered or was sent a campaign, and is not in `customers`, is a customer with an unknown profile.
-- A customer who refused to be written to under one of several keys has refused.
{%- set profile = [
    'gender', 'region', 'country', 'acquisition_channel', 'age_band', 'income_band', 'household_size', 'marital_status', 'home_ownership',
    'kids_count', 'occupation', 'has_marketing_consent', 'email_key', 'phone_key',
] %}

with identities as (
    select *
    from {{ ref('stg_contract__customer_identities') }}
),

customer_keys as (
    select
        customer_id as source_customer_id,
        max(email_key) as email_key,
        max(phone_key) as phone_key,
        max(birth_year) as birth_year,
        max(postal_region) as postal_region
    from {{ source('vault', 'customer_keys') }}
    group by customer_id
),

described as (
    select
        identities.customer_id,
        identities.source_customer_id,
        {%- for column in profile %}
            {% if column == 'age_band' -%}
                coalesce(customers.age_band, {{ age_band('year(refresh.as_of_date) - customer_keys.birth_year') }}) as age_band,
            {%- elif column == 'region' -%}
                coalesce(customers.region, customer_keys.postal_region) as region,
            {%- elif column in ['email_key', 'phone_key'] -%}
                customer_keys.{{ column }},
            {%- else -%}
                customers.{{ column }},
            {%- endif %}
        {%- endfor %}
        customers.created_at
    from {{ ref('base_contract__customers') }} as customers
    inner join identities on customers.customer_id = identities.source_customer_id
    left join customer_keys on customers.customer_id = customer_keys.source_customer_id
    cross join {{ source('control', 'refresh') }} as refresh
    where customers.reject_reason is null
),

profiles as (
    select
        customer_id,
        {%- for column in profile %}
            {% if column == 'has_marketing_consent' -%}
                bool_and(has_marketing_consent) as has_marketing_consent,
            {%- else -%}
                {{ first_told(column) }} as {{ column }},
            {%- endif %}
        {%- endfor %}
        min(created_at) as first_seen_at
    from described
    group by customer_id
),

first_orders as (
    select
        customer_id,
        min(ordered_at) as first_seen_at
    from {{ ref('stg_contract__orders') }}
    group by customer_id
),

first_campaigns as (
    select
        customer_id,
        {{ business_midnight(add_days(business_date('min(assigned_at)'), -1)) }} as first_seen_at
    from {{ ref('stg_contract__campaign_members') }}
    group by customer_id
),

seen as (
    select * from first_orders
    union all
    select * from first_campaigns
    union all
    select
        customer_id,
        first_seen_at
    from profiles
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
        {%- for column in profile %}
            profiles.{{ column }},
        {%- endfor %}
        profiles.customer_id is not null as is_described,
        known.first_seen_at
    from known
    left join profiles on known.customer_id = profiles.customer_id
)

select * from final
