-- A view, so that what publication itself checked is in the published copy too.
{{ config(materialized='view') }}

select
    run_id,
    as_of_date,
    gate,
    check_name,
    table_name,
    severity,
    passed,
    row_count,
    unexpected_rows,
    message,
    content_hash,
    checked_at
from {{ source('control', 'check_results') }}
