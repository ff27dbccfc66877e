-- The files in force of the tables that may be large, each in one fingerprint: what is typed of a file is kept for as long as that stays. A
-- file is delivered again under another load; and a column's type is what all of its files agree on, so that one may change the others.
{{ config(materialized='table') }}

{%- set tables = {
    'orders': ['order_id', 'customer_id', 'store_id', 'status', 'channel', 'currency', 'ordered_at'],
    'order_lines': [
        'order_line_id', 'order_id', 'product_id', 'quantity', 'unit_price', 'gross_sales', 'discounts', 'net_sales', 'coupon_discounts',
    ],
    'product_promotions': ['product_id', 'store_id', 'display', 'mailer', 'period_start', 'period_end'],
} %}

{% for table, columns in tables.items() %}
    select
        '{{ table }}' as table_name,
        _source_file,
        count(*) as row_count,
        md5(concat_ws(
            ' ',
            {%- for column in columns %}
                max(typeof({{ column }})),
            {%- endfor %}
            max(_load_id),
            max(_loaded_at)::varchar
        )) as input_fingerprint
    from {{ source('contract', table) }}
    group by _source_file
    {% if not loop.last %}union all{% endif %}
{% endfor %}
