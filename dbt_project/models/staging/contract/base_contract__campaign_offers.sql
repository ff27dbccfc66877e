-- A table: it is read half a dozen times in a refresh.
{%- set columns = ['campaign_id', 'offer_id', 'product_id'] %}
{{ config(materialized='table') }}

with source_rows as (
    select *
    from {{ source('contract', 'campaign_offers') }}
),

known_campaigns as (
    select distinct campaign_id
    from {{ ref('base_contract__campaigns') }}
    where reject_reason is null
),

typed as (
    select
        source_rows.campaign_id::varchar as campaign_id,
        source_rows.offer_id::varchar as offer_id,
        source_rows.product_id::varchar as product_id,
        case
            when source_rows.campaign_id is null then 'campaign_id is missing'
            when source_rows.offer_id is null then 'offer_id is missing'
            when source_rows.product_id is null then 'product_id is missing'
            when known_campaigns.campaign_id is null and {{ has_landed('campaigns') }} then 'campaign_id is not in campaigns'
        end as reject_reason,
        source_rows._source_file,
        source_rows._row_number
    from source_rows
    left join known_campaigns on source_rows.campaign_id::varchar = known_campaigns.campaign_id
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
