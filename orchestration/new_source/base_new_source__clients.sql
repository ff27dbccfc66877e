-- Typed, exact copies folded into one, each row with its reason for rejection or none. The only place that reads the raw table, and of
-- what identifies a person it reads nothing.
{%- set columns = ['client_no', 'state', 'registered_on'] %}
{{ config(materialized='table') }}

with source_rows as (
    select *
    from {{ source('new_source', 'clients') }}
),

typed as (
    select
        client_no::varchar as client_no,
        state::varchar as state,
        try_cast(registered_on as date) as registered_on,
        case
            when client_no is null then 'client_no is missing'
            when {{ cannot_be_read('registered_on', 'date') }} then 'registered_on is not a day'
        end as reject_reason,
        _source_file,
        _row_number
    from source_rows
),

final as (
    {{ folded('typed', columns) }}
)

select * from final
