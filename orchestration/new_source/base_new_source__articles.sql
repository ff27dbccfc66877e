{%- set columns = ['article_no', 'label', 'article_group'] %}
{{ config(materialized='table') }}

with source_rows as (
    select *
    from {{ source('new_source', 'articles') }}
),

typed as (
    select
        article_no::varchar as article_no,
        label::varchar as label,
        article_group::varchar as article_group,
        case when article_no is null then 'article_no is missing' end as reject_reason,
        _source_file,
        _row_number
    from source_rows
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
