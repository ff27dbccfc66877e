-- Nobody is offered a product that they have bought, or one that may not be offered.
{{ config(meta={'dagster': {'ref': {'name': 'cross_sell_opportunities'}}}) }}

select
    offers.customer_id,
    offers.product_id
from {{ ref('cross_sell_opportunities') }} as offers
inner join {{ ref('products') }} as products on offers.product_id = products.product_id
left join {{ ref('core_order_lines') }} as order_lines
    on offers.customer_id = order_lines.customer_id
        and offers.product_id = order_lines.product_id
        and offers.as_of_date > order_lines.order_date
        and order_lines.line_type in ('sale', 'free_item')
where order_lines.order_line_id is not null
    or not ({{ is_none_of('products.department', var('offer_excluded_departments')) }})
    or not ({{ is_none_of('products.category', var('offer_excluded_categories')) }})
