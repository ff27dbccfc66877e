-- What rules are found in, in one fingerprint: all that was sold and may be offered before the day of the search. And in what share of it.
{{ config(materialized='table') }}

with search as (
    select {{ search_day('as_of_date') }} as as_of_date
    from {{ source('control', 'refresh') }}
),

days as (
    select
        order_date,
        input_fingerprint,
        count(*) as line_count
    from {{ ref('order_products') }}
    group by order_date, input_fingerprint
),

final as (
    select
        search.as_of_date,
        md5(concat_ws(
            ' ', count(days.order_date)::varchar, sum({{ row_hash(['days.order_date', 'days.input_fingerprint']) }})::varchar
        )) as input_fingerprint,
        least(1, coalesce({{ quotient(
            var('association_max_lines'),
            "sum(days.line_count) filter (where " ~ is_in_windows('days.order_date', 'search.as_of_date') ~ ")"
        ) }}, 1)) as searched_share
    from search
    left join days on search.as_of_date > days.order_date
    group by search.as_of_date
)

select * from final
