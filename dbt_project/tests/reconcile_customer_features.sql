-- No customer is lost or made up at any cut-off, and all of them together have bought what was sold before it.
{{ config(meta={'dagster': {'ref': {'name': 'customer_features'}}}) }}

with days as (
    select
        order_date,
        count_if(customer_order_seq_number = 1)::bigint as new_customers,
        count(*) as orders,
        sum(net_sales) as net_sales
    from {{ ref('core_orders') }}
    group by order_date
),

expected as (
    select
        cut_offs.as_of_date,
        sum(days.new_customers)::bigint as customers,
        sum(days.orders)::bigint as orders,
        sum(days.net_sales) as net_sales
    from {{ ref('feature_cut_offs') }} as cut_offs
    inner join days on cut_offs.as_of_date > days.order_date
    group by cut_offs.as_of_date
),

built as (
    select
        as_of_date,
        count(*) as customers,
        sum(lifetime_count_orders) as orders,
        sum(lifetime_net_sales) as net_sales
    from {{ ref('customer_features') }}
    group by as_of_date
),

labelled as (
    select
        as_of_date,
        count(*) as customers
    from {{ ref('customer_labels') }}
    group by as_of_date
)

select
    coalesce(expected.as_of_date, built.as_of_date) as as_of_date,
    expected.customers as expected_customers,
    built.customers as built_customers,
    labelled.customers as labelled_customers,
    expected.net_sales as expected_net_sales,
    built.net_sales as built_net_sales
from expected
full join built on expected.as_of_date = built.as_of_date
left join labelled on built.as_of_date = labelled.as_of_date
where expected.customers is distinct from built.customers
    or expected.orders is distinct from built.orders
    or expected.net_sales is distinct from built.net_sales
    or built.customers is distinct from labelled.customers
