-- Everything that customer_features, customer_labels and customer_behaviours read of a customer's orders, once per day: they see the past in
-- one pass. What is new (a store, a category, a product) looks back only, so what comes late changes the customer's days from its own on. Nothing from the
-- refreshed day on is seen.
{%- set variables = ['business_time_zone', 'private_label_brand'] %}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_changed_histories(model, seen_order_days(), ref('core_orders'), ['business_time_zone', 'private_label_brand']) }}",
) }}

with refresh as (
    select {{ business_midnight('as_of_date') }} as as_of_at
    from {{ source('control', 'refresh') }}
),

days as (
    select
        inputs.order_date,
        {{ built_fingerprint(model, 'order_date', variables) }} as input_fingerprint
    from {{ seen_order_days() }} as inputs
),

{% if is_incremental() -%}
    missing as (
        select distinct
            orders.customer_id,
            orders.order_date
        from {{ ref('core_orders') }} as orders
        inner join refresh on {{ is_before('orders.ordered_at', 'refresh.as_of_at') }}
        anti join {{ this }} as built
            on orders.customer_id = built.customer_id
                and orders.order_date = built.order_date
    ),

{% endif -%}

orders as (
    select
        orders.*,
        {{ business_hour('orders.ordered_at') }} as order_hour
    from {{ ref('core_orders') }} as orders
    inner join refresh on {{ is_before('orders.ordered_at', 'refresh.as_of_at') }}
    {%- if is_incremental() %}
    where orders.customer_id in (select missing.customer_id from missing)
    {%- endif %}
),

department_groups as (
    select *
    from {{ ref('department_groups') }}
    where source = '{{ var("source") }}'
),

products as (
    select
        products.product_id,
        row_number() over (order by products.product_id) as product_number,
        dense_rank() over (order by products.department) as department_number,
        dense_rank() over (order by products.department, products.category) as category_number,
        products.brand = '{{ var("private_label_brand") }}' as is_private_label,
        coalesce(department_groups.department_group, 'other') as department_group,
        coalesce(department_groups.is_serviced, false) as is_serviced,
        products.unit_cost
    from {{ ref('core_products') }} as products
    left join department_groups on products.department = department_groups.department
),

-- All of these customers' lines, as what is new on a day is told by the days before. Read anew by each that follows: kept once for all, they
-- take many times their room in memory.
order_lines as not materialized (
    select
        order_lines.*,
        order_lines.line_type != 'return' as is_bought,
        order_lines.line_type = 'sale' as is_sale
    from {{ ref('core_order_lines') }} as order_lines
    inner join refresh on {{ is_before('order_lines.ordered_at', 'refresh.as_of_at') }}
    {%- if is_incremental() %}
    where order_lines.customer_id in (select missing.customer_id from missing)
    {%- endif %}
),

day_lines as not materialized (
    select
        order_lines.customer_id,
        order_lines.order_date,
        order_lines.gross_sales,
        order_lines.discounts,
        order_lines.net_sales,
        order_lines.is_bought,
        order_lines.is_sale,
        (order_lines.quantity * products.unit_cost)::decimal(18, 4) as cost,
        products.product_number,
        products.department_number,
        products.category_number,
        products.is_private_label,
        products.is_serviced,
        products.department_group
    from order_lines
    inner join products on order_lines.product_id = products.product_id
    {%- if is_incremental() %}
    semi join missing
        on order_lines.customer_id = missing.customer_id
            and order_lines.order_date = missing.order_date
    {%- endif %}
),

order_days as (
    select
        customer_id,
        order_date,
        min(coalesce(store_id, 'none')) as store_id,
        count(*) as count_orders,
        sum(line_count)::bigint as line_count,
        sum(units)::decimal(18, 3) as units,
        sum(net_sales)::decimal(18, 2) as net_sales,
        sum(discounts)::decimal(18, 2) as discounts,
        sum(coupon_discounts)::decimal(18, 2) as coupon_discounts,
        sum(order_hour)::bigint as sum_of_hours,
        sum(order_hour * order_hour)::bigint as sum_of_squared_hours,
        bool_or(order_hour < 11) as is_morning,
        bool_or(order_hour >= 18) as is_evening
    from orders
    group by customer_id, order_date
),

category_days as (
    select
        customer_id,
        order_date,
        department_number,
        category_number,
        department_group,
        bool_or(is_bought) as is_bought,
        sum(net_sales) as net_sales,
        sum(net_sales) filter (where is_private_label) as private_label_net_sales,
        sum(net_sales) filter (where is_serviced) as serviced_net_sales,
        sum(gross_sales) filter (where is_sale) as sale_gross_sales,
        sum(discounts) filter (where is_sale) as sale_discounts,
        count_if(is_sale) as sale_line_count,
        count(cost) as costed_line_count,
        sum((net_sales - cost)::decimal(18, 4)) as margin
    from day_lines
    group by customer_id, order_date, department_number, category_number, department_group
),

mixes as (
    select
        customer_id,
        order_date,
        count_if(is_bought)::bigint as category_count,
        sum(private_label_net_sales) as private_label_net_sales,
        sum(serviced_net_sales) as serviced_net_sales,
        sum(sale_gross_sales) as sale_gross_sales,
        sum(sale_discounts) as sale_discounts,
        sum(sale_line_count)::bigint as sale_line_count,
        sum(costed_line_count)::bigint as costed_line_count,
        sum(margin) as margin,
        {% for group in ['grocery', 'fresh', 'prepared', 'drugstore', 'fuel', 'other'] -%}
            coalesce(sum(net_sales) filter (where department_group = '{{ group }}'), 0)::decimal(18, 2) as {{ group }}_net_sales
            {%- if not loop.last %},{% endif %}
        {% endfor %}
    from category_days
    group by customer_id, order_date
),

