-- What goes into the offers to each customer in one fingerprint: the rules that were found last, and what the customer bought.
{{ config(materialized='table') }}

with current_day as (
    select
        as_of_date,
        {{ search_day('as_of_date') }} as search_date
    from {{ ref('current_day') }}
),

rules as (
    select max(searches.input_fingerprint) as input_fingerprint
    from {{ ref('association_searches') }} as searches
    inner join current_day on searches.as_of_date = current_day.search_date
),

order_products as (
    select
        order_products.customer_id,
        {{ row_hash(['order_products.order_date', 'order_products.input_fingerprint']) }} as input_hash
    from {{ ref('order_products') }} as order_products
    inner join current_day on order_products.order_date < current_day.as_of_date
),

customers as (
    select
        customer_id,
        count(*) as row_count,
        sum(input_hash) as input_hash
    from order_products
    group by customer_id
),

final as (
    select
        customers.customer_id,
        md5(concat_ws(
            ' ', rules.input_fingerprint, customers.row_count::varchar, customers.input_hash::varchar
        )) as input_fingerprint
    from customers
    cross join rules
)

select * from final
