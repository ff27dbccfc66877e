{%- set columns = ['campaign_id', 'customer_id', 'offer_id', 'responded_at'] %}

with source_rows as (
    select *
    from {{ source('contract', 'campaign_responses') }}
),

members as (
    select distinct
        campaign_id,
        customer_id
    from {{ ref('base_contract__campaign_members') }}
    where reject_reason is null
),

typed as (
    select
        source_rows.campaign_id::varchar as campaign_id,
        source_rows.customer_id::varchar as customer_id,
        source_rows.offer_id::varchar as offer_id,
        try_cast(source_rows.responded_at as timestamp) as responded_at,
        case
            when source_rows.campaign_id is null then 'campaign_id is missing'
            when source_rows.customer_id is null then 'customer_id is missing'
            when source_rows.responded_at is null then 'responded_at is missing'
            when {{ cannot_be_read('source_rows.responded_at', 'timestamp') }} then 'responded_at is not a time'
            when try_cast(source_rows.responded_at as timestamp) > source_rows._loaded_at then 'responded_at is later than the load'
            when members.campaign_id is null and {{ has_landed('campaign_members') }}
                then 'customer_id is not a member of the campaign in campaign_members'
        end as reject_reason,
        source_rows._source_file,
        source_rows._row_number
    from source_rows
    left join members
        on source_rows.campaign_id::varchar = members.campaign_id
            and source_rows.customer_id::varchar = members.customer_id
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
