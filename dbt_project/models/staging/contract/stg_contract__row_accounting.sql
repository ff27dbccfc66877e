-- Every landed row is accepted, quarantined or a declared duplicate. Accepted rows are counted where the core takes them, but for
-- customers and what names them: several of their rows may be of one customer.
{{ config(materialized='table') }}

{% set accepted_in = {
    'customers': ref('base_contract__customers'),
    'orders': ref('stg_contract__orders'),
    'order_lines': ref('stg_contract__order_lines'),
    'products': ref('stg_contract__products'),
    'campaigns': ref('stg_contract__campaigns'),
    'campaign_members': ref('base_contract__campaign_members'),
    'campaign_offers': ref('base_contract__campaign_offers'),
    'campaign_responses': ref('base_contract__campaign_responses'),
    'product_promotions': ref('stg_contract__product_promotions'),
} -%}

{% for table, accepted in accepted_in.items() %}
    select
        '{{ table }}' as table_name,
        (select count(*) from {{ source('contract', table) }})
        + (
            select count(*)
            from {{ source('landing', 'rejects') }}
            where table_name = '{{ table }}'
        ) as rows_landed,
        (
            select count(*)
            from {{ accepted }}
            {% if accepted == ref('base_contract__' ~ table) %}where reject_reason is null{% endif %}
        ) as rows_accepted,
        (
            select coalesce(sum(copies), 0)::bigint
            from {{ ref('stg_contract__quarantine') }}
            where table_name = '{{ table }}'
        ) as rows_quarantined,
        (
            select coalesce(sum(copies - 1), 0)::bigint
            from {{ ref('base_contract__' ~ table) }}
            where reject_reason is null
        ) as rows_duplicate
    {% if not loop.last %}union all{% endif %}
{% endfor %}
