with current_day as (
    select *
    from {{ ref('current_day') }}
),

searches as (
    select *
    from {{ ref('association_searches') }}
),

final as (
    select
        searches.as_of_date,
        searches.unit,
        searches.level,
        searches.min_support,
        searches.count_baskets,
        searches.count_frequent_items,
        searches.count_searched_items,
        searches.count_rules,
        searches.count_trivial_rules,
        searches.holding_share,
        searches.outcome
    from searches
    inner join current_day on searches.as_of_date = {{ search_day('current_day.as_of_date') }}
)

select * from final
