-- What grows, and where: net sales of the newest window against the windows before it, by category and by who buys. Customers count where they
-- are today, so that growth is theirs and not that of customers who moved.
{%- set dimensions = {'all': "'all'", 'segment': "coalesce(segment_label, 'none')", 'region': 'region', 'household_type': 'household_type'} %}

with customers as (
    select
        {%- for dimension, expression in dimensions.items() %}
            {{ expression }} as {{ dimension }}_value,
        {%- endfor %}
        customer_id,
        as_of_date
    from {{ ref('customer_360') }}
),

products as (
    select
        products.product_id,
        {{ item_paths('products') }}
    from {{ ref('core_products') }} as products
),

current_day as (
    select max(as_of_date) as as_of_date
    from customers
),

customer_sales as (
    select
        order_products.customer_id,
        products.category_id,
        {{ window_number('order_products.order_date', 'current_day.as_of_date') }} as window_number,
        sum(order_products.net_sales) as net_sales
    from {{ ref('order_products') }} as order_products
    inner join current_day
        on {{ is_before('order_products.order_date', 'current_day.as_of_date') }}
            and {{ is_in_windows('order_products.order_date', 'current_day.as_of_date') }}
    inner join products on order_products.product_id = products.product_id
    where products.category_id is not null
    group by all
),

sales as (
    select
        customers.*,
        customer_sales.category_id,
        customer_sales.window_number,
        customer_sales.net_sales
    from customer_sales
    inner join customers on customer_sales.customer_id = customers.customer_id
),

window_sales as (
    {%- for dimension in dimensions %}
        select
            as_of_date,
            '{{ dimension }}' as dimension,
            {{ dimension }}_value as dimension_value,
            category_id,
            window_number,
            sum(net_sales) as net_sales,
            count(*) as count_customers
        from sales
        group by as_of_date, {{ dimension }}_value, category_id, window_number
        {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

measured as (
    select
        as_of_date,
        dimension,
        dimension_value,
        category_id,
        coalesce(sum(net_sales) filter (where window_number = 0), 0) as net_sales,
        coalesce(max(count_customers) filter (where window_number = 0), 0) as count_customers,
        coalesce(sum(net_sales) filter (where window_number > 0), 0) as past_net_sales,
        coalesce(sum(net_sales * net_sales) filter (where window_number > 0), 0) as past_squares
    from window_sales
    group by as_of_date, dimension, dimension_value, category_id
),

everything as (
    select {{ quotient('sum(net_sales) * ' ~ var('association_windows'), 'sum(past_net_sales)') }} - 1 as growth_of_all
    from measured
    where dimension = 'all'
),

compared as (
    select
        measured.*,
        {{ ratio('measured.past_net_sales', var('association_windows'), 2) }} as usual_net_sales,
        {{ quotient('measured.net_sales * ' ~ var('association_windows'), 'nullif(greatest(measured.past_net_sales, 0), 0)') }} - 1 as growth,
        everything.growth_of_all,
        -- Of a new window against the mean of the past ones: their spread, and that of the mean.
        {{ quotient(
            '(measured.net_sales - measured.past_net_sales / ' ~ var('association_windows') ~ ')',
            spread(var('association_windows'), 'measured.past_net_sales', 'measured.past_squares')
            ~ ' * sqrt(1 + 1.0 / ' ~ var('association_windows') ~ ')'
        ) }} as deviations
    from measured
    cross join everything
),

final as (
    select
        as_of_date,
        dimension,
        dimension_value,
        category_id as category,
        net_sales::decimal(18, 2) as net_sales,
        usual_net_sales,
        count_customers,
        growth,
        growth_of_all,
        deviations,
        coalesce(
            growth - growth_of_all >= {{ var('hot_spot_growth') }}
            and deviations >= {{ var('hot_spot_deviations') }}
            and count_customers >= {{ var('hot_spot_min_customers') }},
            false
        ) as is_hot_spot
    from compared
)

select * from final
