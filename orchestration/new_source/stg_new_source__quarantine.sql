-- Where a rejected row stands and why; its values stay in the raw file, as they may be personal.
{{ config(materialized='table') }}

{% set tables = ['clients', 'articles', 'receipts'] -%}

{% for table in tables %}
    select
        '{{ table }}' as table_name,
        _source_file as source_file,
        _row_number as row_number,
        copies,
        reject_reason
    from {{ ref('base_new_source__' ~ table) }}
    where reject_reason is not null
    union all
{% endfor %}
select
    table_name,
    _source_file as source_file,
    _row_number as row_number,
    1 as copies,
    reject_reason
from {{ source('new_source_landing', 'rejects') }}
