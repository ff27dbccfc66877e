-- Customers whose e-mail address is the same are one, named by the smallest of their keys. An address that more customers share than
-- one person plausibly has accounts is a shared mailbox, and joins nobody.
{{ config(materialized='table') }}

with customers as (
    select distinct customer_id as source_customer_id
    from {{ ref('base_contract__customers') }}
    where reject_reason is null
),

customer_keys as (
    select
        customer_id,
        min(email_key) as email_key
    from {{ source('vault', 'customer_keys') }}
    where email_key is not null
    group by customer_id
),

sharing as (
    select
        customer_keys.email_key,
        min(customer_keys.customer_id) as customer_id,
        count(*) as count_sharing
    from customer_keys
    inner join customers on customer_keys.customer_id = customers.source_customer_id
    group by customer_keys.email_key
),

final as (
    select
        customers.source_customer_id,
        case
            when sharing.count_sharing <= {{ var('max_customers_per_email') }} then sharing.customer_id
            else customers.source_customer_id
        end as customer_id,
        coalesce(sharing.count_sharing, 1) as count_sharing
    from customers
    left join customer_keys on customers.source_customer_id = customer_keys.customer_id
    left join sharing on customer_keys.email_key = sharing.email_key
)

select * from final
