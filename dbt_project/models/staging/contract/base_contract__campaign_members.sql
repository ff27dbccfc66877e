{%- set columns = ['campaign_id', 'customer_id', 'assignment', 'assigned_at'] %}

with source_rows as (
    select *
    from {{ source('contract', 'campaign_members') }}
),

known_campaigns as (
    select distinct campaign_id
    from {{ ref('base_contract__campaigns') }}
    where reject_reason is null
),

typed as (
    select
        source_rows.campaign_id::varchar as campaign_id,
        source_rows.customer_id::varchar as customer_id,
        lower(source_rows.assignment::varchar) as assignment,
        try_cast(source_rows.assigned_at as timestamp) as assigned_at,
        case
            when source_rows.campaign_id is null then 'campaign_id is missing'
            when source_rows.customer_id is null then 'customer_id is missing'
            when lower(source_rows.assignment::varchar) not in ('treatment', 'holdout') then 'assignment is neither treatment nor holdout'
            when {{ cannot_be_read('source_rows.assigned_at', 'timestamp') }} then 'assigned_at is not a time'
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
