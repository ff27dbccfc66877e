-- Where a rejected row stands and why; its values stay in the raw file, as they may be personal.
{{ config(materialized='table') }}

{% set tables = [
    'transactions', 'demographics', 'products', 'campaign_descriptions', 'campaigns', 'coupons', 'coupon_redemptions', 'promotions'
] -%}

{% for table in tables %}
    select
        '{{ table }}' as table_name,
        _source_file as source_file,
        _row_number as row_number,
        copies,
        reject_reason
    from {{ ref('base_complete_journey__' ~ table) }}
    where reject_reason is not null
    {% if not loop.last %}union all{% endif %}
{% endfor %}
