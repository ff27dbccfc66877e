-- The newest day of the history, with what the products are.
with current_day as (
    select *
    from {{ ref('current_day') }}
),

history as (
    select history.*
    from {{ ref('product_recommendations_history') }} as history
    inner join current_day on history.as_of_date = current_day.as_of_date
),

products as (
    select *
    from {{ ref('core_products') }}
),

final as (
    select
        history.customer_id,
        history.rank,
        history.as_of_date,
        history.list,
        history.list_rank,
        history.product_id,
        products.product_name,
        products.department,
        products.category,
        history.score,
        history.reason,
        history.is_new_to_customer,
        history.method,
        history.listed_on
    from history
    inner join products on history.product_id = products.product_id
)

select * from final
