-- Every landed row is accepted, quarantined or a declared duplicate. Accepted rows are counted where the core takes them.
{{ config(materialized='table') }}

{% set accepted_in = {
    'transactions': ref('stg_complete_journey__order_lines'),
    'demographics': ref('base_complete_journey__demographics'),
    'products': ref('stg_complete_journey__products'),
    'campaign_descriptions': ref('stg_complete_journey__campaigns'),
    'campaigns': ref('stg_complete_journey__campaign_members'),
    'coupons': ref('stg_complete_journey__campaign_offers'),
    'coupon_redemptions': ref('stg_complete_journey__campaign_responses'),
    'promotions': ref('stg_complete_journey__product_promotions'),
} -%}

{% for table, accepted in accepted_in.items() %}
    select
        '{{ table }}' as table_name,
        (select count(*) from {{ source('complete_journey', table) }}) as rows_landed,
        (
            select count(*)
            from {{ accepted }}
            {% if table == 'demographics' %}where reject_reason is null{% endif %}
        ) as rows_accepted,
        (
            select coalesce(sum(copies), 0)::bigint
            from {{ ref('stg_complete_journey__quarantine') }}
            where table_name = '{{ table }}'
        ) as rows_quarantined,
        (
            select coalesce(sum(copies - 1), 0)::bigint
            from {{ ref('base_complete_journey__' ~ table) }}
            where reject_reason is null
        ) as rows_duplicate
    {% if not loop.last %}union all{% endif %}
{% endfor %}
