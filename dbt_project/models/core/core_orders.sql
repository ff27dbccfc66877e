-- The number of an order, and the cohort of its customer, look back only: a later order changes neither.
with orders as (
    select *
    from {{ staged('orders') }}
),

order_lines as (
    select *
    from {{ ref('core_order_lines') }}
),

amounts as (
    select
        order_id,
        count(*) as line_count,
        coalesce(sum(units) filter (where line_type != 'return'), 0)::decimal(18, 3) as units,
        coalesce(sum(gross_sales) filter (where line_type != 'return'), 0)::decimal(18, 2) as gross_sales,
        coalesce(sum(discounts) filter (where line_type != 'return'), 0)::decimal(18, 2) as discounts,
        coalesce(-sum(net_sales) filter (where line_type = 'return'), 0)::decimal(18, 2) as returns,
        sum(net_sales)::decimal(18, 2) as net_sales,
        sum(coupon_discounts)::decimal(18, 2) as coupon_discounts
    from order_lines
    group by order_id
),

numbered as (
    select
        order_id,
        customer_id,
        store_id,
        status,
        channel,
        currency,
        ordered_at,
        {{ business_date('ordered_at') }} as order_date,
        row_number() over (partition by customer_id order by ordered_at, order_id) as customer_order_seq_number,
        min(ordered_at) over (partition by customer_id) as first_order_at
    from orders
),

final as (
    select
        numbered.order_id,
        numbered.customer_id,
        numbered.store_id,
        numbered.status,
        numbered.channel,
        numbered.currency,
        coalesce(amounts.line_count, 0) as line_count,
        coalesce(amounts.units, 0)::decimal(18, 3) as units,
        coalesce(amounts.gross_sales, 0)::decimal(18, 2) as gross_sales,
        coalesce(amounts.discounts, 0)::decimal(18, 2) as discounts,
        coalesce(amounts.returns, 0)::decimal(18, 2) as returns,
        coalesce(amounts.net_sales, 0)::decimal(18, 2) as net_sales,
        coalesce(amounts.coupon_discounts, 0)::decimal(18, 2) as coupon_discounts,
        numbered.customer_order_seq_number,
        case when numbered.customer_order_seq_number = 1 then 'new' else 'repeat' end as new_vs_repeat,
        date_trunc('month', {{ business_date('numbered.first_order_at') }})::date as cohort_month,
        {{ datediff(
            "date_trunc('month', " ~ business_date('numbered.first_order_at') ~ ")", "numbered.order_date", "month"
        ) }} as cohort_month_number,
        numbered.ordered_at,
        numbered.order_date
    from numbered
    left join amounts on numbered.order_id = amounts.order_id
)

select * from final
