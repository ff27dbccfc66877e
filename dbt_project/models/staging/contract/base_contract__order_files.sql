-- The files in force with orders and their lines, each in one fingerprint: what is typed of a file is kept for as long as that stays. A
-- file is delivered again under another load; and a column's type is what all of its files agree on, so that one may change the others.
{{ config(materialized='table') }}

{%- set tables = {
    'orders': ['order_id', 'customer_id', 'store_id', 'status', 'channel', 'currency', 'ordered_at'],
    'order_lines': [
        'order_line_id', 'order_id', 'product_id', 'quantity', 'unit_price', 'gross_sales', 'discounts', 'net_sales', 'coupon_discounts',
    ],
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
