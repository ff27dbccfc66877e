-- The number of an order, and the cohort of its customer, look back only: a later order changes neither, and what comes late changes
-- the customer's orders from its day on.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_changed_histories(model, ref('core_order_days'), dated_orders(), ['business_time_zone']) }}",
) }}

with days as (
    select
        inputs.order_date,
        {{ built_fingerprint(model, 'order_date', ['business_time_zone']) }} as input_fingerprint
    from {{ ref('core_order_days') }} as inputs
),

dated_orders as (
    select *
    from {{ dated_orders() }}
),

{% if is_incremental() -%}
    missing_orders as (
        select dated_orders.*
        from dated_orders
        anti join {{ this }} as built on dated_orders.order_id = built.order_id
    ),

{% endif -%}

-- The number of an order needs the customer's others.
orders as (
    select *
    from dated_orders
    {%- if is_incremental() %}
    where customer_id in (select missing_orders.customer_id from missing_orders)
    {%- endif %}
),

order_lines as (
    select order_lines.*
    from {{ ref('core_order_lines') }} as order_lines
    {%- if is_incremental() %}
    semi join missing_orders
        on order_lines.order_date = missing_orders.order_date
            and order_lines.order_id = missing_orders.order_id
    {%- endif %}
),

amounts as (
    select
        order_id,
        count(*) as line_count,
        coalesce(sum(units) filter (where line_type != 'return'), 0)::decimal(18, 3) as units,
        coalesce(sum(units), 0)::decimal(18, 3) as net_units,
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
        order_date,
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
        coalesce(amounts.net_units, 0)::decimal(18, 3) as net_units,
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
        numbered.order_date,
        days.input_fingerprint
    from numbered
    inner join days on numbered.order_date = days.order_date
    left join amounts on numbered.order_id = amounts.order_id
    {%- if is_incremental() %}
    where numbered.order_id in (select missing_orders.order_id from missing_orders)
    {%- endif %}
)

select * from final
