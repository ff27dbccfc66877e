-- Where a rejected row stands and why; its values stay in the raw file, as they may be personal. Lines of a CSV that cannot even be
-- split into fields were set aside when they landed.
{{ config(materialized='table') }}

{% set tables = [
    'customers', 'orders', 'order_lines', 'products', 'campaigns', 'campaign_members', 'campaign_offers', 'campaign_responses',
    'product_promotions',
] -%}

{% for table in tables %}
    select
        '{{ table }}' as table_name,
        _source_file as source_file,
        _row_number as row_number,
        copies,
        reject_reason
    from {{ ref('base_contract__' ~ table) }}
    where reject_reason is not null
    union all
{% endfor %}
select
    table_name,
    _source_file as source_file,
    _row_number as row_number,
    1 as copies,
    reject_reason
from {{ source('landing', 'rejects') }}
