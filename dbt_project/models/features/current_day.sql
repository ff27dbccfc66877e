-- The newest day that readers may have: what is refreshed now, or a newer one that was published. A newer day that a gate has stopped
-- does not count, and rebuilding an older day leaves the newest as it is.
{{ config(materialized='view') }}

with customer_classes as (
    select
        as_of_date,
        as_of_at
    from {{ ref('customer_classes') }}
),

allowed as (
    select as_of_date
    from {{ source('control', 'refresh') }}
    union all
    select as_of_date
    from {{ source('control', 'check_results') }}
    where gate = 'publication' and passed
),

final as (
    select
        max(as_of_date) as as_of_date,
        max(as_of_at) as as_of_at
    from customer_classes
    where customer_classes.as_of_date in (select allowed.as_of_date from allowed)
)

select * from final