first_products as (
    select
        order_lines.customer_id,
        products.department_number,
        products.category_number,
        products.product_number,
        min(order_lines.order_date) filter (where order_lines.is_sale) as first_sold_date,
        min(order_lines.order_date) filter (where order_lines.is_bought) as first_bought_date
    from order_lines
    inner join products on order_lines.product_id = products.product_id
    group by order_lines.customer_id, products.department_number, products.category_number, products.product_number
),

first_categories as (
    select
        customer_id,
        department_number,
        category_number,
        min(first_bought_date) as order_date
    from first_products
    where first_bought_date is not null
    group by customer_id, department_number, category_number
),

first_departments as (
    select
        customer_id,
        department_number,
        min(order_date) as order_date
    from first_categories
    group by customer_id, department_number
),

new_categories as (
    select
        customer_id,
        order_date,
        count(*) as new_category_count
    from first_categories
    group by customer_id, order_date
),

new_departments as (
    select
        customer_id,
        order_date,
        count(*) as new_department_count
    from first_departments
    group by customer_id, order_date
),

product_days as (
    select
        customer_id,
        product_number,
        order_date,
        count(*) as line_count
    from day_lines
    where is_sale
    group by customer_id, product_number, order_date
),

new_products as (
    select
        product_days.customer_id,
        product_days.order_date,
        sum(product_days.line_count)::bigint as new_product_line_count
    from product_days
    semi join first_products
        on product_days.customer_id = first_products.customer_id
            and product_days.product_number = first_products.product_number
            and product_days.order_date = first_products.first_sold_date
    group by product_days.customer_id, product_days.order_date
),

visits as (
    select
        order_days.customer_id,
        order_days.order_date,
        row_number() over (partition by order_days.customer_id order by order_days.order_date) as visit_number,
        {{ days_between(
            "lag(order_days.order_date) over (partition by order_days.customer_id order by order_days.order_date)",
            "order_days.order_date"
        ) }} as gap_days,
        order_days.store_id,
        {{ days_between(
            "lag(order_days.order_date) over (partition by order_days.customer_id, order_days.store_id order by order_days.order_date)",
            "order_days.order_date"
        ) }} as store_gap_days,
        {{ weekday('order_days.order_date') }} >= 5 as is_weekend,
        order_days.is_morning,
        order_days.is_evening,
        order_days.sum_of_hours,
        order_days.sum_of_squared_hours,
        order_days.count_orders,
        order_days.line_count,
        order_days.units,
        order_days.net_sales,
        order_days.discounts,
        order_days.coupon_discounts,
        coalesce(mixes.private_label_net_sales, 0)::decimal(18, 2) as private_label_net_sales,
        coalesce(mixes.grocery_net_sales, 0)::decimal(18, 2) as grocery_net_sales,
        coalesce(mixes.fresh_net_sales, 0)::decimal(18, 2) as fresh_net_sales,
        coalesce(mixes.prepared_net_sales, 0)::decimal(18, 2) as prepared_net_sales,
        coalesce(mixes.drugstore_net_sales, 0)::decimal(18, 2) as drugstore_net_sales,
        coalesce(mixes.fuel_net_sales, 0)::decimal(18, 2) as fuel_net_sales,
        coalesce(mixes.other_net_sales, 0)::decimal(18, 2) as other_net_sales,
        coalesce(mixes.category_count, 0) as category_count,
        coalesce(new_categories.new_category_count, 0) as new_category_count,
        coalesce(new_departments.new_department_count, 0) as new_department_count,
        coalesce(mixes.serviced_net_sales, 0)::decimal(18, 2) as serviced_net_sales,
        coalesce(mixes.sale_gross_sales, 0)::decimal(18, 2) as sale_gross_sales,
        coalesce(mixes.sale_discounts, 0)::decimal(18, 2) as sale_discounts,
        coalesce(mixes.sale_line_count, 0) as sale_line_count,
        coalesce(new_products.new_product_line_count, 0) as new_product_line_count,
        coalesce(mixes.costed_line_count, 0) as costed_line_count,
        coalesce(mixes.margin, 0)::decimal(18, 4) as margin,
        days.input_fingerprint
    from order_days
    inner join days on order_days.order_date = days.order_date
    left join mixes
        on order_days.customer_id = mixes.customer_id
            and order_days.order_date = mixes.order_date
    left join new_categories
        on order_days.customer_id = new_categories.customer_id
            and order_days.order_date = new_categories.order_date
    left join new_departments
        on order_days.customer_id = new_departments.customer_id
            and order_days.order_date = new_departments.order_date
    left join new_products
        on order_days.customer_id = new_products.customer_id
            and order_days.order_date = new_products.order_date
),

final as (
    select visits.*
    from visits
    {%- if is_incremental() %}
    inner join missing
        on visits.customer_id = missing.customer_id
            and visits.order_date = missing.order_date
    {%- endif %}
)

select * from final
-- customer_features adds up a customer's days: where they stand together, its sums are not scattered over memory and disk.
order by customer_id, order_date
