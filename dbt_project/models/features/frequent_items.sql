-- The items that enough baskets hold, and which of them are searched for rules: with the most frequent m items a basket that holds k of
-- them holds k (k - 1) / 2 pairs and k (k - 1) (k - 2) / 6 triples, so the k-th most frequent adds k - 1 and (k - 1) (k - 2) / 2. Items are
-- taken, most frequent first, for as long as that stays within the bound.
{{ config(
    incremental_strategy='append',
    unique_key=none,
    pre_hook="{{ drop_stale(model, ref('association_inputs'), 'as_of_date', association_variables()) }}",
) }}

with search as (
    {{ missing(model, ref('association_inputs'), 'as_of_date', association_variables()) }}
),

basket_items as (
    select basket_items.*
    from {{ ref('basket_items') }} as basket_items
    cross join search
),

-- Baskets that hold nothing of a level count at it as well.
totals as (
    select
        unit,
        count(distinct case when window_number > 0 then basket_number end) as count_baskets,
        count(distinct case when window_number = 0 then basket_number end) as count_baskets_next
    from basket_items
    group by unit
),

supports as (
    {{ basket_supports() }}
),

counted as (
    select
        unit,
        level,
        item_key,
        count(*) filter (where window_number > 0) as count_item,
        count(*) filter (where window_number = 0) as count_item_next,
        {{ ratio('sum(net_sales)', 'count(*)', 2) }} as avg_net_sales
    from basket_items
    group by unit, level, item_key
),

frequent as (
    select
        counted.*,
        items.item_id,
        items.parent_id,
        totals.count_baskets,
        totals.count_baskets_next,
        greatest(ceil(supports.min_support * totals.count_baskets), {{ var('association_min_baskets') }})::bigint as min_count,
        row_number() over (
            order by counted.unit asc, counted.level asc, counted.count_item desc, items.item_id asc
        ) as item_number
    from counted
    inner join {{ ref('association_items') }} as items on counted.item_key = items.item_key
    inner join totals on counted.unit = totals.unit
    inner join supports on counted.unit = supports.unit and counted.level = supports.level
    where counted.count_item >= greatest(supports.min_support * totals.count_baskets, {{ var('association_min_baskets') }})
),

positions as (
    select
        frequent.item_number,
        row_number() over (
            partition by frequent.unit, frequent.level, basket_items.basket_number order by frequent.item_number
        ) as position_in_basket
    from frequent
    inner join basket_items
        on frequent.unit = basket_items.unit
            and frequent.item_key = basket_items.item_key
            and basket_items.window_number > 0
),

combinations as (
    select
        item_number,
        sum((position_in_basket - 1) * position_in_basket / 2)::bigint as count_combinations
    from positions
    group by item_number
),

final as (
    select
        search.as_of_date,
        frequent.unit,
        frequent.level,
        frequent.item_key,
        frequent.item_id,
        frequent.parent_id,
        frequent.item_number::bigint as item_number,
        frequent.count_item,
        frequent.count_item_next,
        frequent.count_baskets,
        frequent.count_baskets_next,
        frequent.min_count,
        frequent.avg_net_sales,
        sum(combinations.count_combinations) over (
            partition by frequent.unit, frequent.level order by frequent.item_number
        ) <= {{ var('association_max_combinations') }} as is_searched,
        search.input_fingerprint
    from frequent
    cross join search
    inner join combinations on frequent.item_number = combinations.item_number
)

select * from final
