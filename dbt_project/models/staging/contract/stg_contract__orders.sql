with orders as (
    select *
    from {{ ref('base_contract__orders') }}
    where reject_reason is null
),

-- All orders are in one currency, so an order that names none is in that one.
currencies as (
    select max(currency) as currency
    from orders
),

identities as (
    select *
    from {{ ref('stg_contract__customer_identities') }}
),

final as (
    select
        orders.order_id,
        coalesce(identities.customer_id, orders.customer_id) as customer_id,
        orders.store_id,
        coalesce(orders.status, 'completed') as status,
        coalesce(orders.channel, 'unknown') as channel,
        coalesce(orders.currency, currencies.currency, 'unknown') as currency,
        orders.ordered_at
    from orders
    cross join currencies
    left join identities on orders.customer_id = identities.source_customer_id
)

select * from final
