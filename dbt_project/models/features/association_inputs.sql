-- What rules are found in, in one fingerprint: all that was sold and may be offered before the day of the search.
{{ config(materialized='table') }}

with search as (
    select {{ search_day('as_of_date') }} as as_of_date
    from {{ source('control', 'refresh') }}
),

days as (
    select distinct
        order_date,
        input_fingerprint
    from {{ ref('order_products') }}
),

final as (
    select
        search.as_of_date,
        md5(concat_ws(
            ' ', count(days.order_date)::varchar, sum({{ row_hash(['days.order_date', 'days.input_fingerprint']) }})::varchar
        )) as input_fingerprint
    from search
    left join days on search.as_of_date > days.order_date
    group by search.as_of_date
)

select * from final
