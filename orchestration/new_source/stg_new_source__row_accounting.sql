-- Every landed row is accepted, quarantined or a declared duplicate. Accepted rows are counted where the core takes them: that a customer
-- model makes more of them than there are clients is its purpose.
{{ config(materialized='table') }}

{% set accepted_in = {
    'clients': ref('base_new_source__clients'),
    'articles': ref('stg_new_source__products'),
    'receipts': ref('stg_new_source__order_lines'),
} -%}

{% for table, accepted in accepted_in.items() %}
    select
        '{{ table }}' as table_name,
        (select count(*) from {{ source('new_source', table) }})
        + (
            select count(*)
            from {{ source('new_source_landing', 'rejects') }}
            where table_name = '{{ table }}'
        ) as rows_landed,
        (
            select count(*)
            from {{ accepted }}
            {% if accepted == ref('base_new_source__' ~ table) %}where reject_reason is null{% endif %}
        ) as rows_accepted,
        (
            select coalesce(sum(copies), 0)::bigint
            from {{ ref('stg_new_source__quarantine') }}
            where table_name = '{{ table }}'
        ) as rows_quarantined,
        (
            select coalesce(sum(copies - 1), 0)::bigint
            from {{ ref('base_new_source__' ~ table) }}
            where reject_reason is null
        ) as rows_duplicate
    {% if not loop.last %}union all{% endif %}
{% endfor %}
